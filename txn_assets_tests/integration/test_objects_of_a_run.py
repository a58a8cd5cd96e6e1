"""A run builds each of its objects once: a client for each service, its files, the configuration, the local servers."""

import functools
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from google.cloud import bigquery, storage

from txn_assets import config
from txn_assets.environment import project_root
from txn_assets.local import stack
from txn_assets.run import run
from txn_assets.stores.run_files import RunFiles
from txn_assets_tests.deployment import Deployment

SAMPLE = project_root() / "data" / "transactions.csv"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each object was made since the test began."""
    counts: Counter[str] = Counter()

    def count(owner: object, method: str, what: str) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        @functools.wraps(original)
        def counted(*arguments: Any, **options: Any) -> Any:
            counts[what] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, method, counted)

    count(storage.Client, "__init__", "storage clients")
    count(bigquery.Client, "__init__", "BigQuery clients")
    count(RunFiles, "__init__", "run files")
    count(config._UniqueKeyLoader, "__init__", "parsed configurations")
    count(stack._State, "is_healthy", "probes of the local servers")
    return counts


def test_one_of_each(deployment: Deployment, made: Counter[str]) -> None:
    """`make run` makes one of each, for landing the file and for the run together."""
    config_in_force = deployment.config

    assert run(SAMPLE, config_in_force, io.StringIO()) == 0

    assert made == {
        "storage clients": 1,
        "BigQuery clients": 1,
        "run files": 1,
        "parsed configurations": 1,
        "probes of the local servers": 1,
    }


def test_run_of_the_daemon(deployment: Deployment, made: Counter[str]) -> None:
    """A run of a registered file, as the daemon starts it, makes one of each too."""
    deployment.land("a.csv", SAMPLE.read_bytes())
    deployment.materialize("a.csv")
    made.clear()

    deployment.materialize("a.csv")

    assert {what: made[what] for what in ("storage clients", "BigQuery clients", "run files")} == {
        "storage clients": 1,
        "BigQuery clients": 1,
        "run files": 1,
    }
    assert made["probes of the local servers"] == 1
