"""local-bigquery: a BigQuery server on DuckDB.

Here belongs what it needs before it can start without a network and without touching anything outside TXN_HOME.
Runs in `.venv-servers`; standard library only. Documented in txn_assets/local/README.md.
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
"""DuckDB extensions that it loads. Without httpfs, load jobs from gs:// fail."""


def server(home: Home, ports: Mapping[str, int], project: str, dataset: str) -> Server:
    """Prepare local-bigquery's folders and describe how to start it."""
    # Bodies of finished uploads, which it never deletes.
    shutil.rmtree(home.bigquery / "uploads", ignore_errors=True)
    # What was cut off in mid-write of a query that spilled.
    shutil.rmtree(home.bigquery / ".tmp", ignore_errors=True)
    home.bigquery.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{ports['bigquery']}"
    return Server(
        name="bigquery",
        command=(
            str(Path(sys.executable).with_name("local-bigquery")),
            *("--host", "127.0.0.1", "--port", str(ports["bigquery"]), "--grpc-port", str(ports["bigquery-grpc"])),
            # Relative, since it puts the path into SQL unquoted: a home named o'brien would break it.
            *("--data-dir", ".", "--project", project, "--dataset", dataset),
        ),
        environment={
            "HOME": str(_home_with_extensions(home)),
            # Makes gs:// URIs of load and extract jobs go to our GCS.
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{ports['gcs']}",
        },
        # DuckDB spills to `.tmp` in the working folder.
        folder=home.bigquery,
        url=url,
        answers=lambda: probes.bigquery_answers(url, patience=probes.START_PATIENCE),
    )


def _home_with_extensions(home: Home) -> Path:
    """Put the extensions where DuckDB looks for them; it would spend two minutes on trying to download them."""
    servers_home = home.stack / "bigquery-home"
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    system = {"darwin": "osx"}.get(sys.platform, sys.platform)
    for name in _EXTENSIONS:
        (source,) = site_package(f"duckdb_extension_{name}").glob("extensions/*/*.duckdb_extension")
        # Links: together the files have 150 MB. Anew at each start, since a `make setup` may have moved them.
        link = servers_home / ".duckdb" / "extensions" / source.parent.name / f"{system}_{machine}" / source.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    return servers_home
