"""When files are expected: the window that a moment is judged by, and what is refused in the configuration."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from txn_assets.files.expected import Expected

MOMENTS = st.integers(631_152_000, 3_786_912_000).map(lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"])
TIMES = st.times().map(lambda time: f"{time:%H:%M}")


@given(MOMENTS, ZONES, TIMES)
def test_daily_deadline(now: dt.datetime, zone: str, by: str) -> None:
    """The window ends at the last deadline and begins at the one before, on days that change the clock as well."""
    window = Expected(by=by, timezone=zone).window(now)

    assert window.due is not None
    assert window.since < window.due <= now < window.due + dt.timedelta(hours=26)
    assert dt.timedelta(hours=22) < window.due - window.since < dt.timedelta(hours=26)
    # A time that the clock skips in spring is an hour, or in Lord Howe half an hour, later.
    at = window.due.astimezone(ZoneInfo(zone))
    assert f"{at:%H:%M}" in {by, *(f"{at - dt.timedelta(minutes=late):%H:%M}" for late in (30, 60) if at.dst())}


@given(MOMENTS, st.integers(10, 99_999))
def test_sliding_period(now: dt.datetime, minutes: int) -> None:
    """Without a deadline, the window is the period up to now."""
    window = Expected(every=f"{minutes}m").window(now)
    assert (window.since, window.due) == (now - dt.timedelta(minutes=minutes), None)


@pytest.mark.parametrize(
    ("arrived", "newest", "complaint"),
    [
        (0, "", "No file has landed yet; expected: at least 2 files each day by 06:00 UTC."),
        (0, "2024-03-01 05:00 UTC (a.csv)", "No file since 2024-03-01 05:00 UTC (a.csv); expected: at least 2 files"),
        (
            1,
            "2024-03-02 08:00 UTC (b.csv)",
            "Only 1 landed since 2024-03-02 06:00 UTC, the newest 2024-03-02 08:00 UTC",
        ),
        (2, "2024-03-03 05:00 UTC (c.csv)", None),
    ],
)
def test_complaint(arrived: int, newest: str, complaint: str | None) -> None:
    """The sentence says since when no file came, and what is expected."""
    now = dt.datetime(2024, 3, 3, 6, 0, tzinfo=dt.UTC)
    found = Expected(by="06:00", min_files=2).complaint(now, arrived, newest)
    assert (found or "").startswith(complaint or "")
    assert (found is None) is (complaint is None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": 600}, 'expected.by is a number in YAML, 600: put the time into quotes, such as "06:00"'),
        ({"by": "24:00"}, "String should match pattern"),
        ({"by": "06:00", "every": "7d"}, "expected.by needs a deadline each day, but expected.every is 7d"),
        ({"every": "5m"}, "expected.every: 5m is not between 10m and 366d"),
        ({"every": "1 day"}, "String should match pattern"),
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' is not an IANA time zone"),
        ({"timezone": "../UTC"}, "'../UTC' is not an IANA time zone"),
        ({"min_files": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], message: str) -> None:
    """A setting that cannot work is refused with the key and a remedy."""
    with pytest.raises(ValidationError) as refused:
        Expected.model_validate(settings)
    assert message in str(refused.value)
