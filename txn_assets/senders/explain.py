"""Show the verdict on one record of a file: `txn check FILE --explain ROW`. No value of a PII column is shown."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txn_assets.feeds.feed import Feed
from txn_assets.files.report import Reason
from txn_assets.files.shown import printable
from txn_assets.rows.processing import find_record
from txn_assets.rows.reader.normalization import own_rule
from txn_assets.rows.validation import Verdict
from txn_assets.senders.check import INVALID, VALID
from txn_assets.senders.files import FileError, open_file, today

HIDDEN = "(hidden)"
"""What is shown instead of a value of a PII column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldVerdict:
    """The verdict on one field of a record.

    Attributes:
        value: the value as it would be loaded or, in a rejected record, as it was sent; None if it is empty.
        reason: why the record is rejected; None if not because of this field.
        rule: what a valid value is.
    """

    name: str
    value: str | None
    reason: Reason | None
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowVerdict:
    """The verdict on one record.

    Attributes:
        source_row: the number of the record, as in the quarantine.
        reasons: why the record as a whole is rejected, such as too few fields.
        fields: the fields; empty if the record could not be split into fields.
    """

    file: str
    feed: str
    source_row: int
    is_valid: bool
    reasons: tuple[Reason, ...]
    fields: tuple[FieldVerdict, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of `txn check`."""
        return VALID if self.is_valid else INVALID

    def text(self) -> str:
        """Return a line for each field, and the rule of each field that is not valid."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"record {self.source_row} of {self.file}: {'valid' if self.is_valid else 'rejected'}"
        yield from (f"  {reason.code}: {reason.message}" for reason in self.reasons)
        width = max((len(field.name) for field in self.fields), default=0)
        for field in self.fields:
            yield f"  {field.name:<{width}}  {'invalid' if field.reason else 'valid':<7}  {_shown(field.value)}"
            if field.reason:
                yield f"  {'':<{width}}           {field.reason.code}: {field.reason.message}"
                yield f"  {'':<{width}}           rule: {field.rule}"

    def as_json(self) -> dict[str, Any]:
        """Return the object that `txn check --explain ROW --json` prints."""
        return {
            "file": self.file,
            "feed": self.feed,
            "exit_code": self.exit_code,
            "refused": None,
            "source_row": self.source_row,
            "is_valid": self.is_valid,
            "reasons": [asdict(reason) for reason in self.reasons],
            "fields": [asdict(field) for field in self.fields],
        }


def explain(file: Path, feed: Feed, source_row: int) -> RowVerdict:
    """Return the verdict on the record `source_row` of `file`.

    Raises:
        FileError: the file cannot be read, or has no such record.
    """
    with open_file(file, feed) as stream:
        verdict = find_record(stream, source_row, reading=feed.reading(today())) if source_row > 0 else None
    if verdict is None:
        message = f"{file.name} has no record {source_row}."
        raise FileError(message)
    values, reasons = _row(verdict, source_row)
    named = {reason.field: reason for reason in reasons}
    return RowVerdict(
        file=file.name,
        feed=feed.name,
        source_row=source_row,
        is_valid=not reasons,
        reasons=tuple(reason for reason in reasons if reason.field not in values),
        fields=tuple(
            FieldVerdict(
                name=column.name,
                value=HIDDEN if column.name in feed.pii_fields and values[column.name] else values[column.name],
                reason=named.get(column.name),
                rule=f"{'' if column.is_required else 'empty, or '}{own_rule(column, feed.file_format)}",
            )
            for column in feed.contract.columns
            if column.name in values
        ),
    )


def _row(verdict: Verdict, source_row: int) -> tuple[Mapping[str, str | None], tuple[Reason, ...]]:
    """Return the values of a record as text, by column, and why it is rejected; no values if it was not split."""
    rejected = verdict.rejected
    place = pc.index(rejected.source_row, source_row).as_py()
    if place < 0:
        valid = verdict.valid.filter(pc.equal(verdict.valid["source_row"], source_row))
        return {name: valid[name].cast(pa.string())[0].as_py() for name in valid.schema.names[1:]}, ()
    values: dict[str, str | None] = rejected.fields.slice(place, 1).to_pylist()[0]
    was_split = any(value is not None for value in values.values())
    return {name: value or None for name, value in values.items()} if was_split else {}, rejected.reasons[place]


def _shown(value: str | None) -> str:
    if value is None:
        return "(empty)"
    # As JSON, because a value may contain line breaks and control characters.
    return value if value == HIDDEN else printable(json.dumps(value, ensure_ascii=False))
