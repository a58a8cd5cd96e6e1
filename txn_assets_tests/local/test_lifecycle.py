"""Starting once, surviving the starter, stopping, coming back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg

from txn_assets.local.endpoints import Seed
from txn_assets.local.home import Home, read_json
from txn_assets.local.stack import down, ensure_up, status
from txn_assets_tests.local.conftest import RunCli, Stack, processes_of


def test_many_starters_start_one_stack(home: Path) -> None:
    """Processes that need the stack at the same instant all get the same servers."""
    starters = [
        subprocess.Popen(
            [sys.executable, "-m", "txn_assets.local", "up"],
            env=os.environ | {"TXN_HOME": str(home)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [starter.communicate(timeout=120)[0] for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 4
    assert outputs[0].count(" up ") == 5
    assert set(outputs) == {outputs[0]}


def test_up_in_a_pipeline_returns_and_leaves_the_servers_running(home: Path, seed: Seed) -> None:
    """No server holds the pipe of the command that started it, and none dies with its session."""
    done = subprocess.run(  # noqa: S602 - the pipeline is what is tested
        [f"'{sys.executable}' -m txn_assets.local up | cat"],
        shell=True,
        env=os.environ | {"TXN_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=True,
    )
    assert done.stdout.count(" up ") == 5
    before = processes_of(home)
    ensure_up(home, seed)
    assert processes_of(home) == before


def test_down_stops_all_servers_and_keeps_their_data(home: Path, seed: Seed) -> None:
    """After `down` no process of the stack is left; after the next start its data and ports are the same."""
    endpoints = ensure_up(home, seed)
    with psycopg.connect(endpoints.postgres_dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    processes = processes_of(home)
    assert down(home)
    assert not [process for process in processes if process.is_running() and process.status() != "zombie"]
    assert status(home) == []
    assert not down(home)

    assert ensure_up(home, seed) == endpoints
    with psycopg.connect(endpoints.postgres_dsn) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_killed_supervisor_takes_the_stack_down_until_it_is_needed(home: Path, seed: Seed) -> None:
    """Killing the supervisor leaves nothing behind, and `ensure_up` starts the stack again on the same ports."""
    endpoints = ensure_up(home, seed)
    processes = processes_of(home)
    os.kill(processes[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not [process for process in alive if process.status() != "zombie"]

    assert ensure_up(home, seed) == endpoints


def test_check_of_a_running_stack_is_cheap(stack: Stack) -> None:
    """Checking a running stack takes milliseconds, because every entry point calls `ensure_up`."""
    durations = []
    for _ in range(10):
        begin = time.perf_counter()
        assert ensure_up(stack.home, stack.seed) == stack.endpoints
        durations.append(time.perf_counter() - begin)
    assert min(durations) < 0.05


def test_recycled_pid_is_not_killed(home: Path) -> None:
    """A process that got the pid of a former server is left alone."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        place = Home(home)
        place.stack.mkdir(parents=True)
        place.processes.write_text(f'{{"processes": [{{"pid": {stranger.pid}, "started": 1}}]}}')
        assert not down(home)
        assert stranger.poll() is None
        stranger.kill()


def test_stack_ends_when_its_home_is_deleted(home: Path, seed: Seed) -> None:
    """The stack ends when its home is deleted, because nobody could stop it after that."""
    ensure_up(home, seed)
    processes = processes_of(home)
    home.rename(home.with_name("deleted"))
    Home(home.with_name("deleted")).supervisor_lock.unlink()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not [process for process in alive if process.status() != "zombie"]


def test_seed_of_another_configuration_is_provided_without_a_restart(
    stack: Stack, another_seed: Seed, cli: RunCli
) -> None:
    """Another bucket or database name is created on the running stack, and the servers stay."""
    before = processes_of(stack.home)
    endpoints = ensure_up(stack.home, another_seed)
    assert endpoints == stack.endpoints
    assert processes_of(stack.home) == before
    assert another_seed.fingerprint() in (read_json(Home(stack.home).state) or {})["seeds"]
    assert cli("status", home=stack.home).returncode == 0
