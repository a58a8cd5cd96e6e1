"""Many small files dropped at once and loaded by the real daemon: `dagster dev` with its sensor, queue and runs.

Landing the files, waiting, and counting afterwards. The bounds are in `arrival.py`.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
from google.api_core.exceptions import NotFound

from benchmarks.stores import Opened
from txn_assets.defs.dagster_home import prepare
from txn_assets_tests.daemon import dagster_dev
from txn_assets_tests.deployment import make_file, many_rows

DEADLINE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of the files.

    Attributes:
        seconds: time from the sensor's first tick until each of the three ledgers had a row for each file.
        runs: number of Dagster runs.
        rows: rows in each store.
    """

    seconds: float
    runs: int
    rows: dict[str, int]


def load(home: Path, *, files: int, rows: int) -> Loaded:
    """Land `files` files of `rows` rows each, start Dagster, and wait until they are loaded.

    Raises:
        DaemonError: they were not loaded in time.
    """
    opened = Opened()
    _land(opened, files, rows)
    with dg.DagsterInstance.from_config(str(prepare(home, opened.endpoints))) as instance:
        with dagster_dev(home) as daemon:
            # Poll one ledger at a time: polling a long ledger constantly would slow down what is measured.
            for ledger in (postgres_ledger, bigquery_ledger, gcs_ledger):
                daemon.wait_until(lambda ledger=ledger: ledger(opened) >= files, seconds=DEADLINE_SECONDS)  # type: ignore[misc]  # bound now
            ended = time.time()
        return Loaded(ended - first_tick(instance), instance.get_runs_count(), stored_rows(opened))


def _land(opened: Opened, files: int, rows: int) -> None:
    landing = f"{opened.config.data_lake.landing}/"
    # This file lands with the local stack and is not measured.
    opened.bucket.blob(f"{landing}transactions.csv").delete()
    for number in range(files):
        content = make_file(*many_rows(rows, start=number * rows))
        opened.bucket.blob(f"{landing}{number:04d}.csv").upload_from_string(content, content_type="text/csv")


def first_tick(instance: dg.DagsterInstance) -> float:
    """Return when the sensor looked at the landing zone for the first time."""
    ticks = [
        tick
        for state in instance.all_instigator_state()
        if state.name == "new_landed_files"
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
    ]
    return min(tick.timestamp for tick in ticks)


def postgres_ledger(opened: Opened) -> int:
    """Return how many files the ledger of the PostgreSQL table has."""
    return _postgres_count(opened, "count(DISTINCT source_file)", "transactions_loads")


def bigquery_ledger(opened: Opened) -> int:
    """Return how many files the ledger of the BigQuery table has."""
    # The row with the empty name is not a load.
    return _bigquery_count(opened, "count(DISTINCT NULLIF(source_file, ''))", "raw_transactions_loads")


def gcs_ledger(opened: Opened) -> int:
    """Return how many objects the data lake has."""
    return sum(1 for _ in opened.gcs.list_blobs(opened.bucket, prefix=f"{opened.config.data_lake.path}/"))


def stored_rows(opened: Opened) -> dict[str, int]:
    """Return how many rows each store has."""
    objects = opened.gcs.list_blobs(opened.bucket, prefix=f"{opened.config.data_lake.path}/")
    return {
        "gcs": sum(blob.download_as_bytes().count(b"\n") - 1 for blob in objects),
        "bigquery": _bigquery_count(opened, "count(*)", "raw_transactions"),
        "postgres": _postgres_count(opened, "count(*)", "transactions"),
    }


def _postgres_count(opened: Opened, what: str, table: str) -> int:
    with opened.postgres() as connection:
        try:
            ((count,),) = connection.execute(f"SELECT {what} FROM {opened.schema}.{table}").fetchall()
        except psycopg.errors.UndefinedTable:
            # The first load creates it.
            return 0
    return int(count)


def _bigquery_count(opened: Opened, what: str, table: str) -> int:
    try:
        ((count,),) = (
            row.values() for row in opened.bq.query(f"SELECT {what} FROM `{opened.dataset}.{table}`").result()
        )
    except NotFound:
        # The first load creates it.
        return 0
    return int(count)
