"""`python -m txn_assets.local.dev [PORT]`: the local stack, then Dagster's UI and daemon. `make dev` calls it.

Here belongs what `dagster dev` is started with. The settings of its instance are `dagster.yaml`'s.
Documented in docs/operations.md.
"""

import os
import sys
from pathlib import Path

from txn_assets.config import ConfigError, load_config, project_root, txn_home
from txn_assets.local.dagster_home import prepare
from txn_assets.local.stack import LocalStackError, ensure_up, seed_from

SETTINGS = {
    # So many events of a batch of files are stored by one statement.
    "DAGSTER_EVENT_BATCH_SIZE": "1000",
    # A sensor that has lost its cursor reads the three ledgers, and so does a sweep, which also lists everything.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "300",
    "DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS": "900",
}
"""What Dagster takes from the environment alone; `helm-values/values.yaml` has the same."""


def main(port: str = "3000") -> None:
    """Becomes `dagster dev`, or ends with 1 and a sentence where the local stack cannot be started."""
    try:
        dagster_home = prepare(txn_home(), ensure_up(txn_home(), seed_from(load_config())))
    except (ConfigError, LocalStackError) as error:
        sys.exit(str(error))
    environment = SETTINGS | os.environ | {"DAGSTER_HOME": str(dagster_home)}
    # Its code location is the one that pyproject.toml and workspace.yaml of the project name.
    os.chdir(project_root())
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.execve(dagster, [dagster, "dev", "-h", "127.0.0.1", "-p", port], environment)  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
