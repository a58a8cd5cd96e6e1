"""Tests of what is old enough to remove."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.files.ledger import FileVersion
from txn_assets.files.ledgers import HeldVersion, Ledgers
from txn_assets.files.retention import landed_at, outdated_keys, outdated_objects, proven_versions

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


NAMES = st.sampled_from(["a.csv", "b.csv", "c.csv"])
HELD = st.sampled_from([HeldVersion(n, rules, key) for n in (1, 2) for rules in ("rules", "x") for key in ("key", "x")])


@given(
    landed=st.dictionaries(NAMES, st.sampled_from([1, 2])),
    stores=st.lists(st.dictionaries(NAMES, HELD), min_size=1, max_size=3),
    in_runs=st.sets(NAMES),
)
def test_only_proven_versions_leave_the_landing_zone(
    landed: dict[str, int], stores: list[dict[str, HeldVersion]], in_runs: set[str]
) -> None:
    """A version leaves only if each store holds that generation as it would be loaded today, and no run reads it."""
    versions = [FileVersion(name, generation, 1, "") for name, generation in landed.items()]
    ledgers = Ledgers({str(n): each for n, each in enumerate(stores)})

    proven = proven_versions(versions, ledgers, rules_id="rules", key_id="key", in_runs=in_runs)

    assert proven == [
        version
        for version in versions
        if version.name not in in_runs
        and all(store.get(version.name) == HeldVersion(version.generation, "rules", "key") for store in stores)
    ]
