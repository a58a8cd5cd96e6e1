"""A killed, interrupted or stopped `make run`: the next one ends normally, and no other waits for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest

from txn_assets.defs.dagster_home import prepare
from txn_assets.defs.run_liveness import DIED, RunLocks
from txn_assets.files.arrival import KEY_TAG
from txn_assets_tests.deployment import Deployment, make_file, make_row, many_rows

SECONDS = 90.0
"""Timeout of a run, which takes ten seconds on a busy machine; a run that exceeds it counts as hung."""


@pytest.fixture
def instance(deployment: Deployment, stack_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """Return the local instance, as `make run` opens it."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with dg.DagsterInstance.from_config(str(prepare(stack_home, deployment.endpoints))) as opened:
        locks = RunLocks.of(opened)
        assert locks
        # Report the dead runs of other tests first.
        locks.report_dead(opened)
        yield opened


@contextmanager
def _make_run(file: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start `make run` in its own process group and kill it at the end."""
    command = [sys.executable, "-m", "txn_assets.run", str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            _kill(process)


def _kill(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def _slow_store(deployment: Deployment) -> Iterator[None]:
    """Keep PostgreSQL from finishing any load of the deployment's table inside the block."""
    with deployment.pg.transaction():
        deployment.pg.execute(f"LOCK TABLE {deployment.pg_table} IN ACCESS EXCLUSIVE MODE")
        yield


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "hung"
        time.sleep(0.1)


def _waits_for_postgres(deployment: Deployment) -> bool:
    """Return whether a load waits for the lock of `_slow_store`."""
    locks = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
    row = deployment.pg.execute(locks, [deployment.pg_table]).fetchone()
    return bool(row and row[0])


def _write(folder: Path, name: str, *rows: str) -> Path:
    file = folder / name
    file.write_bytes(make_file(*(rows or [make_row()])))
    return file


def _interrupt(process: "subprocess.Popen[str]") -> None:
    """Send SIGINT to every process of `make run`, as Ctrl-C in a terminal does."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("second", ["first.csv", "second.csv"])
def test_run_after_a_killed_run(
    deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path, second: str
) -> None:
    """A run that was killed while a store loaded blocks nothing: it shows as failed, and the next run ends normally."""
    deployment.load("table.csv", make_row())
    with _slow_store(deployment), _make_run(_write(tmp_path, "first.csv")) as killed:
        _wait_until(lambda: _waits_for_postgres(deployment))
        _kill(killed)
        (dead,) = (run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))

    with _make_run(_write(tmp_path, second)) as again:
        out, _ = again.communicate(timeout=SECONDS)

    assert again.returncode == 0, out
    assert len(deployment.rows_everywhere(second)) == 1
    record = instance.get_run_by_id(dead)
    assert record
    assert record.status is dg.DagsterRunStatus.FAILURE
    assert DIED in [entry.message for entry in instance.all_logs(dead, of_type=dg.DagsterEventType.RUN_FAILURE)]


def test_stopped_run_keeps_no_other_waiting(deployment: Deployment, tmp_path: Path) -> None:
    """A run that hangs in the middle of a load holds nothing that a load of another file needs."""
    deployment.load("table.csv", make_row())
    with _make_run(_write(tmp_path, "first.csv")) as stopped:
        with _slow_store(deployment):
            _wait_until(lambda: _waits_for_postgres(deployment))
            os.killpg(stopped.pid, signal.SIGSTOP)
        with _make_run(_write(tmp_path, "second.csv")) as second:
            out, _ = second.communicate(timeout=SECONDS)

    assert second.returncode == 0, out
    assert len(deployment.rows_everywhere("second.csv")) == 1


@pytest.mark.parametrize("stage", ["validated_transactions", "postgres_transactions"])
def test_interrupted_run(deployment: Deployment, instance: dg.DagsterInstance, tmp_path: Path, stage: str) -> None:
    """Ctrl-C ends a run with one word instead of a traceback; the run does not stay active, and the next one loads."""
    deployment.load("table.csv", make_row())
    rows = many_rows(20_000)
    file = _write(tmp_path, "interrupted.csv", *rows)
    with _make_run(file) as interrupted:
        if stage == "validated_transactions":
            assert interrupted.stdout
            assert next(line for line in interrupted.stdout if " raw_csv " in line)
            _interrupt(interrupted)
        else:
            with _slow_store(deployment):
                _wait_until(lambda: _waits_for_postgres(deployment))
                _interrupt(interrupted)
        out, error = interrupted.communicate(timeout=SECONDS)

    assert (interrupted.returncode, error) == (130, "Interrupted.\n"), out
    runs = instance.get_runs(dg.RunsFilter(tags={KEY_TAG: "interrupted.csv"}))
    assert [run.status for run in runs if not run.is_finished] == []
    with _make_run(file) as again:
        out, _ = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, out
    assert len(deployment.rows_everywhere("interrupted.csv")) == len(rows)
