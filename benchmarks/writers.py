"""Many files that land at once, loaded by several runs at a time: the real daemon and the three embedded stores.

Landing the files, waiting, and reading where the seconds of each load went. See `arrival.py` for the command.
"""

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.measure import function
from benchmarks.stores import Opened
from benchmarks.thousand import DEADLINE_SECONDS, bigquery_ledger, first_tick, gcs_ledger, postgres_ledger, stored_rows
from txn_assets.defs.dagster_home import prepare
from txn_assets_tests.daemon import dagster_dev
from txn_assets_tests.deployment import SINKS

type Spent = dict[str, float]
"""Mean seconds of a load, by what it was doing."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the files.

    Attributes:
        seconds: time from the sensor's first tick until each of the three ledgers had a row for each file.
        rows: rows in each store.
        spent: what the loads of each store spent their time on, and `in all`.
    """

    seconds: float
    rows: dict[str, int]
    spent: dict[str, Spent]


def load(home: Path, *, files: int, rows: int, runs: int) -> Written:
    """Land `files` files of `rows` rows, each with a day of its own, and load them with `runs` runs at a time.

    Raises:
        DaemonError: they were not loaded in time.
    """
    os.environ["TXN_LOCAL_RUNS"] = str(runs)
    opened = Opened()
    _land(opened, home / "landed.csv", files, rows)
    with dg.DagsterInstance.from_config(str(prepare(home, opened.endpoints))) as instance:
        with dagster_dev(home) as daemon:
            for ledger in (postgres_ledger, bigquery_ledger, gcs_ledger):
                daemon.wait_until(lambda ledger=ledger: ledger(opened) >= files, seconds=DEADLINE_SECONDS)  # type: ignore[misc]  # bound now
            ended = time.time()
            done = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
            # The rows are there; the events of the last run follow.
            daemon.wait_until(lambda: instance.get_runs_count(done) >= files, seconds=DEADLINE_SECONDS)
        return Written(ended - first_tick(instance), stored_rows(opened), _spent(instance))


def _land(opened: Opened, path: Path, files: int, rows: int) -> None:
    landing = f"{opened.config.data_lake.landing}/"
    # This file lands with the local stack and is not measured.
    opened.bucket.blob(f"{landing}transactions.csv").delete()
    for number in range(files):
        function(
            "benchmarks.data:write",
            path=str(path),
            rows=rows,
            bad_every=files * rows + 1,
            first=number * rows,
            first_day=number,
            days=1,
        )
        opened.bucket.blob(f"{landing}{number:04d}.csv").upload_from_filename(str(path), content_type="text/csv")
    path.unlink()


def _spent(instance: dg.DagsterInstance) -> dict[str, Spent]:
    spent = {}
    for sink in SINKS:
        records = instance.fetch_materializations(dg.AssetKey(sink), limit=1000).records
        total: dict[str, float] = defaultdict(float)
        for record in records:
            assert record.asset_materialization
            metadata = record.asset_materialization.metadata
            doing: Any = metadata["seconds_spent_on"].value
            for what, seconds in ({"in all": metadata["seconds"].value} | doing).items():
                total[what] += seconds
        spent[sink] = {what: seconds / len(records) for what, seconds in total.items()}
    return spent
