"""A deployment with marts."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from txn_assets.marts.engines import Marts, open_marts
from txn_assets.marts.mart import MARTS
from txn_assets.target import open_services
from txn_assets_tests.deployment import Deployment


@pytest.fixture
def with_marts(deployment: Deployment) -> Deployment:
    """Return a deployment whose marts have a dataset of their own."""
    name = f"mart_{uuid.uuid4().hex[:12]}"
    deployment.configure({"data_mart": {"dataset": name}, "transformation": {"models": list(MARTS)}})
    return deployment


@contextmanager
def opened(deployment: Deployment) -> Iterator[Marts]:
    """Yield the marts of `deployment`."""
    with open_services(deployment.config, deployment.endpoints) as services:
        yield open_marts(services.of(deployment.feed()), deployment.config)
