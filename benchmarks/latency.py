"""How long a file takes from landing to being readable in each store, with the real daemon: sensor, queue and run.

The times are those of the servers: when the object landed, when each database wrote the ledger row in the transaction
that committed the rows, and when the object of the data lake was written.
"""

import random
import time
from pathlib import Path
from statistics import quantiles

from benchmarks.stores import Opened
from benchmarks.thousand import bigquery_ledger, gcs_ledger, postgres_ledger
from txn_assets_tests.daemon import Daemon, dagster_dev
from txn_assets_tests.deployment import make_file, many_rows

DEADLINE_SECONDS = 900.0

type Latencies = dict[str, tuple[float, float]]
"""Median and 95th percentile in seconds, by store."""


def measure(home: Path, *, alone: int, stream: int, rows: int) -> tuple[Latencies, Latencies]:
    """Land `alone` files one after the other, each when the one before is loaded, then `stream` files, one a second.

    Raises:
        DaemonError: a file was not loaded in time.
    """
    opened, pauses = Opened(), random.Random(7)  # noqa: S311 - not a secret
    opened.bucket.blob(f"{opened.config.data_lake.landing}/transactions.csv").delete()
    with dagster_dev(home) as daemon:
        # The first file pays for new tables and for the first tick.
        _land(opened, "first.csv", rows)
        _wait(opened, daemon, 1)
        for number in range(alone):
            # So that files do not land in step with the ticks.
            time.sleep(pauses.uniform(0, 10))
            _land(opened, f"alone-{number:03d}.csv", rows)
            _wait(opened, daemon, 2 + number)
        for number in range(stream):
            started = time.monotonic()
            _land(opened, f"stream-{number:03d}.csv", rows)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - started)))
        _wait(opened, daemon, 1 + alone + stream)
    return _latencies(opened, "alone-"), _latencies(opened, "stream-")


def _land(opened: Opened, name: str, rows: int) -> None:
    content = make_file(*many_rows(rows))
    blob = opened.bucket.blob(f"{opened.config.data_lake.landing}/{name}")
    blob.upload_from_string(content, content_type="text/csv")


def _wait(opened: Opened, daemon: Daemon, files: int) -> None:
    for ledger in (postgres_ledger, gcs_ledger, bigquery_ledger):
        daemon.wait_until(lambda ledger=ledger: ledger(opened) >= files, seconds=DEADLINE_SECONDS)  # type: ignore[misc]  # bound now


def _latencies(opened: Opened, prefix: str) -> Latencies:
    with opened.postgres() as connection:
        found = connection.execute(
            f"SELECT source_file, landed_at, loaded_at FROM {opened.schema}.transactions_loads "
            "WHERE starts_with(source_file, %s)",
            [prefix],
        ).fetchall()
    landed = {name: landed_at for name, landed_at, _ in found}
    query = f"SELECT source_file, loaded_at FROM `{opened.dataset}.raw_transactions_loads`"
    lake = f"{opened.config.data_lake.path}/"
    loaded = {
        "PostgreSQL": {name: loaded_at for name, _, loaded_at in found},
        "BigQuery": {row.source_file: row.loaded_at for row in opened.bq.query(query).result()},
        "GCS": {
            f"{blob.name.removeprefix(lake).partition('/')[0]}.csv": blob.updated
            for blob in opened.gcs.list_blobs(opened.bucket, prefix=lake)
        },
    }
    result = {}
    for store, at in loaded.items():
        seconds = [(at[name] - landed[name]).total_seconds() for name in landed]
        # With so few files, the 95th percentile is between the two slowest.
        cuts = quantiles(seconds, n=100, method="inclusive")
        result[store] = (cuts[49], cuts[94])
    return result
