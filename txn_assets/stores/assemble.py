"""Build the objects of a run from the configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from txn_assets.config import PipelineConfig
from txn_assets.feeds.feed import Feed
from txn_assets.rows.hashing import HashKeys
from txn_assets.stores.access import Access
from txn_assets.stores.clients import Clients
from txn_assets.stores.erasures import ErasureRegister
from txn_assets.stores.landed_names import name_limit
from txn_assets.stores.landing.archive import LandingArchive
from txn_assets.stores.landing.zone import LandingZone
from txn_assets.stores.quarantine import Quarantine
from txn_assets.stores.services import AllServices, Services
from txn_assets.stores.staging import Staging


@contextmanager
def open_services(
    config: PipelineConfig, access: Access, *, home: Path, scratch_limit: int | None, hash_keys: HashKeys
) -> Iterator[AllServices]:
    """Yield the services of each feed of `config`; close the clients and remove the run's files afterwards.

    See `RunFiles` for `home`, `scratch_limit` and `hash_keys`.
    """
    clients = Clients(access=access)

    def make(feed: Feed) -> Services:
        bucket = config.data_lake.gcs_bucket
        return Services(
            config=config,
            feed=feed,
            clients=clients,
            landing=make_landing_zone(config, feed, clients),
            quarantine=Quarantine(clients, bucket, feed.quarantine),
            archive=_make_archive(config, feed, clients),
            staging=Staging(clients, bucket, feed.staging),
            erasures=ErasureRegister(clients, bucket, config.erasure.path, feed.name),
            home=home,
            scratch_limit=scratch_limit,
            hash_keys=hash_keys,
        )

    services = AllServices(config, make)
    try:
        yield services
    finally:
        services.close()
        clients.close()


def make_landing_zone(config: PipelineConfig, feed: Feed, clients: Clients) -> LandingZone:
    """Return the landing zone of `feed`."""
    return LandingZone(
        clients,
        config.data_lake.gcs_bucket,
        feed.landing,
        dates=feed.landing_dates,
        late_days=feed.landing_late_days,
        max_name_bytes=name_limit(feed),
    )


def _make_archive(config: PipelineConfig, feed: Feed, clients: Clients) -> LandingArchive | None:
    """Return the archive of the landing zone of `feed`; None without a bucket for it."""
    bucket = config.retention.archive_bucket
    return LandingArchive(clients, bucket, feed.landing) if bucket else None
