"""Whatever is killed, at any moment, there is one complete stack afterwards, with the data it held."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import psycopg
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage

from txn_assets.environment import project_root
from txn_assets.local.endpoints import Endpoints, Seed
from txn_assets.local.home import Home
from txn_assets.local.stack import down, ensure_up, status

STARTER = """
import json, pathlib, sys
from txn_assets.local.home import Home
from txn_assets.local.endpoints import Seed
from txn_assets.local.stack import ensure_up
seed = json.loads(sys.argv[2])
ensure_up(pathlib.Path(sys.argv[1]), Seed(**seed | {"data": pathlib.Path(seed["data"])}))
"""


def start(home: Path, seed: Seed) -> "subprocess.Popen[bytes]":
    """Start a process that needs the stack."""
    arguments = [str(home), json.dumps(asdict(seed), default=str)]
    return subprocess.Popen([sys.executable, "-c", STARTER, *arguments], cwd=project_root())


def servers_of(home: Path) -> dict[str, list[psutil.Process]]:
    """Return the servers below `home` by name, without asking the stack; for PostgreSQL, its first process."""
    signs = {
        "local.bigquery_server": "bigquery",
        "fake-gcs": "fake-gcs-server",
        "gcs_shim": "gcs",
        "local.issuer": "issuer",
        " -D ": "postgres",
    }
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(home):
                command = " ".join(process.cmdline())
                name = next((name for sign, name in signs.items() if sign in command), "other")
                found.setdefault(name, []).append(process)
    return found


def counts(home: Path) -> dict[str, int]:
    """Return how many of each server run."""
    return {name: len(found) for name, found in servers_of(home).items() if name != "other"}


ONE_OF_EACH = {"bigquery": 1, "fake-gcs-server": 1, "gcs": 1, "issuer": 1, "postgres": 1}


class Clients:
    """Clients of a stack's three stores, each store with one row."""

    def __init__(self, endpoints: Endpoints, seed: Seed) -> None:
        settings: dict[str, Any] = {
            "project": seed.project_id,
            "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call] # google-auth is untyped here
        }
        gcs = storage.Client(**settings, client_options={"api_endpoint": endpoints.gcs_url})
        self.blob = gcs.bucket(seed.bucket).blob("kept")
        self.bigquery = bigquery.Client(**settings, client_options={"api_endpoint": endpoints.bigquery_url})
        self.table = f"{seed.dataset}.kept"
        self.dsn = endpoints.postgres_dsn

    def fill(self) -> None:
        self.blob.upload_from_string(b"kept")
        self.bigquery.query_and_wait(f"CREATE TABLE {self.table} AS SELECT 'kept' AS mark")
        with psycopg.connect(self.dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'kept' AS mark")

    def assert_kept(self) -> None:
        assert self.blob.download_as_bytes() == b"kept"
        assert [row.mark for row in self.bigquery.query_and_wait(f"SELECT mark FROM {self.table}")] == ["kept"]
        with psycopg.connect(self.dsn) as connection:
            assert connection.execute("SELECT mark FROM kept").fetchall() == [("kept",)]


def test_nothing_is_lost_or_started_twice(home: Path, seed: Seed) -> None:
    """Kills lose no data and leave no second server.

    The test kills all servers, then the supervisor while PostgreSQL hangs, then a process that starts the stack. After
    each kill there is one server of each kind on the data, and the data is complete. Finally the state files are
    deleted, and `down` still finds the servers.
    """
    Clients(ensure_up(home, seed), seed).fill()
    servers = servers_of(home)
    for name in ("postgres", "bigquery", "fake-gcs-server"):
        servers[name][0].kill()
    # The rest exits with them.
    _, alive = psutil.wait_procs([process for found in servers.values() for process in found], timeout=20)
    assert alive == []
    Clients(ensure_up(home, seed), seed).assert_kept()
    assert counts(home) == ONE_OF_EACH

    (postgres,) = servers_of(home)["postgres"]
    # PostgreSQL cannot follow its supervisor until it is resumed, so a second one on its data would show.
    postgres.suspend()
    postgres.parent().kill()  # type: ignore[union-attr] # its supervisor
    with start(home, seed) as starter:
        time.sleep(1.5)
        assert counts(home)["postgres"] == 1
        postgres.send_signal(signal.SIGCONT)
        assert starter.wait(timeout=90) == 0
    Clients(ensure_up(home, seed), seed).assert_kept()
    assert counts(home) == ONE_OF_EACH

    down(home)
    assert counts(home) == {}
    with start(home, seed) as starter:
        end = time.monotonic() + 30
        while not counts(home):
            assert time.monotonic() < end
            time.sleep(0.01)
        starter.kill()
    Clients(ensure_up(home, seed), seed).assert_kept()
    assert counts(home) == ONE_OF_EACH

    Home(home).state.unlink()
    Home(home).processes.unlink()
    assert down(home)
    assert counts(home) == {}


def test_simultaneous_first_starts_are_separate_stacks(tmp_path: Path, seed: Seed) -> None:
    """Two first starts share no port, process or file, although both unpack and initialize at the same time."""
    homes = (tmp_path / "one", tmp_path / "two")
    try:
        starters = [start(home, seed) for home in homes]
        assert [starter.wait(timeout=120) for starter in starters] == [0, 0]
        urls = [server.url for home in homes for server in status(home)]
        assert len(set(urls)) == len(urls) == 2 * len(ONE_OF_EACH)
        assert [counts(home) for home in homes] == [ONE_OF_EACH, ONE_OF_EACH]
    finally:
        for home in homes:
            down(home)
