"""What starts runs by itself: the sensor on the landing zone, and the daily sweep.

Here belong listing, requesting and saying what was looked at. What is new is decided in `arrival.py`. Documented in
docs/operations.md.
"""

import dagster as dg

from txn_assets.arrival import Cursor, fits_a_key, is_data, select
from txn_assets.io_managers.sink import SinkIOManager
from txn_assets.jobs import load_landed_files
from txn_assets.ledger import FileVersion
from txn_assets.partitions import landed_files
from txn_assets.resources import LandingZone

REQUESTS_PER_TICK = 200
"""The rest waits for the next tick: a tick must end within its time, and the run queue be readable."""


@dg.sensor(
    job=load_landed_files,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a run for each new or overwritten object in the landing zone.",
)
def new_landed_files(context: dg.SensorEvaluationContext, landing: LandingZone) -> dg.SensorResult | dg.SkipReason:
    """One run a new version, oldest first, each once: the run key is name@generation."""
    selection = select(landing.versions(), Cursor.parse(context.cursor), limit=REQUESTS_PER_TICK)
    for name in selection.unfit:
        context.log.warning(f"{name!r} cannot be a partition key and is not loaded: land it under another name.")
    if not selection.requested:
        context.update_cursor(selection.cursor.text())
        return dg.SkipReason(f"Nothing new among {selection.looked_at} objects in {landing.address}.")
    found = f"{len(selection.requested)} new of {selection.looked_at} objects in {landing.address}"
    context.log.info(f"{found}, {selection.waiting} more wait.")
    return dg.SensorResult(
        run_requests=[_request(version) for version in selection.requested],
        dynamic_partitions_requests=[
            landed_files.build_add_request(sorted({version.name for version in selection.requested}))
        ],
        cursor=selection.cursor.text(),
    )


def make_daily_sweep(cron_schedule: str) -> dg.ScheduleDefinition:
    """The schedule that requests what has landed and stands in no ledger, at the times of `cron_schedule`."""

    @dg.schedule(
        name="daily_sweep",
        job=load_landed_files,
        cron_schedule=cron_schedule,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Requests every landed version that one of the three stores does not hold.",
    )
    def daily_sweep(
        context: dg.ScheduleEvaluationContext,
        landing: LandingZone,
        gcs: dg.ResourceParam[SinkIOManager],
        bigquery: dg.ResourceParam[SinkIOManager],
        postgres: dg.ResourceParam[SinkIOManager],
    ) -> list[dg.RunRequest] | dg.SkipReason:
        landed = [version for version in landing.versions() if is_data(version) and fits_a_key(version.name)]
        missing = missing_versions(landed, [gcs, bigquery, postgres])
        if not missing:
            return dg.SkipReason(f"All {len(landed)} files in {landing.address} are in the three stores.")
        context.instance.add_dynamic_partitions(landed_files.name or "", [version.name for version in missing])
        at = context.scheduled_execution_time.isoformat()
        return [_request(version, sweep=at) for version in missing]

    return daily_sweep


def missing_versions(landed: list[FileVersion], sinks: list[SinkIOManager]) -> list[FileVersion]:
    """Those of the `landed` versions that a sink's ledger does not have, oldest first."""
    ledgers = [sink.ride_out(sink.held_generations) for sink in sinks]
    missing = [v for v in landed if any(ledger.get(v.name, 0) < v.generation for ledger in ledgers)]
    return sorted(missing, key=lambda version: version.generation)


def _request(version: FileVersion, *, sweep: str | None = None) -> dg.RunRequest:
    # The sweep asks again for a version whose run failed, so its runs need keys of their own.
    key = f"{version}#{sweep}" if sweep else str(version)
    return dg.RunRequest(
        run_key=key, partition_key=version.name, tags={"txn_assets/generation": str(version.generation)}
    )
