"""Each way in which the stack fails to start, and the message: one sentence, exit code 1, no traceback."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from txn_assets.environment import project_root
from txn_assets.local.endpoints import Seed
from txn_assets.local.home import Home, write_json
from txn_assets.local.postgres import _become_nobody
from txn_assets.local.stack import LocalStackError, down, ensure_up
from txn_assets_tests.local.conftest import RunCli


def test_missing_servers_are_reported_with_the_command_that_installs_them(cli: RunCli, tmp_path: Path) -> None:
    """A clone without `.venv-servers` says `make setup`."""
    shutil.copytree(project_root() / "txn_assets", tmp_path / "txn_assets")
    config = project_root() / "data" / "pipeline_config.yaml"
    result = cli("up", home=tmp_path / "home", folder=tmp_path, TXN_CONFIG=str(config))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "run `make setup`" in result.stderr


@pytest.mark.parametrize("command", ["up", "env"])
def test_home_that_cannot_be_created_is_named(cli: RunCli, tmp_path: Path, command: str) -> None:
    """A TXN_HOME below a file says what cannot be used and which variable to set."""
    (tmp_path / "file").touch()
    result = cli(command, home=tmp_path / "file" / "home")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert str(tmp_path / "file") in result.stderr
    assert "TXN_HOME" in result.stderr


def test_status_without_a_stack_says_so(cli: RunCli, tmp_path: Path) -> None:
    """`status` of a home without a stack fails, says how to start it, and creates nothing."""
    result = cli("status", home=tmp_path / "home")
    assert result.returncode == 1
    assert "Start them with `txn up`" in result.stderr
    assert not (tmp_path / "home").exists()


def test_server_with_damaged_data_is_named_with_the_end_of_its_log(home: Path, seed: Seed) -> None:
    """The message names the server, what to do, and what the server itself said; nothing is left running."""
    ensure_up(home, seed)
    down(home)
    (Home(home).postgres / "data" / "global" / "pg_control").write_bytes(b"")
    with pytest.raises(LocalStackError) as failure:
        ensure_up(home, seed)
    sentence, _, log = str(failure.value).partition("\n")
    assert sentence.startswith("postgres cannot be started")
    assert str(Home(home).postgres) in sentence
    assert "pg_control" in log
    assert not down(home)


def test_port_taken_before_its_server_binds_it_is_replaced(home: Path, seed: Seed) -> None:
    """The start is retried on other ports if a port was taken."""
    place = Home(home)
    place.stack.mkdir(parents=True)
    stolen = 29_871
    write_json(place.ports, {"postgres": stolen})
    with socket.socket() as thief:

        def steal() -> None:
            # initdb runs between the choice of the ports and the start of PostgreSQL.
            while not place.log("initdb").exists():
                time.sleep(0.005)
            thief.bind(("127.0.0.1", stolen))
            thief.listen()

        thread = threading.Thread(target=steal, daemon=True)
        thread.start()
        endpoints = ensure_up(home, seed)
        thread.join(timeout=5)
    assert endpoints.postgres_port != stolen
    with psycopg.connect(endpoints.postgres_dsn) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_root_starts_postgres_below_a_closed_folder(tmp_path: Path, seed: Seed) -> None:
    """PostgreSQL runs for root although it refuses root, and no mode above the stack changes."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    home = private / "clone" / "home"
    home.mkdir(parents=True, mode=0o755)
    before = [path.stat().st_mode for path in (private, home.parent, home)]
    try:
        endpoints = ensure_up(home, seed)
        with psycopg.connect(endpoints.postgres_dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert [path.stat().st_mode for path in (private, home.parent, home)] == before
    finally:
        down(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_root_starts_postgres_without_namespaces(tmp_path: Path) -> None:
    """Without namespaces, as in most containers, the child is `nobody` and passes through a closed folder."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    program = private / "program"
    program.touch(mode=0o700)
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(program, nobody, -1)
    # `test -x` calls access(2), as initdb does.
    command = ["sh", "-c", 'id -u; test -x "$0" && echo reached', str(program)]
    done = subprocess.run(command, preexec_fn=_become_nobody, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{nobody}\nreached\n", "")


def test_other_systems_than_linux_are_refused(tmp_path: Path, seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system other than Linux is refused up front, because a missing kernel feature would show as an odd error."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(LocalStackError, match="run on Linux, not on darwin"):
        ensure_up(tmp_path, seed)
