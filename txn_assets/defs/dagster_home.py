"""Prepare DAGSTER_HOME for the local instance, a folder below TXN_HOME.

Like the deployment, the local instance stores runs and events in PostgreSQL, on the server of the local stack. `dev.py`
and `run.py` start Dagster. See docs/operations.md.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import yaml

from txn_assets.defs.run_liveness import FOLDER
from txn_assets.environment import local_runs
from txn_assets.local.endpoints import Endpoints
from txn_assets.local.home import write_private


def prepare(home: Path, endpoints: Endpoints) -> Path:
    """Write `dagster.yaml`, with the address of Dagster's database, below `home` and return the DAGSTER_HOME.

    SQLite, Dagster's default, opens six connections per event and waits for the disk in each, so storing the events of
    many small files took longer than loading the files.
    """
    dagster_home = home / "dagster"
    # Each run of this instance is a process on this machine and holds a lock in this folder.
    (dagster_home / FOLDER).mkdir(parents=True, exist_ok=True)
    settings = Path(__file__).with_name("dagster.yaml").read_text()
    # Dagster shows its settings in the UI, and passes them to its processes as arguments. So the password is not among
    # them, but in a file that libpq reads (https://www.postgresql.org/docs/current/libpq-pgpass.html).
    passfile = dagster_home / "pgpass"
    write_private(passfile, f"*:*:*:*:{endpoints.postgres_password}\n")
    url = {"postgres_url": f"{endpoints.dagster_dsn}?passfile={quote(str(passfile))}"}
    storage = {
        "run_storage": {"module": "dagster_postgres", "class": "PostgresRunStorage", "config": url},
        "schedule_storage": {"module": "dagster_postgres", "class": "PostgresScheduleStorage", "config": url},
        "event_log_storage": {
            "module": "txn_assets.defs.dagster_storage",
            "class": "PooledEventLogStorage",
            "config": url,
        },
    }
    limits = {"concurrency": {"runs": {"max_concurrent_runs": local_runs()}}}
    write_private(dagster_home / "dagster.yaml", f"{settings}\n{yaml.safe_dump(storage | limits | _run_launcher())}")
    return dagster_home


def _run_launcher() -> dict[str, Any]:
    """Return the setting that lets run monitoring check the processes of runs, if this Dagster supports it."""
    try:
        from txn_assets.defs.run_launcher import LocalRunLauncher  # noqa: PLC0415 - needs private parts of Dagster
    except ImportError as error:
        dg.get_dagster_logger().warning(
            f"The run launcher of txn_assets does not work with Dagster {dg.__version__}: {error}. With the launcher "
            "of Dagster, run monitoring does not notice runs whose process died; `make dev` and the next run still "
            "report them."
        )
        return {}
    return {"run_launcher": {"module": LocalRunLauncher.__module__, "class": LocalRunLauncher.__name__}}
