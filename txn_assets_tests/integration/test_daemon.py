"""The whole of it by itself: `dagster dev`, its daemon and the sensor load what is dropped into the bucket."""

from pathlib import Path

import psycopg

from txn_assets_tests.daemon import dagster_dev
from txn_assets_tests.deployment import Deployment, make_file, many_rows

SECONDS = 150.0
"""Start, a tick every 30 s, a queue that is looked at every 5 s, and a run: half of it on an idle machine."""


def test_dropped_and_overwritten_file(deployment: Deployment, tmp_path: Path) -> None:
    """A file dropped into the bucket reaches the stores with no hand on it, and so does what overwrites it."""
    with dagster_dev(tmp_path) as daemon:
        deployment.land("a.csv", make_file(*many_rows(3)))
        daemon.wait_until(lambda: _prices(deployment) == ["1.5000"] * 3, seconds=SECONDS)

        deployment.land("a.csv", make_file(*many_rows(2, price="2.50")))
        daemon.wait_until(lambda: _prices(deployment) == ["2.5000"] * 2, seconds=SECONDS)


def _prices(deployment: Deployment) -> list[str]:
    try:
        return [str(price) for _, _, price, _, _ in deployment.rows("postgres_transactions", "a.csv")]
    except psycopg.errors.UndefinedTable:
        # The first load makes it.
        return []
