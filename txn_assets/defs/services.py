"""The resource `services`: landing zones, run files and stores of all feeds, built once per run, tick and check."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import dagster as dg

from txn_assets.config import PipelineConfig
from txn_assets.environment import hash_key, postgres_password, scratch_limit, txn_home, txn_target
from txn_assets.files.ledgers import Ledgers
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.stack import ensure_up
from txn_assets.stores.access import Access
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
    """Yield the services of `config` on the target in TXN_TARGET.

    Pass the `endpoints` of the embedded servers if they are already running; otherwise they are started here.

    Raises:
        ConfigError: an environment variable is missing or wrong.
        LocalStackError: the embedded servers do not start.
    """
    shared = _SHARED.get()
    if shared is not None and shared.config == config:
        yield shared
        return
    # Import the modules with the clients only when services are opened, because loading the definitions would
    # otherwise take half a second longer.
    from txn_assets.stores import assemble  # noqa: PLC0415 - see above

    access = _find_access(config, endpoints)
    with assemble.open_services(
        config, access, home=txn_home(), scratch_limit=scratch_limit(), hash_key=hash_key()
    ) as opened:
        yield opened


def read_ledgers(services: Services) -> Ledgers:
    """Return the ledgers of all stores for the feed of `services`.

    Raises:
        Failure: a ledger cannot be read.
    """
    try:
        return services.read_ledgers()
    except StoreError as error:
        raise dg.Failure(str(error), allow_retries=False) from error.__cause__


def _find_access(config: PipelineConfig, endpoints: Endpoints | None) -> Access:
    warehouse = config.data_warehouse
    if txn_target() == "local":
        endpoints = endpoints or ensure_up(txn_home(), seed_from(config))
        return to_access(endpoints, warehouse.project_id, warehouse.location)
    postgres = warehouse.postgres
    return Access(
        project_id=warehouse.project_id,
        location=warehouse.location,
        postgres={
            "host": postgres.host,
            "port": postgres.port,
            "dbname": postgres.dbname,
            "user": postgres.user,
            "password": postgres_password(),
            "sslmode": postgres.sslmode or ("verify-full" if config.security.encryption == "tls" else "prefer"),
        },
    )


def to_access(endpoints: Endpoints, project_id: str, location: str) -> Access:
    """Return the addresses and credentials of the embedded servers."""
    return Access(
        project_id=project_id,
        location=location,
        gcs_url=endpoints.gcs_url,
        bigquery_url=endpoints.bigquery_url,
        postgres={
            "host": endpoints.postgres_host,
            "port": endpoints.postgres_port,
            "dbname": endpoints.postgres_dbname,
            "user": endpoints.postgres_user,
            "password": endpoints.postgres_password,
        },
    )
