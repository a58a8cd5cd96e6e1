"""Which files of the data folder a new local stack lands, and in which feed's zone."""

from pathlib import Path

import pytest

from txn_assets.local.endpoints import Seed

TRANSACTIONS, REFUNDS = {"transactions": "landing/transactions"}, {"refunds": "landing/refunds"}


@pytest.mark.parametrize(
    ("landing", "landed"),
    [
        (TRANSACTIONS, ["landing/transactions/orders.csv", "landing/transactions/transactions.csv"]),
        (
            TRANSACTIONS | REFUNDS,
            ["landing/refunds/refunds.csv", "landing/transactions/orders.csv", "landing/transactions/transactions.csv"],
        ),
        (
            TRANSACTIONS | {"orders": "drops"},
            ["drops/orders.csv", "landing/transactions/transactions.csv"],
        ),
    ],
)
def test_files_land_in_the_zone_of_their_feed(tmp_path: Path, landing: dict[str, str], landed: list[str]) -> None:
    """A file named after a feed lands there; the sample of a shipped feed that is not configured does not land."""
    for name in ("transactions.csv", "refunds.csv", "orders.csv", "notes.txt"):
        (tmp_path / name).touch()
    seed = Seed(
        bucket="b",
        landing=landing,
        project_id="p",
        dataset="d",
        location="US",
        postgres_user="u",
        postgres_dbname="db",
        data=tmp_path,
    )

    assert sorted(seed.files().values()) == landed
