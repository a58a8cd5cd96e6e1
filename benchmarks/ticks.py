"""One evaluation of the sensor against `fake_gcs.py`, with its real landing zone.

It provides what the daemon would have given the sensor: resources and a cursor. `arrival.py` measures it.
"""

import time
from pathlib import Path

import dagster as dg
from pydantic import Field

from benchmarks.child import Timer
from benchmarks.fake_gcs import PREFIX
from txn_assets.config import load_config
from txn_assets.defs.resources import Clients, LandingZone, make_clients
from txn_assets.defs.sensors import new_landed_files
from txn_assets.defs.wiring import make_resources
from txn_assets.files.arrival import Cursor, select
from txn_assets.local.endpoints import Endpoints


class FakeClients(Clients):
    """Clients for the local target, with GCS replaced."""

    gcs_url: str = Field(description="Where the stand-in for GCS listens.")

    def local_endpoints(self) -> Endpoints:
        """Return only the stand-in, because a sensor with a cursor talks to no other store."""
        return Endpoints(
            gcs_url=self.gcs_url,
            bigquery_url="",
            postgres_host="",
            postgres_port=0,
            postgres_user="",
            postgres_password="",
            postgres_dbname="",
        )


def prepare(_: Timer, *, url: str, new: int, cursor: str) -> list[str]:
    """Write the cursor of a sensor that has handled all but the `new` newest objects; return their names."""
    versions = sorted(_landing(url).versions(), key=lambda version: version.generation)
    known = versions[:-new]
    begun = Cursor().begin(now=time.time_ns() // 1000, first_new="")
    Path(cursor).write_text(select(known, begun, limit=len(known)).cursor.text())
    return sorted(version.name for version in versions[-new:])


def tick(timer: Timer, *, url: str, cursor: str) -> list[str]:
    """Evaluate the sensor the way the daemon does; return the names that it requests."""
    resources = make_resources(load_config()) | {"landing": _landing(url)}
    resources = {name: resources[name] for name in new_landed_files.required_resource_keys}
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance, cursor=Path(cursor).read_text(), resources=resources) as context,
        timer(),
    ):
        result = new_landed_files(context)
    assert isinstance(result, dg.SensorResult)
    return sorted(key for request in result.dynamic_partitions_requests or [] for key in request.partition_keys)


def _landing(url: str) -> LandingZone:
    config = load_config()
    plain = make_clients(config)
    fields = {name: getattr(plain, name) for name in type(plain).model_fields}
    stores = FakeClients(**fields, gcs_url=url)
    return LandingZone(clients=stores, bucket=config.data_lake.gcs_bucket, prefix=PREFIX.removesuffix("/"))
