"""Timestamps: moments with a time zone, stored in UTC with microseconds."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from txn_assets.rows.kinds.date import DAY_PATTERN, DayBounds
from txn_assets.rows.kinds.kind import Bounds

if TYPE_CHECKING:
    import pyarrow as pa

_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_DUCKDB_UTC = "make_timestamp(epoch_us({}))"
"""A TIMESTAMP in UTC. A cast would use the time zone of the machine, and needs an extension."""


@dataclass(frozen=True)
class TimestampKind(DayBounds):
    """A moment in ISO 8601 with a time zone: 2024-03-01T09:30:00Z, 2024-03-01 10:30:00.5+01:00.

    The first and the last valid day are days in UTC.
    """

    name: ClassVar[str] = "timestamp"
    python_type = dt.datetime
    duckdb = "TIMESTAMP WITH TIME ZONE"
    postgres = "timestamp with time zone"
    bigquery = "TIMESTAMP"
    bigquery_fits: ClassVar = frozenset({"TIMESTAMP"})
    day: ClassVar = {
        "duckdb": f"CAST({_DUCKDB_UTC} AS DATE)",
        "postgres": "CAST({} AT TIME ZONE 'UTC' AS date)",
        "bigquery": "DATE({})",
    }

    def arrow_type(self) -> "pa.DataType":
        """Return `timestamp` in microseconds, in UTC."""
        import pyarrow as pa  # noqa: PLC0415 - see kind.py

        return pa.timestamp("us", tz="UTC")

    # Only UTC, so that texts sort like moments.
    pattern = rf"^{DAY_PATTERN}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?Z$"

    @property
    def bounds(self) -> Bounds:
        """The first valid second, and the end of the last valid day."""
        last = None if self.last is None else f"{self.last.isoformat()}T23:59:59.999999Z"
        return self.first.isoformat(), last

    form: ClassVar = "a time with a zone, such as 2024-03-01T09:30:00Z"

    @property
    def rule(self) -> str:
        """The form and the bounds."""
        return f"{self.form}, {self.days} (days in UTC)"

    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""
        return core_schema.no_info_before_validator_function(
            self._check, core_schema.datetime_schema(tz_constraint="aware")
        )

    def _check(self, value: object) -> object:
        if isinstance(value, str):
            value = _iso_timestamp(value.strip(" \t"))
        if isinstance(value, dt.datetime):
            self.check_day(value.date())
        return value

    @property
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """Microseconds since 1970-01-01 in UTC."""
        return {
            "duckdb": ("epoch_us({})",),
            "postgres": ("CAST(extract(epoch FROM {}) * 1000000 AS bigint)",),
            "bigquery": ("UNIX_MICROS({})",),
        }

    def csv_sql(self, column: str) -> str:
        """Return the moment in UTC with microseconds: 2024-03-01T09:30:00.000000Z."""
        return f"strftime({_DUCKDB_UTC.format(column)}, '%Y-%m-%dT%H:%M:%S.%fZ')"


def _iso_timestamp(value: str) -> dt.datetime:
    if not _TIMESTAMP.fullmatch(value):
        message = "Input should be a time with a zone, such as 2024-03-01T09:30:00Z"
        raise PydanticCustomError("timestamp_format", message)
    try:
        return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
    except (ValueError, OverflowError) as error:
        raise PydanticCustomError("timestamp_parsing", "Input should be a time that exists") from error
