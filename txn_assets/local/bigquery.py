"""local-bigquery: a BigQuery server on DuckDB.

This module prepares it to start without network access and without touching anything outside TXN_HOME. It runs in
`.venv-servers`, so use only the standard library.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from txn_assets.local import probes
from txn_assets.local.home import Home
from txn_assets.local.servers import Server, site_package

_EXTENSIONS = ("ducklake", "httpfs", "icu", "spatial")
"""DuckDB extensions that local-bigquery loads. Without httpfs, load jobs from gs:// fail."""


def server(home: Home, ports: Mapping[str, int], project: str, dataset: str) -> Server:
    """Prepare local-bigquery's folders and describe how to start it."""
    # Delete the bodies of finished uploads, because local-bigquery never does.
    shutil.rmtree(home.bigquery / "uploads", ignore_errors=True)
    # Delete the spill files of interrupted queries.
    shutil.rmtree(home.bigquery / ".tmp", ignore_errors=True)
    home.bigquery.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{ports['bigquery']}"
    return Server(
        name="bigquery",
        command=(
            *(sys.executable, "-P", "-m", "txn_assets.local.bigquery_server"),
            *("--host", "127.0.0.1", "--port", str(ports["bigquery"]), "--grpc-port", str(ports["bigquery-grpc"])),
            # Use a relative path: local-bigquery does not escape the path in its SQL, so a home named o'brien would
            # fail.
            *("--data-dir", ".", "--project", project, "--dataset", dataset),
        ),
        environment={
            "HOME": str(_home_with_extensions(home)),
            # Makes load and extract jobs use the local GCS for gs:// URIs.
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['gcs']}",
            "PYTHONPATH": os.environ["PYTHONPATH"],
        },
        # DuckDB spills to `.tmp` in the working folder.
        folder=home.bigquery,
        url=url,
        answers=lambda: probes.bigquery_answers(url, patience=probes.START_PATIENCE),
    )


def _home_with_extensions(home: Home) -> Path:
    """Return a home folder with the DuckDB extensions; without them, DuckDB tries to download them for two minutes."""
    servers_home = home.stack / "bigquery-home"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    system = {"darwin": "osx"}.get(sys.platform, sys.platform)
    for name in _EXTENSIONS:
        (source,) = site_package(f"duckdb_extension_{name}").glob("extensions/*/*.duckdb_extension")
        # Link instead of copying 150 MB, and relink at each start, because `make setup` may have moved the files.
        link = servers_home / ".duckdb" / "extensions" / source.parent.name / f"{system}_{machine}" / source.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    return servers_home
