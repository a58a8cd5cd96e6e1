"""`txn contract`: the contract of a feed as JSON Schema, in the Open Data Contract Standard, and for people."""

import csv
import json
import re
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard
from pydantic import Field

from txn_assets.cli import main
from txn_assets.config import load_config
from txn_assets.environment import project_root
from txn_assets.feeds.configured import find_feed
from txn_assets.rows.contract import Identifier, Money, Row, Text, Whole
from txn_assets.rows.kinds import KINDS, EnumerationKind
from txn_assets_tests.deployment import make_config

RULES = {"amount": {"min": 0.01, "max": 500, "max_decimals": 1}, "refunded_at": {"max": "2030-12-31"}}


class Constrained(Row):
    """A row model whose fields have constraints beside their kinds."""

    code: Annotated[Identifier, Field(pattern="^A", max_length=5)]
    amount: Annotated[Money, Field(le=10)]
    count: Annotated[Whole, Field(lt=9)]
    note: Annotated[Text, Field(min_length=1)] | None = None


FEEDS = {
    "refunds": {},
    "strict": {"model": "txn_assets.feeds.refund:Refund", "rules": RULES, "unknown_columns": "refuse"},
    "constrained": {"model": f"{__name__}:Constrained"},
    "german": {
        "fields": {
            "price": {"kind": "money", "description": "Net."},
            "count": {"kind": "whole", "min": 2},
            "day": {"kind": "date"},
        },
        "format": {"delimiter": ";", "decimal": ",", "thousands": ".", "dates": ["%d.%m.%Y"]},
    },
    "every_kind": {
        "fields": {
            "id": {"kind": "identifier", "pii": True, "row_id": True},
            "name": {"kind": "text", "prefix": "Dr.", "description": "Name and title."},
            "price": {"kind": "money"},
            "weight": {"kind": "decimal", "scale": 3, "min": -5.5, "max": 7},
            "count": {"kind": "whole", "min": 2, "max": 9},
            "day": {"kind": "date", "partition_key": True, "min": "2020-01-01", "max": "2030-12-31"},
            "at": {"kind": "timestamp"},
            "flag": {"kind": "boolean", "required": False},
            "state": {"kind": "enumeration", "values": ["open", "on|off"]},
        },
    },
}


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pipeline_config.yaml"
    make_config(path)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"feeds": FEEDS}))
    monkeypatch.setenv("TXN_CONFIG", str(path))


def _contract(capsys: pytest.CaptureFixture[str], feed: str, form: str) -> str:
    assert main(["contract", "--feed", feed, "--format", form]) == 0
    return capsys.readouterr().out


def _model(feed: str) -> type[Row]:
    return find_feed(load_config(), feed).contract.model


def _validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


class TestJsonSchema:
    """`--format json-schema`."""

    @pytest.mark.parametrize("feed", ["transactions", "refunds"])
    def test_rows_of_the_samples(self, capsys: pytest.CaptureFixture[str], feed: str) -> None:
        """Valid rows of the sample file satisfy the schema, as text and as JSON."""
        validator = _validator(json.loads(_contract(capsys, feed, "json-schema")))
        with (project_root() / "data" / f"{feed}.csv").open(newline="") as file:
            first = next(csv.DictReader(file))

        validator.validate(_model(feed).model_validate(first).model_dump(mode="json"))

    @pytest.mark.parametrize(
        ("change", "is_valid"),
        [
            ({}, True),
            ({"amount": 12.5}, True),
            ({"amount": "12.5"}, True),
            ({"amount": "12.55"}, False),
            ({"amount": 0}, False),
            ({"amount": 501}, False),
            ({"reason": "lost"}, False),
            ({"partial": None}, True),
            ({"partial": "maybe"}, False),
            ({"refund_id": None}, False),
            ({"channel": "web"}, False),
        ],
    )
    def test_rules(self, capsys: pytest.CaptureFixture[str], change: dict[str, Any], is_valid: bool) -> None:
        """The configured rules are in the schema."""
        row = {
            "refund_id": "R1",
            "transaction_id": "T1",
            "reason": "late",
            "amount": "12",
            "refunded_at": "2024-01-31T10:00:00Z",
        }

        assert _validator(json.loads(_contract(capsys, "strict", "json-schema"))).is_valid(row | change) is is_valid

    def test_constraints_of_the_model(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What a model asks of a field beside its kind is in the schema too."""
        validator = _validator(json.loads(_contract(capsys, "constrained", "json-schema")))
        row = {"code": "A1", "amount": "3", "count": 3}

        assert validator.is_valid(row)
        for change in ({"code": "B1"}, {"code": "A12345"}, {"amount": 10.5}, {"count": 9}, {"note": ""}):
            assert not validator.is_valid(row | change)

    def test_pii_is_marked(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The schema says which columns are PII."""
        properties = json.loads(_contract(capsys, "refunds", "json-schema"))["properties"]

        assert [name for name, schema in properties.items() if schema["x-pii"]] == ["refund_id", "transaction_id"]


class TestOdcs:
    """`--format odcs`."""

    @pytest.mark.parametrize("feed", ["transactions", *FEEDS])
    def test_document_follows_the_standard(self, capsys: pytest.CaptureFixture[str], feed: str) -> None:
        """The document satisfies the standard's own model and schema."""
        text = _contract(capsys, feed, "odcs")

        contract = OpenDataContractStandard.from_string(text)
        schema = json.loads(OpenDataContractStandard.json_schema())  # type: ignore[no-untyped-call]  # the package's own
        jsonschema.Draft201909Validator(schema).validate(yaml.safe_load(text))
        assert contract.schema_ is not None
        assert [one.name for one in contract.schema_[0].properties or ()] == list(_model(feed).model_fields)

    def test_columns(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each kind has its type and its bounds."""
        document = yaml.safe_load(_contract(capsys, "every_kind", "odcs"))

        found = {one["name"]: one for one in document["schema"][0]["properties"]}
        assert {name: (one["logicalType"], one.get("logicalTypeOptions")) for name, one in found.items()} == {
            "id": ("string", None),
            "name": ("string", {"pattern": "^Dr\\."}),
            "price": ("number", {"minimum": 0}),
            "weight": ("number", {"minimum": -5.5, "maximum": 7}),
            "count": ("integer", {"minimum": 2, "maximum": 9}),
            "day": ("date", {"minimum": "2020-01-01", "maximum": "2030-12-31"}),
            "at": ("timestamp", {"minimum": "1970-01-01"}),
            "flag": ("boolean", None),
            "state": ("string", None),
        }
        assert [one["value"] for one in found["state"]["enum"]] == ["open", "on|off"]
        assert found["id"] | {"description": ""} == {
            "name": "id",
            "description": "",
            "logicalType": "string",
            "required": True,
            "unique": True,
            "classification": "restricted",
            "customProperties": [{"property": "pii", "value": True}],
        }
        assert not found["flag"].get("required")
        assert found["name"]["description"].startswith("Name and title: text that begins with 'Dr.'")

    def test_version_follows_the_rules(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The version is that of the ledgers, so it differs under other rules."""
        documents = {feed: yaml.safe_load(_contract(capsys, feed, "odcs")) for feed in ("refunds", "strict")}

        assert documents["refunds"]["version"] == find_feed(load_config(), "refunds").rules_id
        assert documents["refunds"]["version"] != documents["strict"]["version"]


class TestMarkdown:
    """`--format markdown`, the default."""

    def test_page(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The page has the columns with their rules, where files land, and what becomes of a file."""
        assert main(["contract"]) == 0
        page = capsys.readouterr().out

        assert page.startswith(
            "# transactions\n\nA quantity of one product, sold at a price on a day.\n\nCSV files below gs://"
        )
        assert "| `quantity` | a whole number from 1 | yes | no |\n" in page
        assert "If more than 50% are, none is loaded.\n" in page

    def test_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A bar in a value does not break the table, and optional columns are named."""
        page = _contract(capsys, "every_kind", "markdown")

        assert "| `state` | one of: open, on\\|off | yes | no |\n" in page
        assert "in any order; flag may be absent.\n" in page
        assert "| `id` |" in page

    def test_form_of_the_feed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Rules describe values as they are sent."""
        page = _contract(capsys, "german", "markdown")

        assert "| `day` | a date in the form %d.%m.%Y, at midnight if it has a time, from 1970-01-01 to " in page
        assert (
            "| `price` | Net: a number with a decimal comma, grouped by '.' or not at all, such as 1.499,90, " in page
        )
        assert "such as 1.499,90, from 0, with at most 14 digits before the point and 4 after | yes | no |\n" in page
        assert "| `count` | a whole number, grouped by '.' or not at all, such as 1.499, from 2 | yes | no |\n" in page
        assert "YYYY-MM-DD" not in page


def test_other_format(capsys: pytest.CaptureFixture[str]) -> None:
    """A format that does not exist gets one line with those that do."""
    with pytest.raises(SystemExit, match="2"):
        main(["contract", "--format", "avro"])

    assert "(choose from 'json-schema', 'odcs', 'markdown', 'dbt-sources')" in capsys.readouterr().err


def test_data_contract_has_every_kind() -> None:
    """docs/data-contract.md lists each kind with the types of its columns."""
    page = (project_root() / "docs" / "data-contract.md").read_text()

    for name, kind in KINDS.items():
        found = kind(("a", "b")) if kind is EnumerationKind else kind()
        assert re.search(
            rf"^\| `{name}` \|.*\| {re.escape(found.postgres)} \| {found.bigquery} \|$", page, re.MULTILINE
        )
