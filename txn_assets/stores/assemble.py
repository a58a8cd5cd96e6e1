"""Build the objects of a run from the configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from txn_assets.config import PipelineConfig
from txn_assets.feeds.configured import feeds_of
from txn_assets.stores.access import Access
from txn_assets.stores.clients import Clients
from txn_assets.stores.landed_names import name_limit
from txn_assets.stores.landing import LandingZone
from txn_assets.stores.quarantine import Quarantine
from txn_assets.stores.services import Services
from txn_assets.stores.staging import Staging


@contextmanager
def open_services(
    config: PipelineConfig, access: Access, *, home: Path, scratch_limit: int | None, hash_key: str | None
) -> Iterator[Services]:
    """Yield the services of `config`; close the clients and remove the run's files afterwards.

    See `RunFiles` for `home`, `scratch_limit` and `hash_key`.
    """
    lake = config.data_lake
    clients = Clients(access=access)
    services = Services(
        config=config,
        feed=feeds_of(config)[0],
        clients=clients,
        landing=make_landing_zone(config, clients),
        quarantine=Quarantine(clients, lake.gcs_bucket, lake.quarantine),
        staging=Staging(clients, lake.gcs_bucket, lake.staging),
        home=home,
        scratch_limit=scratch_limit,
        hash_key=hash_key,
    )
    try:
        yield services
    finally:
        services.close()


def make_landing_zone(config: PipelineConfig, clients: Clients) -> LandingZone:
    """Return the landing zone of `config`."""
    lake = config.data_lake
    return LandingZone(
        clients,
        lake.gcs_bucket,
        lake.landing,
        dates=lake.landing_dates or "",
        late_days=lake.landing_late_days,
        max_name_bytes=name_limit(lake),
    )
