"""The outcome: what the ledgers say, what the stores hold against what they must hold, and how the runs ended.

Use only the stores' own clients here; the platform must not check itself.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
from google.api_core.exceptions import NotFound

from txn_assets.defs.run_liveness import DIED
from txn_assets_tests.deployment import SINKS, Deployment, Row
from txn_assets_tests.faults.bench import Difference
from txn_assets_tests.soak.landing import Landing

FAILURE = dg.DagsterRunStatus.FAILURE


@dataclass(frozen=True)
class Runs:
    """How many runs started, and how they ended."""

    started: int
    succeeded: int
    failed: int
    killed: int

    @classmethod
    def of(cls, instance: dg.DagsterInstance) -> "Runs":
        """Count the runs of the instance."""
        records = instance.get_run_records()
        ends = Counter(record.dagster_run.status for record in records)
        started = sum(record.start_time is not None for record in records)
        killed = [run for run in instance.get_runs(dg.RunsFilter(statuses=[FAILURE])) if _was_killed(instance, run)]
        return cls(started, ends[dg.DagsterRunStatus.SUCCESS], ends[FAILURE], len(killed))


def _was_killed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return any(
        entry.message == DIED for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    )


def waiting(deployment: Deployment, newest: dict[str, int]) -> set[str]:
    """Return the names whose `newest` generation is missing from a ledger, for the first ledger that lacks any."""
    for ledger in (_pg_ledger, _bq_ledger, _gcs_ledger):
        held = ledger(deployment)
        if missing := {name for name, generation in newest.items() if held.get(name) != generation}:
            return missing
    return set()


def _pg_ledger(deployment: Deployment) -> dict[str, int]:
    query = f"SELECT source_file, max(generation) FROM {deployment.pg_table}_loads GROUP BY source_file"
    try:
        return dict(deployment.pg.execute(query).fetchall())
    except psycopg.errors.UndefinedTable:
        # The first load creates it.
        return {}


def _bq_ledger(deployment: Deployment) -> dict[str, int]:
    query = f"SELECT source_file, max(generation) FROM `{deployment.bq_table}_loads` GROUP BY source_file"
    try:
        return dict(row.values() for row in deployment.bq.query(query).result())
    except NotFound:
        # The first load creates it.
        return {}


def _gcs_ledger(deployment: Deployment) -> dict[str, int]:
    blobs = deployment.gcs.list_blobs(deployment.bucket, prefix=f"{deployment.config.data_lake.path}/")
    return {blob.metadata["source_file"]: int(blob.metadata["source_generation"]) for blob in blobs}


def compare(deployment: Deployment, landing: Landing) -> dict[str, Difference]:
    """Return the difference between each store and the landing zone.

    A store must hold the newest version of an existing file. Of a deleted file it may hold nothing or any one version,
    because deleting a source is not a load.
    """
    differences = {}
    for store in SINKS:
        found = [_nearest(Counter(deployment.rows(store, name)), _allowed(landing, name)) for name in landing.versions]
        differences[store] = Difference(sum(one.lost for one in found), sum(one.twice for one in found))
    return differences


def _allowed(landing: Landing, name: str) -> list[Counter[Row]]:
    versions = landing.versions[name]
    return [versions[max(versions)]] if name in landing.present else [Counter(), *versions.values()]


def _nearest(held: Counter[Row], allowed: Iterable[Counter[Row]]) -> Difference:
    return min((Difference.between(held, rows) for rows in allowed), key=lambda found: found.size)


def clear_text(home: Path) -> list[Path]:
    """Return the files of runs that are still in scratch space."""
    return [path for path in (home / "scratch").glob("run-*/**/*") if path.is_file() and path.name != "lock"]
