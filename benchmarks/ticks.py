"""One evaluation of the sensor against `fake_gcs.py`, with its real landing zone.

It provides what the daemon would have given the sensor: resources and a cursor. `arrival.py` measures it.
"""

import time
from pathlib import Path

import dagster as dg

from benchmarks.child import Timer
from benchmarks.fake_gcs import PREFIX
from txn_assets.config import load_config
from txn_assets.definitions import build
from txn_assets.defs.services import open_services
from txn_assets.feeds.configured import feeds_of
from txn_assets.files.arrival import Cursor, select
from txn_assets.stores.access import Access
from txn_assets.stores.clients import Clients
from txn_assets.stores.landing.zone import LandingZone


def prepare(_: Timer, *, url: str, new: int, cursor: str) -> list[str]:
    """Write the cursor of a sensor that has handled all but the `new` newest objects; return their names."""
    versions = sorted(_landing(url).versions(), key=lambda version: version.generation)
    known = versions[:-new]
    begun = Cursor().begin(now=time.time_ns() // 1000, first_new="")
    Path(cursor).write_text(select(known, begun, limit=len(known)).cursor.text())
    return sorted(version.name for version in versions[-new:])


def tick(timer: Timer, *, url: str, cursor: str) -> list[str]:
    """Evaluate the sensor the way the daemon does; return the names that it requests."""
    config = load_config()
    feed = feeds_of(config)[0]
    sensor = build(config).resolve_sensor_def("new_landed_files")
    with (
        open_services(config) as services,
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance, cursor=Path(cursor).read_text()) as context,
    ):
        services.of(feed).landing = _landing(url)
        with timer():
            result = sensor(context, services=services)
    assert isinstance(result, dg.SensorResult)
    return sorted(key for request in result.dynamic_partitions_requests or [] for key in request.partition_keys)


def _landing(url: str) -> LandingZone:
    config = load_config()
    # A sensor with a cursor asks no other service.
    access = Access(project_id=config.data_warehouse.project_id, location="", gcs_url=url, postgres={})
    return LandingZone(Clients(access=access), config.data_lake.gcs_bucket, PREFIX.removesuffix("/"))
