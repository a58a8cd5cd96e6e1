"""Tests of what is old enough to remove."""

import datetime as dt

import pytest

from txn_assets.files.ledgers import HeldVersion, Ledgers
from txn_assets.files.retention import landed_at, outdated_keys, outdated_objects

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
BEFORE = NOW - dt.timedelta(days=400)
OLD = int((NOW - dt.timedelta(days=500)).timestamp() * 1_000_000)
NEW = int((NOW - dt.timedelta(days=5)).timestamp() * 1_000_000)


def test_generation_is_a_moment() -> None:
    """A generation is a time in microseconds since 1970."""
    assert landed_at(NEW) == NOW - dt.timedelta(days=5)


@pytest.mark.parametrize(
    ("landed", "held", "outdated"),
    [
        ({"a.csv": OLD}, [OLD, OLD, OLD], True),
        ({"a.csv": NEW}, [NEW, NEW, NEW], False),
        ({"a.csv": OLD}, [OLD, OLD, 0], False),
        ({"a.csv": NEW}, [OLD, OLD, OLD], False),
        ({}, [OLD, OLD, OLD], True),
        ({}, [NEW, 0, 0], False),
        ({}, [0, 0, 0], True),
    ],
    ids=["old", "new", "old, not loaded", "overwritten", "old and gone", "new and gone", "known to nobody"],
)
def test_key(landed: dict[str, int], held: list[int], outdated: bool) -> None:
    """A key is removed if its file is old and in every store, or gone from the landing zone."""
    versions = [{"a.csv": HeldVersion(generation, "rules", "key")} if generation else {} for generation in held]
    ledgers = Ledgers({str(n): each for n, each in enumerate(versions)})

    assert outdated_keys(["a.csv"], landed, ledgers, before=BEFORE) == (["a.csv"] if outdated else [])


def test_staged_objects_are_removed_by_age() -> None:
    """Staged objects written before the cutoff are removed."""
    objects = [("old", BEFORE - dt.timedelta(seconds=1)), ("new", BEFORE)]

    assert outdated_objects(objects, before=BEFORE) == ["old"]
