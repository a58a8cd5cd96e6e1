"""The columns of the ledgers: their names, their types in each store, and where their values are in a `LoadRecord`.

`ledger.py` has the records and the decisions. See docs/how-to/read-the-ledger.md.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class LedgerKind:
    """What a ledger column holds.

    Attributes:
        postgres: type and constraints of the column in PostgreSQL.
        bigquery: type of the column in BigQuery.
        read: convert a store's value, which may be text or null, to the type in `ledger.LoadRecord`; null becomes zero
            or the empty string, except in the kinds of `LoadDetails`.
        write: convert a value of `LoadDetails` to one that the clients of the databases take.
    """

    postgres: str
    bigquery: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = lambda value: value


def _read_date(value: dt.date | str | None) -> dt.date | None:
    if isinstance(value, str):
        return dt.date.fromisoformat(value) if value else None
    return value


_TEXT = LedgerKind("text NOT NULL", "STRING", lambda value: str(value or ""))
_WHOLE = LedgerKind("bigint NOT NULL", "INT64", lambda value: int(value or 0))
_DATE = LedgerKind("date", "DATE", _read_date)


def _read_moment(value: dt.datetime | str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(value) if isinstance(value, str) else value


def _read_json(value: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    return json.loads(value) if isinstance(value, str) else value or {}


_COUNT = LedgerKind("bigint", "INT64", lambda value: None if value is None else int(value))
_NEW_COUNT = LedgerKind("bigint", "INT64", lambda value: int(value or 0))
"""A count that earlier releases did not have, because there was nothing to count."""
_MOMENT = LedgerKind("timestamp with time zone", "TIMESTAMP", _read_moment)
_JSON = LedgerKind("jsonb", "STRING", _read_json, lambda value: json.dumps(dict(value)))
_NAME = LedgerKind("text", "STRING", lambda value: str(value or ""), lambda value: value or None)


@dataclass(frozen=True, slots=True)
class LedgerColumn:
    """A column of the ledgers.

    Attributes:
        name: its name in PostgreSQL and BigQuery.
        attribute: path of the value in a `LoadRecord`; empty for a sum, whose name says which one it is.
        kind: what it holds.
        key: its name in the metadata of an object in the data lake.
    """

    name: str
    attribute: str
    kind: LedgerKind
    key: str

    @property
    def is_total(self) -> bool:
        """Whether the column has one of the totals of a file, in the order of the attributes of `Totals`."""
        return not self.attribute or self.attribute.startswith("totals.")


_BEFORE_SUMS = (
    LedgerColumn("source_file", "file.name", _TEXT, "source_file"),
    LedgerColumn("generation", "file.generation", _WHOLE, "source_generation"),
    LedgerColumn("size", "file.size", _WHOLE, "source_size"),
    LedgerColumn("crc32c", "file.crc32c", _TEXT, "source_crc32c"),
    LedgerColumn("run_id", "run_id", _TEXT, "run_id"),
    LedgerColumn("key_id", "key_id", _TEXT, "key_id"),
    LedgerColumn("rules_id", "rules_id", _TEXT, "rules_id"),
    LedgerColumn("row_count", "totals.rows", _WHOLE, "rows"),
)
_AFTER_SUMS = (
    LedgerColumn("min_date", "totals.min_date", _DATE, "min_date"),
    LedgerColumn("max_date", "totals.max_date", _DATE, "max_date"),
    LedgerColumn("fingerprint", "totals.fingerprint", _WHOLE, "fingerprint"),
)
COLUMNS = (*_BEFORE_SUMS, *_AFTER_SUMS)
"""The columns that each ledger has, whatever the columns of its feed."""

DETAILS = (
    LedgerColumn("records", "details.records", _COUNT, "records"),
    LedgerColumn("rejected", "details.rejected", _COUNT, "rejected"),
    LedgerColumn("reasons", "details.reasons", _JSON, "reasons"),
    LedgerColumn("landed_at", "details.landed_at", _MOMENT, "landed_at"),
    LedgerColumn("started_at", "details.started_at", _MOMENT, "started_at"),
    LedgerColumn("stage_seconds", "details.seconds", _JSON, "stage_seconds"),
    LedgerColumn("replaced_generation", "details.replaced_generation", _COUNT, "replaced_generation"),
    LedgerColumn("job_id", "details.job_id", _NAME, "job_id"),
    LedgerColumn("bytes_billed", "details.bytes_billed", _COUNT, "bytes_billed"),
    LedgerColumn("erased", "details.erased", _NEW_COUNT, "erased"),
)
DETAIL_COLUMNS = tuple(column.name for column in DETAILS)
"""Columns of a ledger that have `LoadDetails`; null in rows of earlier releases."""

SUM_PREFIX = "sum_"
"""What the name of a ledger column with the sum of a column begins with."""


def ledger_columns(decimals: Mapping[str, int]) -> tuple[LedgerColumn, ...]:
    """Return the columns that a load writes to a ledger; both databases add `loaded_at` from their own clocks.

    `decimals` maps each column that has a sum to its number of decimals.
    """
    sums = (
        LedgerColumn(f"{SUM_PREFIX}{name}", "", _sum(places), f"{SUM_PREFIX}{name}")
        for name, places in decimals.items()
    )
    return (*_BEFORE_SUMS, *sums, *_AFTER_SUMS, *DETAILS)


def _sum(places: int) -> LedgerKind:
    return LedgerKind(f"numeric(38,{places}) NOT NULL", "NUMERIC", lambda value: Decimal(value or 0))


CHANGE_COLUMNS = ("rows_added", "rows_gone", "rows_changed")
"""Columns of a ledger that has `ledger.Changes`, in the order of the attributes."""
