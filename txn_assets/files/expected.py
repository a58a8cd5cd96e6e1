"""When files of a feed are expected, and the sentence to show if too few came.

The landing-zone sensor and the check `file_expected` in `defs/` count the files. See docs/catalog.md.
"""

import datetime as dt
import math
from dataclasses import dataclass
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
MIN_PERIOD = dt.timedelta(minutes=10)
"""Shortest period: the sensor notices a new file within a minute, and records it within five."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which files had to land: after `since`, and, if there is a deadline, before `due`."""

    since: dt.datetime
    due: dt.datetime | None = None

    @property
    def generation(self) -> int:
        """`since` as a GCS generation."""
        return int(self.since.timestamp() * 1_000_000)


class Expected(BaseModel):
    """How often files must land: at least `min_files` within `every`, or each day `by` a time in `timezone`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}[mhd]$")] = Field(
        default="1d", description="Period in minutes, hours or days, such as `30m`, `6h` or `7d`."
    )
    by: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] | None = Field(
        default=None, description='Time of the daily deadline, in quotes: `"06:00"`. Needs `every: 1d`.'
    )
    timezone: str = Field(default="UTC", description="IANA time zone of `by`, such as `Europe/Berlin`.")
    min_files: Annotated[int, Field(ge=1)] = Field(default=1, description="Number of files that must land.")

    @field_validator("by", mode="before")
    @classmethod
    def _by_is_text(cls, value: Any) -> Any:  # noqa: ANN401 - whatever YAML has
        if isinstance(value, int):
            message = f'expected.by is a number in YAML, {value}: put the time into quotes, such as "06:00"'
            raise ValueError(message)  # noqa: TRY004 - Pydantic reports only this class
        return value

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            message = f"expected.timezone: {value!r} is not an IANA time zone, such as UTC or Europe/Berlin"
            raise ValueError(message) from error
        return value

    @model_validator(mode="after")
    def _period_can_be_used(self) -> Self:
        if not MIN_PERIOD <= self.period <= dt.timedelta(days=366):
            message = f"expected.every: {self.every} is not between 10m and 366d"
            raise ValueError(message)
        if self.by is not None and self.period != dt.timedelta(days=1):
            message = (
                f"expected.by needs a deadline each day, but expected.every is {self.every}: remove one of the two"
            )
            raise ValueError(message)
        return self

    @property
    def period(self) -> dt.timedelta:
        """`every` as a duration."""
        return dt.timedelta(**{_UNITS[self.every[-1]]: int(self.every[:-1])})

    @property
    def days(self) -> int:
        """How many days ago a window may begin: with a deadline, up to two days, one of which may have 25 hours."""
        longest = self.period if self.by is None else 2 * self.period + dt.timedelta(hours=1)
        return math.ceil(longest / dt.timedelta(days=1))

    def window(self, now: dt.datetime) -> Window:
        """Return the window that `now` is judged by: up to `now`, or from the last deadline but one to the last."""
        if self.by is None:
            return Window(now - self.period)
        zone = ZoneInfo(self.timezone)
        today = now.astimezone(zone).date()
        # Compare in UTC: two moments in one zone compare by their wall clocks, which repeat an hour in autumn.
        deadlines = [self._deadline(today - dt.timedelta(days=days)) for days in range(3)]
        due, since = [deadline for deadline in deadlines if deadline <= now][:2]
        return Window(since, due)

    def _deadline(self, day: dt.date) -> dt.datetime:
        time = dt.time.fromisoformat(self.by or "00:00")
        return dt.datetime.combine(day, time, ZoneInfo(self.timezone)).astimezone(dt.UTC)

    def complaint(self, now: dt.datetime, arrived: int, newest: str) -> str | None:
        """Return what is wrong if `arrived` files landed in the window; `newest` describes the newest file, '' if none.

        A file that lands after the deadline, but before the next one, ends the complaint.
        """
        if arrived >= self.min_files:
            return None
        if not newest:
            found = "No file has landed yet"
        elif arrived:
            found = f"Only {arrived} landed since {moment(self.window(now).since)}, the newest {newest}"
        else:
            found = f"No file since {newest}"
        return f"{found}; expected: {self.in_words()}."

    def in_words(self) -> str:
        """Return what is expected, as the end of a sentence."""
        files = "1 file" if self.min_files == 1 else f"{self.min_files} files"
        return f"at least {files} " + (f"each day by {self.by} {self.timezone}" if self.by else f"every {self.every}")


def moment(at: dt.datetime) -> str:
    """Return a moment for people."""
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
