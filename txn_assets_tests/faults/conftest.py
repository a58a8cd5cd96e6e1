"""A deployment with two staged versions of one file, and the sinks of a run."""

from collections.abc import Iterator

import pytest

from txn_assets.defs.io_managers.sink import SinkIOManager
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import Content, open_sinks, stage


@pytest.fixture
def sinks(deployment: Deployment) -> Iterator[dict[str, SinkIOManager]]:
    """Return the I/O managers with their own run files; they give up after five seconds."""
    with open_sinks(deployment.config, retry_seconds=5.0) as opened:
        yield opened


@pytest.fixture
def old(deployment: Deployment) -> Content:
    """Return the first version of a file."""
    return stage(deployment, "a.csv", 40, seed=1)


@pytest.fixture
def new(deployment: Deployment, old: Content) -> Content:
    """Return the version that replaced `old`: other rows, fewer of them, another date."""
    return stage(deployment, "a.csv", 30, seed=2)
