"""Publish the contract of a feed for the people who send its files: `txn contract`.

All formats are derived from the row model under the configured rules. See docs/data-contract.md for what they leave
out, such as how CSV is read.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import yaml
from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    Description,
    EnumValue,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    Server,
)

from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import SUFFIXES
from txn_assets.rows.contract import Column
from txn_assets.rows.kinds import DecimalKind, EnumerationKind
from txn_assets.rows.kinds.date import DayBounds
from txn_assets.rows.reader.normalization import own_rule

_LOGICAL_TYPES: Mapping[type, str] = {
    str: "string",
    Decimal: "number",
    int: "integer",
    bool: "boolean",
    dt.date: "date",
    dt.datetime: "timestamp",
}
"""Types of the Open Data Contract Standard, by type in Python."""

_NUMBERS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_KEYWORDS: Mapping[str, Mapping[str, str]] = {
    "number": _NUMBERS,
    "integer": _NUMBERS,
    "string": {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"},
}
"""Keywords of JSON Schema, by type and by the name of the constraint in Pydantic."""


def json_schema(feed: Feed, bucket: str) -> str:
    """Return a JSON Schema of one record, as an object with a value for each column."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": feed.name,
        "description": f"One record of a file. {_usage(feed, bucket)}",
        "type": "object",
        "properties": _properties(feed),
        "required": [column.name for column in feed.contract.columns if column.is_required],
        "additionalProperties": feed.unknown_columns == "ignore",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _properties(feed: Feed) -> dict[str, dict[str, Any]]:
    found = feed.contract.model.model_json_schema()["properties"]
    return {column.name: _property_schema(feed, column, found[column.name]) for column in feed.contract.columns}


def _property_schema(feed: Feed, column: Column, found: dict[str, Any]) -> dict[str, Any]:
    options = list(_options(found))
    for option in options:
        # Pydantic's schema of a decimal lacks the digits, and that of any kind lacks `Field(...)` next to the kind.
        if option["type"] == "string" and isinstance(column.kind, DecimalKind):
            option["pattern"] = column.kind.pattern
        for constraint in column.constraints:
            for name, keyword in _KEYWORDS.get(option["type"], {}).items():
                if (value := getattr(constraint, name, None)) is not None:
                    option[keyword] = float(value) if isinstance(value, Decimal) else value
    schema = options[0] if len(options) == 1 else {"anyOf": options}
    return schema | {"description": column.rule, "x-pii": column.name in feed.pii_fields}


def _options(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas that `schema` allows."""
    if "anyOf" in schema:
        for option in schema["anyOf"]:
            yield from _options(option)
    else:
        yield {name: value for name, value in schema.items() if name not in ("title", "default")}


def odcs(feed: Feed, bucket: str) -> str:
    """Return the contract in the Open Data Contract Standard: https://bitol-io.github.io/open-data-contract-standard/."""
    contract = OpenDataContractStandard(
        apiVersion="v3.2.0",
        kind="DataContract",
        id=f"{bucket}/{feed.landing}",
        name=feed.name,
        # Changes exactly if the same file may now load differently.
        version=feed.rules_id,
        status="active",
        description=Description(purpose=_purpose(feed) or None, usage=_usage(feed, bucket)),
        servers=[
            Server(
                server="landing_zone",
                type="custom",
                location=_location(feed, bucket),
                format="csv",
                encoding=feed.file_format.encoding,
                delimiter=feed.file_format.delimiter,
            )
        ],
        schema=[
            SchemaObject(
                name=feed.name,
                logicalType="object",
                physicalType="file",
                properties=[_property(feed, column) for column in feed.contract.columns],
                quality=[DataQuality.model_validate({"type": "text", "description": one}) for one in _limits(feed)],
            )
        ],
    )
    return str(contract.to_yaml())


def _property(feed: Feed, column: Column) -> SchemaProperty:
    kind = column.kind
    is_row_id = column.name == feed.contract.row_id
    is_pii = column.name in feed.pii_fields
    return SchemaProperty(
        name=column.name,
        description=column.rule,
        logicalType=_LOGICAL_TYPES[kind.python_type],
        logicalTypeOptions=_bounds(feed, column) or None,
        required=column.is_required,
        unique=is_row_id or None,
        enum=[EnumValue(value=value) for value in kind.values] if isinstance(kind, EnumerationKind) else None,
        classification="restricted" if is_pii else None,
        customProperties=[CustomProperty(property="pii", value=True)] if is_pii else None,
    )


def _bounds(feed: Feed, column: Column) -> dict[str, Any]:
    """Return the bounds of a column as options of its logical type."""
    if isinstance(column.kind, DayBounds):
        first, last = column.kind.first, column.kind.last
        return {"minimum": str(first)} | ({"maximum": str(last)} if last else {})
    # The first option is the type in JSON; others are text and null.
    option = next(_options(_properties(feed)[column.name]))
    keywords = {keyword for names in _KEYWORDS.values() for keyword in names.values()}
    return {name: value for name, value in option.items() if name in keywords}


def markdown(feed: Feed, bucket: str) -> str:
    """Return the contract as a page for people."""
    return "\n".join(_page(feed, bucket)) + "\n"


def _page(feed: Feed, bucket: str) -> Iterator[str]:
    yield f"# {feed.name}"
    yield ""
    if purpose := _purpose(feed):
        yield purpose
        yield ""
    yield _usage(feed, bucket)
    yield ""
    yield "| column | a valid value | required | PII |"
    yield "|---|---|---|---|"
    for column in feed.contract.columns:
        required = "yes" if column.is_required else "no"
        pii = "yes, hashed before it is stored" if column.name in feed.pii_fields else "no"
        yield f"| `{column.name}` | {_cell(own_rule(column, feed.file_format))} | {required} | {pii} |"
    yield ""
    yield from (f"- {sentence}" for sentence in _limits(feed))
    if form := feed.file_format.model_dump(mode="json", exclude_defaults=True):
        yield ""
        yield "The files differ from plain CSV (RFC 4180, UTF-8) in this:"
        yield ""
        yield "```yaml"
        yield yaml.safe_dump(form, sort_keys=False, allow_unicode=True).rstrip()
        yield "```"
    yield ""
    yield f"Version `{feed.rules_id}`. Try a file before you send it: `txn check FILE --feed {feed.name}`."


def _purpose(feed: Feed) -> str:
    """Return the first paragraph of the row model's docstring as one line."""
    return " ".join((feed.contract.source.__doc__ or "").partition("\n\n")[0].split())


def _location(feed: Feed, bucket: str) -> str:
    return f"gs://{bucket}/{feed.landing}/"


def _usage(feed: Feed, bucket: str) -> str:
    return f"CSV files below {_location(feed, bucket)}, with names that end in {', '.join(SUFFIXES)}."


def _limits(feed: Feed) -> Iterator[str]:
    """Yield what holds for a file as a whole."""
    form = feed.file_format
    absent = ", ".join(sorted(feed.contract.optional))
    if form.header == "none":
        yield f"The files have no header; their columns are {', '.join(form.columns or feed.contract.names)}."
    else:
        yield f"The header names the columns, in any order{f'; {absent} may be absent' if absent else ''}."
    other = "are not loaded" if feed.unknown_columns == "ignore" else "make the file unusable"
    yield f"Other columns {other}."
    yield f"Invalid rows are rejected with reasons. If more than {feed.max_invalid_ratio:.0%} are, none is loaded."
    if feed.contract.row_id:
        yield f"Rows of a file that share a {feed.contract.row_id} are loaded, with a warning."
    yield "A file that lands again under the same name replaces the rows of its earlier version."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


FORMATS: Mapping[str, Callable[[Feed, str], str]] = {"json-schema": json_schema, "odcs": odcs, "markdown": markdown}
"""Functions that return the contract of a feed whose bucket is given, by the name of the format."""
