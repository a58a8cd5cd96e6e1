"""The resource `services`: landing zones, run files and stores of all feeds, built once per run, tick and check."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import dagster as dg

from txn_assets import target
from txn_assets.config import PipelineConfig
from txn_assets.files.ledgers import Ledgers
from txn_assets.local.endpoints import Endpoints
from txn_assets.stores.errors import StoreError
from txn_assets.stores.services import AllServices, Services

_SHARED: ContextVar[AllServices | None] = ContextVar("shared_services", default=None)


def make_services(config: PipelineConfig) -> dg.ResourceDefinition:
    """Return the resource for `config`."""

    @dg.resource(description="The landing zone, run files and stores of each feed, with one client for each service.")
    def services(_: dg.InitResourceContext) -> Iterator[AllServices]:
        with open_services(config) as opened:
            yield opened

    return services


@contextmanager
def share_services(config: PipelineConfig, endpoints: Endpoints | None = None) -> Iterator[AllServices]:
    """Open the services of `config` for a command that runs a job in its own process, and share them with the run.

    See `open_services` for `endpoints`.
    """
    with open_services(config, endpoints) as services:
        token = _SHARED.set(services)
        try:
            yield services
        finally:
            _SHARED.reset(token)


@contextmanager
def open_services(config: PipelineConfig, endpoints: Endpoints | None = None) -> Iterator[AllServices]:
    """Yield the shared services if there are any for `config`, else those that `target.open_services` opens."""
    shared = _SHARED.get()
    if shared is not None and shared.config == config:
        yield shared
        return
    with target.open_services(config, endpoints) as opened:
        yield opened


def read_ledgers(services: Services) -> Ledgers:
    """Return the ledgers of all stores for the feed of `services`.

    Raises:
        Failure: a ledger cannot be read.
    """
    try:
        return services.read_ledgers()
    except StoreError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
