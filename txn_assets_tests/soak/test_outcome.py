"""Tests of the soak's own comparison: it must detect what it looks for."""

import random

import pytest

from txn_assets_tests.deployment import SINKS, Deployment
from txn_assets_tests.faults.bench import Difference
from txn_assets_tests.soak.landing import Landing
from txn_assets_tests.soak.outcome import compare, waiting

NONE = dict.fromkeys(SINKS, Difference(0, 0))
POSTGRES = "postgres_transactions"


@pytest.fixture
def landing(deployment: Deployment) -> Landing:
    """Return two files: the second version of the first is loaded, the second file is not."""
    made = Landing(deployment, random.Random(6))
    made.land("a.csv")
    made.land("a.csv")
    deployment.materialize("a.csv")
    made.land("b.csv")
    return made


def test_file_that_was_not_loaded(deployment: Deployment, landing: Landing) -> None:
    """A file that was not loaded is waiting, and all of its rows count as lost in each store."""
    (rows,) = landing.versions["b.csv"].values()
    assert waiting(deployment, landing.newest()) == {"b.csv"}
    assert compare(deployment, landing) == dict.fromkeys(SINKS, Difference(rows.total(), 0))


def test_deleted_file(deployment: Deployment, landing: Landing) -> None:
    """Of a deleted file the stores may hold nothing or one whole version, but not part of one."""
    landing.present.clear()
    assert waiting(deployment, landing.newest()) == set()
    assert compare(deployment, landing) == NONE

    deployment.pg.execute(f"INSERT INTO {deployment.pg_table} SELECT * FROM {deployment.pg_table} LIMIT 1")
    assert compare(deployment, landing) == NONE | {POSTGRES: Difference(0, 1)}


def test_lost_row(deployment: Deployment, landing: Landing) -> None:
    """A missing row counts as lost."""
    landing.versions.pop("b.csv")
    deployment.pg.execute(f"DELETE FROM {deployment.pg_table} WHERE source_row = 1")
    assert compare(deployment, landing) == NONE | {POSTGRES: Difference(1, 0)}
