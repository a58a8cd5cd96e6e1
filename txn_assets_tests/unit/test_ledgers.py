"""Which files the stores lack, and which they hold under other rules or another key."""

import pytest

from txn_assets.files.arrival import missing_versions, outdated_versions
from txn_assets.files.ledger import FileVersion
from txn_assets.files.ledgers import HeldVersion, Ledgers

VERSION = FileVersion("a.csv", 7, 1, "")
CURRENT = HeldVersion(7, "rules", "key")


@pytest.mark.parametrize(
    ("held", "missing", "outdated"),
    [
        (CURRENT, [], []),
        (HeldVersion(6, "rules", "key"), ["B"], []),
        (HeldVersion(8, "rules", "key"), ["B"], []),
        (HeldVersion(7, "other rules", "key"), [], ["B"]),
        (HeldVersion(7, "rules", "other key"), [], ["B"]),
        (HeldVersion(6, "other rules", "other key"), ["B"], []),
        (None, ["B"], []),
    ],
)
def test_missing_and_outdated(held: HeldVersion | None, missing: list[str], outdated: list[str]) -> None:
    """A store lacks a version of another generation; it holds one under other rules only if it has the same one."""
    ledgers = Ledgers({"A": {"a.csv": CURRENT}, "B": {"a.csv": held} if held else {}})

    assert ledgers.missing_in(VERSION) == missing
    assert ledgers.outdated_in(VERSION, rules_id="rules", key_id="key") == outdated


def test_sweep_requests_a_version_once() -> None:
    """A version that one store lacks and another holds under other rules is missing, and not outdated as well."""
    newer = FileVersion("b.csv", 9, 1, "")
    older_rules = {"a.csv": HeldVersion(7, "other rules", "key"), "b.csv": HeldVersion(9, "other rules", "key")}
    ledgers = Ledgers({"A": older_rules, "B": {"b.csv": HeldVersion(9, "rules", "key")}})

    assert missing_versions([newer, VERSION], ledgers) == [VERSION]
    assert outdated_versions([newer, VERSION], ledgers, rules_id="rules", key_id="key") == [newer]
