"""Dagster's own storage on this machine: a folder of TXN_HOME with the settings of the local instance.

Here belongs where the local instance keeps its runs and events: in the PostgreSQL of the local stack, as the deployment
does. Starting Dagster does not: `dev.py` does that for people, `run.py` for one file.
Documented in docs/operations.md.
"""

from pathlib import Path

import yaml

from txn_assets.defs.run_liveness import FOLDER
from txn_assets.local.endpoints import Endpoints
from txn_assets.local.home import write_private


def prepare(home: Path, endpoints: Endpoints) -> Path:
    """The DAGSTER_HOME below `home`, with the `dagster.yaml` of this folder and the address of Dagster's database.

    Not SQLite, Dagster's default: it opens six connections an event and waits for the disk in each, so that the events
    of many small files took longer than their loads.
    """
    dagster_home = home / "dagster"
    # Each run of this instance is a process of this machine, and holds a lock there.
    (dagster_home / FOLDER).mkdir(parents=True, exist_ok=True)
    settings = Path(__file__).with_name("dagster.yaml").read_text()
    url = {"postgres_url": endpoints.dagster_dsn}
    storage = {
        "run_storage": {"module": "dagster_postgres", "class": "PostgresRunStorage", "config": url},
        "schedule_storage": {"module": "dagster_postgres", "class": "PostgresScheduleStorage", "config": url},
        "event_log_storage": {
            "module": "txn_assets.defs.dagster_storage",
            "class": "PooledEventLogStorage",
            "config": url,
        },
    }
    # It holds a password.
    write_private(dagster_home / "dagster.yaml", f"{settings}\n{yaml.safe_dump(storage)}")
    return dagster_home
