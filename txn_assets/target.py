"""Open the services on the target in TXN_TARGET: the embedded servers, which start on demand, or Google Cloud.

TXN_LOCAL_ENDPOINTS names embedded servers that run elsewhere; then nothing is started here.

The Dagster shell and the upload service open them here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from txn_assets.config import PipelineConfig
from txn_assets.environment import hash_key, hash_key_previous, postgres_password, scratch_limit, txn_home, txn_target
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.stack import find_endpoints
from txn_assets.rows.hashing import HashKeys
from txn_assets.stores.access import Access
from txn_assets.stores.services import AllServices


@contextmanager
def open_services(config: PipelineConfig, endpoints: Endpoints | None = None) -> Iterator[AllServices]:
    """Yield the services of `config` on the target in TXN_TARGET.

    Pass the `endpoints` of the embedded servers if they are already running; otherwise they are started here.

    Raises:
        ConfigError: an environment variable is missing or wrong.
        LocalStackError: the embedded servers do not start.
    """
    # Import the modules with the clients only when services are opened, because loading the definitions would
    # otherwise take half a second longer.
    from txn_assets.stores import assemble  # noqa: PLC0415 - see above

    access = find_access(config, endpoints)
    with assemble.open_services(
        config, access, home=txn_home(), scratch_limit=scratch_limit(), hash_keys=hash_keys()
    ) as opened:
        yield opened


def hash_keys() -> HashKeys:
    """Return the secret keys in the environment; the gcp target requires one."""
    return HashKeys(hash_key(), hash_key_previous(), required=txn_target() == "gcp")


def find_access(config: PipelineConfig, endpoints: Endpoints | None = None) -> Access:
    """Return the addresses and credentials of the three services; see `open_services`."""
    warehouse = config.data_warehouse
    if txn_target() == "local":
        endpoints = endpoints or find_endpoints(txn_home(), seed_from(config))
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
