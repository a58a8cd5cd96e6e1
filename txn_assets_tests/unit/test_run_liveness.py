"""Which runs of a machine are alive, by the locks of their processes, and what a waiting run says."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from txn_assets.defs.run_launcher import LocalRunLauncher
from txn_assets.defs.run_liveness import DIED, FOLDER, UNSEEN_SECONDS, RunLocks, is_overdue

HOLD = "import sys; from pathlib import Path; from txn_assets.defs.run_liveness import RunLocks; "
HOLD += "RunLocks(Path(sys.argv[1])).hold(sys.argv[2]); print('held', flush=True); sys.stdin.read()"


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job
def idle() -> None:
    """A job whose runs these tests create by hand."""
    nothing()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Return an instance whose runs are processes of this machine, on SQLite."""
    (tmp_path / FOLDER).mkdir()
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def _locks(instance: dg.DagsterInstance) -> RunLocks:
    locks = RunLocks.of(instance)
    assert locks
    return locks


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def _process(locks: RunLocks, run_id: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(locks.folder), run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.FAILURE),
        (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED),
    ],
)
def test_killed_process(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, end: dg.DagsterRunStatus) -> None:
    """A run is left alone while its process lives, and reported once with the reason after a kill."""
    locks = _locks(instance)
    run_id = instance.create_run_for_job(idle, status=status).run_id
    with _process(locks, run_id) as process:
        locks.report_dead(instance)
        assert _status(instance, run_id) is status
        process.kill()
        process.wait()

    locks.report_dead(instance)
    locks.report_dead(instance)

    assert _status(instance, run_id) is end
    assert [entry.message for entry in instance.all_logs(run_id)] == [DIED]
    assert not locks.exists(run_id)


def test_left_over_lock(instance: dg.DagsterInstance) -> None:
    """The lock file of a run that had ended when its process was killed is ignored and removed."""
    locks = _locks(instance)
    run_id = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.SUCCESS).run_id
    with _process(locks, run_id) as process:
        process.kill()

    locks.report_dead(instance)

    assert _status(instance, run_id) is dg.DagsterRunStatus.SUCCESS
    assert not locks.exists(run_id)


def test_run_without_a_lock(instance: dg.DagsterInstance) -> None:
    """A new run may still take its lock; after a while it will not, unless a code server knows it."""
    run_id = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTING).run_id
    _locks(instance).report_dead(instance)
    assert _status(instance, run_id) is dg.DagsterRunStatus.STARTING

    (record,) = instance.get_run_records()
    late = record._replace(update_timestamp=record.update_timestamp - dt.timedelta(seconds=UNSEEN_SECONDS))

    assert not is_overdue(record, knows=lambda _: False)
    assert is_overdue(late, knows=lambda _: False)
    assert not is_overdue(late, knows=lambda known: known == run_id)


def test_health_check(tmp_path: Path) -> None:
    """Run monitoring learns of a dead process; a code server that is gone knows no run."""
    (tmp_path / FOLDER).mkdir()
    launcher = {"run_launcher": {"module": "txn_assets.defs.run_launcher", "class": "LocalRunLauncher"}}
    with dg.instance_for_test(overrides=launcher, temp_dir=str(tmp_path)) as instance:
        gone = json.dumps({"host": "localhost", "socket": str(tmp_path / "gone")})
        run = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED, tags={GRPC_INFO_TAG: gone})
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        with _process(_locks(instance), run.run_id) as process:
            assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
            assert not instance.run_launcher.is_known(run.run_id)
            process.kill()
            process.wait()

        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.FAILED
        assert _status(instance, run.run_id) is dg.DagsterRunStatus.FAILURE


def test_instance_of_another_kind() -> None:
    """If runs are not processes of this machine, locks say nothing about them."""
    with dg.instance_for_test() as instance:
        assert RunLocks.of(instance) is None
