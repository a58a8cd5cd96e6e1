"""Dagster's own storage on this machine: a folder of TXN_HOME with the settings of the local instance."""

import shutil
from pathlib import Path


def prepare(home: Path) -> Path:
    """The DAGSTER_HOME below `home`, with the `dagster.yaml` of this folder."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("dagster.yaml"), dagster_home / "dagster.yaml")
    return dagster_home


if __name__ == "__main__":
    import sys

    from txn_assets.config import txn_home

    sys.stdout.write(f"{prepare(txn_home())}\n")
