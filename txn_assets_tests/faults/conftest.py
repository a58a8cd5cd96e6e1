"""A deployment with two staged versions of one file, and the stores of a run."""

from collections.abc import Iterator

import pytest

from txn_assets.stores.store import Store
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import Content, open_stores, stage


@pytest.fixture
def stores(deployment: Deployment) -> Iterator[dict[str, Store]]:
    """Return the stores of a run; they give up after five seconds."""
    with open_stores(deployment.config, retry_seconds=5.0) as opened:
        yield opened


@pytest.fixture
def old(deployment: Deployment) -> Content:
    """Return the first version of a file."""
    return stage(deployment, "a.csv", 40, seed=1)


@pytest.fixture
def new(deployment: Deployment, old: Content) -> Content:
    """Return the version that replaced `old`: other rows, fewer of them, another date."""
    return stage(deployment, "a.csv", 30, seed=2)
