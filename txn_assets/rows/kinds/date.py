"""Dates: ISO 8601 calendar days."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from txn_assets.rows.kinds.kind import Bounds, Kind

if TYPE_CHECKING:
    import pyarrow as pa

MIN_DATE = dt.date(1970, 1, 1)
"""The default of the first valid day."""
FUTURE_DAYS = 366
"""By default, the last valid day is this many days after the day of the run."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# February 29 is left to the judge because of leap years.
DAY_PATTERN = (
    r"[1-9][0-9]{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)


@dataclass(frozen=True)
class DayBounds(Kind):
    """A kind whose values lie between two days.

    Attributes:
        first, last: the first and the last valid day; `last` is None for the default, which depends on the day of the
            run; see `on`.
        day: by dialect, the day of a column as SQL; `{}` is replaced by the column.
    """

    has_sorted_text: ClassVar = True
    day: ClassVar[Mapping[str, str]]

    first: dt.date = MIN_DATE
    last: dt.date | None = None

    def __post_init__(self) -> None:
        """Refuse days that no value is between.

        Raises:
            ValueError: the last day is before the first.
        """
        if self.last is not None and self.last < self.first:
            message = f"the last day, {self.last}, is before the first, {self.first}: no row could be valid"
            raise ValueError(message)

    def on(self, today: dt.date) -> Self:
        """Return this kind for a run on `today`, which sets the last day unless the configuration does."""
        return self if self.last is not None else replace(self, last=today + dt.timedelta(days=FUTURE_DAYS))

    def check_day(self, day: dt.date) -> None:
        """Refuse a day outside the bounds.

        Raises:
            PydanticCustomError: the day is too early or too late.
        """
        last = self.last or dt.date.max
        if not self.first <= day <= last:
            bounds: dict[str, Any] = {"first": str(self.first), "last": str(last)}
            raise PydanticCustomError("date_out_of_range", "Input should be a day from {first} to {last}", bounds)

    @property
    def days(self) -> str:
        """The valid days, for people."""
        last = f"{FUTURE_DAYS} days after the load" if self.last is None else self.last
        return f"from {self.first} to {last}"

    @classmethod
    def rules(cls) -> Mapping[str, str]:
        """Return the rules `min` and `max`."""
        return {"min": "first", "max": "last"}

    def read_rule(self, name: str, value: Any) -> Any:  # noqa: ANN401 - see Kind
        """Return a day.

        Raises:
            ValueError: the value is not a day in the form YYYY-MM-DD.
        """
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            message = f"{name} is not a day in the form YYYY-MM-DD"
            raise ValueError(message)
        return dt.date.fromisoformat(value)


@dataclass(frozen=True)
class DateKind(DayBounds):
    """A calendar day in the form YYYY-MM-DD."""

    name: ClassVar[str] = "date"
    python_type = dt.date
    duckdb = "DATE"
    postgres = "date"
    bigquery = "DATE"
    bigquery_fits: ClassVar = frozenset({"DATE"})
    day: ClassVar = dict.fromkeys(("duckdb", "postgres", "bigquery"), "{}")

    def arrow_type(self) -> "pa.DataType":
        """Return `date32`."""
        import pyarrow as pa  # noqa: PLC0415 - see kind.py

        return pa.date32()

    pattern = f"^{DAY_PATTERN}$"

    @property
    def bounds(self) -> Bounds:
        """The first and the last valid day."""
        return self.first.isoformat(), None if self.last is None else self.last.isoformat()

    form: ClassVar = "a day in the form YYYY-MM-DD"

    @property
    def rule(self) -> str:
        """The form and the bounds."""
        return f"{self.form}, {self.days}"

    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""
        return core_schema.no_info_before_validator_function(self._check, core_schema.date_schema())

    def _check(self, value: object) -> object:
        if isinstance(value, str):
            value = _iso_date(value.strip(" \t"))
        if isinstance(value, dt.date):
            self.check_day(value)
        return value

    @property
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """Days since 1970-01-01."""
        days = ("{} - DATE '1970-01-01'",)
        return {"duckdb": days, "postgres": days, "bigquery": ("UNIX_DATE({})",)}


def _iso_date(value: str) -> dt.date:
    if not _DATE.fullmatch(value):
        raise PydanticCustomError("date_format", "Input should be a date in the form YYYY-MM-DD")
    try:
        return dt.date.fromisoformat(value)
    except ValueError as error:
        raise PydanticCustomError("date_parsing", "Input should be a day that exists") from error
