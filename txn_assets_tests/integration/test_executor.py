"""When the steps of a run are executed: the executor of every run, on small jobs and with the three stores.

If Dagster changes a private part that the executor uses, `test_private_names` names it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from txn_assets.defs import dagster_internals
from txn_assets.defs.executor import IN_THREAD, in_process_executor, threaded_executor
from txn_assets.defs.run_liveness import FOLDER, RunLocks
from txn_assets.environment import project_root
from txn_assets.files.arrival import KEY_TAG
from txn_assets.job import define_job, execute
from txn_assets_tests.deployment import SINKS, Deployment, make_file, many_rows

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
STORES = ("gcs", "bigquery", "postgres")

together = threading.Barrier(len(STORES))
at_work = threading.Event()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return a persistent instance in which each pool has one slot."""
    pools = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}
    with dg.instance_for_test(overrides=pools) as made:
        yield made


def _run(define: Callable[[], dg.JobDefinition], instance: dg.DagsterInstance) -> dg.JobExecutionResult:
    return dg.execute_job(dg.reconstructable(define), instance, run_config=QUIET)


def _steps(result: dg.JobExecutionResult, kind: str) -> set[str]:
    return {str(event.step_key) for event in result.all_events if event.event_type_value == kind}


def meeting() -> dg.JobDefinition:
    """Return a job of three steps that wait for each other, and one step that needs them all."""

    def wait(store: str) -> dg.OpDefinition:
        @dg.op(name=store, tags=IN_THREAD)
        def meet() -> int:
            return together.wait(timeout=20)

        return meet

    @dg.op
    def count(places: list[int]) -> int:
        return len(set(places))

    @dg.job(executor_def=threaded_executor)
    def meets() -> None:
        count([wait(store)() for store in STORES])

    return meets


def test_stores_are_loaded_at_the_same_time(instance: dg.DagsterInstance) -> None:
    """Steps in threads run at once, and the step that needs them runs after them."""
    with _run(meeting, instance) as result:
        assert result.success
        assert result.output_for_node("count") == len(STORES)


def one_pool() -> dg.JobDefinition:
    """Return a job of two steps of one pool that fail if they overlap."""

    @dg.op(tags=IN_THREAD, pool="own")
    def hold() -> None:
        assert not at_work.is_set()
        at_work.set()
        time.sleep(0.5)
        at_work.clear()

    @dg.job(executor_def=threaded_executor)
    def holds() -> None:
        hold.alias("first")()
        hold.alias("second")()

    return holds


def test_steps_of_one_pool_take_turns(instance: dg.DagsterInstance) -> None:
    """A pool of somebody's own steps is respected within a run too, and waiting for its slot uses no CPU."""
    started, before = time.monotonic(), time.process_time()

    result = _run(one_pool, instance)

    assert result.success
    # Dagster asks for the slot again after a second or more; without a pause all of that would be CPU time.
    assert time.process_time() - before < 0.8 * (time.monotonic() - started)


def one_fails() -> dg.JobDefinition:
    """Return a job of two concurrent steps, one of which fails; each has a downstream step."""

    @dg.op(tags=IN_THREAD)
    def fail() -> int:
        raise dg.Failure("The store is gone.")

    @dg.op(tags=IN_THREAD)
    def succeed() -> int:
        time.sleep(0.3)
        return 1

    @dg.op
    def after(value: int) -> int:
        return value

    @dg.job(executor_def=threaded_executor)
    def fails() -> None:
        after.alias("after_fail")(fail())
        after.alias("after_succeed")(succeed())

    return fails


def test_failure_of_one_step_leaves_the_others(instance: dg.DagsterInstance) -> None:
    """If one step fails, its downstream steps are skipped, everything else runs, and the run fails."""
    result = _run(one_fails, instance)

    assert not result.success
    assert _steps(result, "STEP_FAILURE") == {"fail"}
    assert _steps(result, "STEP_SUCCESS") == {"succeed", "after_succeed"}
    assert "after_fail" not in _steps(result, "STEP_START")


def retried() -> dg.JobDefinition:
    """Return a job with a step that fails at its first attempt."""

    @dg.op(tags=IN_THREAD, retry_policy=dg.RetryPolicy(max_retries=1))
    def try_twice(context: dg.OpExecutionContext) -> int:
        if not context.retry_number:
            raise RuntimeError
        return context.retry_number

    @dg.job(executor_def=threaded_executor)
    def tries() -> None:
        try_twice()

    return tries


def test_retries(instance: dg.DagsterInstance) -> None:
    """A step with a retry policy is retried."""
    with _run(retried, instance) as result:
        assert result.output_for_node("try_twice") == 1


def hooked() -> dg.JobDefinition:
    """Return a job with a hook on a step, as teams use to get notified of a failure."""

    @dg.failure_hook
    def tell(context: dg.HookContext) -> None:
        context.log.info(f"told of {context.step_key}")

    @dg.op(tags=IN_THREAD)
    def fail() -> None:
        raise dg.Failure("The store is gone.")

    @dg.job(executor_def=threaded_executor, hooks={tell})
    def tells() -> None:
        fail()

    return tells


def test_hooks(instance: dg.DagsterInstance) -> None:
    """A hook runs for the step that it waits for."""
    result = _run(hooked, instance)

    assert _steps(result, "HOOK_COMPLETED") == {"fail"}


def printing() -> dg.JobDefinition:
    """Return a job with a step that prints."""

    @dg.op(tags=IN_THREAD)
    def speak() -> None:
        sys.stdout.write("salaam\n")

    @dg.job(executor_def=threaded_executor)
    def speaks() -> None:
        speak()

    return speaks


def test_output_is_kept(instance: dg.DagsterInstance) -> None:
    """What a step prints is in the output of the run."""
    result = _run(printing, instance)

    (captured,) = (event for event in result.all_events if event.event_type_value == "LOGS_CAPTURED")
    logs = instance.compute_log_manager
    data = logs.get_log_data(logs.build_log_key_for_run(result.run_id, captured.logs_captured_data.file_key))
    assert b"salaam" in (data.stdout or b"")


@pytest.mark.parametrize("fails_at", ["start", "end"])
def test_output_that_cannot_be_kept(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    """Steps run even if the storage for their output is unreachable."""

    @contextmanager
    def capture(_log_key: object) -> Iterator[None]:
        if fails_at == "end":
            yield None
        raise OSError

    monkeypatch.setattr(instance.compute_log_manager, "capture_logs", capture)

    result = _run(printing, instance)

    assert result.success
    assert _steps(result, "STEP_SUCCESS") == {"speak"}


def interrupted() -> dg.JobDefinition:
    """Return a job with a step during which the run is canceled, and a step after it."""

    @dg.op(tags=IN_THREAD)
    def cancel(context: dg.OpExecutionContext) -> int:
        # As the UI does, followed by the run launcher.
        context.instance.report_run_canceling(context.run)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        return 1

    @dg.op
    def after(value: int) -> None:
        pass

    @dg.job(executor_def=threaded_executor)
    def interrupts() -> None:
        after(cancel())

    return interrupts


def test_canceled_run_finishes_the_store(instance: dg.DagsterInstance) -> None:
    """A canceled run starts nothing new and ends once the store that is being loaded is done."""
    result = _run(interrupted, instance)

    assert not result.success
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    assert [event.step_key for event in events if event.is_step_success] == ["cancel"]
    assert not [event for event in events if event.step_key == "after"]


def test_stores_fetch_the_staged_rows_together(deployment: Deployment) -> None:
    """Three concurrent sinks, in a run that did not stage the file itself, load the rows that an earlier run staged."""
    deployment.land("a.csv", make_file(*many_rows(1000)))
    deployment.materialize("a.csv", select="*hashed_transactions")

    result = execute(
        deployment.config,
        deployment.instance,
        tags={KEY_TAG: "a.csv"},
        asset_selection=[dg.AssetKey(name) for name in SINKS],
    )

    assert result.success
    assert len(deployment.rows_everywhere("a.csv")) == 1000


@pytest.mark.parametrize("name", dagster_internals.USED)
def test_private_names(name: str) -> None:
    """The installed Dagster has each private name, as the executor uses it."""
    assert dagster_internals.problem(name) is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("step", "cannot be called with (step): missing a required argument: 'step_event_list'"),
        ("step events log=", "cannot be called with (step, events, log=): got an unexpected keyword argument 'log'"),
    ],
)
def test_changed_signature(monkeypatch: pytest.MonkeyPatch, call: str, says: str) -> None:
    """A private function that takes other arguments than the executor passes is a problem too."""
    name = "dagster._core.execution.plan.execute_plan:_trigger_hook"
    monkeypatch.setattr(dagster_internals, "USED", {name: call})

    assert dagster_internals.problems() == (f"{name} {says}",)


def locked() -> dg.JobDefinition:
    """Return a job with a step that returns whether its run holds its lock."""

    @dg.op
    def look(context: dg.OpExecutionContext) -> bool:
        locks = RunLocks.of(context.instance)
        assert locks
        return locks.exists(context.run_id) and context.run_id not in locks.released()

    @dg.job(executor_def=in_process_executor)
    def looks() -> None:
        look()

    return looks


def test_lock_of_a_run_in_process(instance: dg.DagsterInstance) -> None:
    """A run that loads one store after the other also holds its lock, so that no one reports it as dead."""
    (Path(instance.root_directory) / FOLDER).mkdir()

    with _run(locked, instance) as result:
        assert result.output_for_node("look") is True


def test_load_in_process(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """TXN_EXECUTOR=in_process loads a file into the three stores, in Dagster's own in-process executor.

    The run defines its job once, however often Dagster asks for it.
    """
    monkeypatch.setenv("TXN_EXECUTOR", "in_process")

    result = deployment.load("a.csv", *many_rows(3))

    assert [event for event in result.all_events if "Executing steps in process" in (event.message or "")]
    assert len(deployment.rows_everywhere("a.csv")) == 3
    assert define_job.cache_info().misses == 1


WITHOUT_A_NAME = """
import sys
from dagster._core.execution import compute_logs
del compute_logs.create_compute_log_file_key  # what needs it in Dagster has imported it
from txn_assets.cli import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


def test_load_without_a_private_name(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If Dagster lacks a private name, a file is loaded all the same, and one warning says what is missing."""
    (tmp_path / "dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(*many_rows(3)))

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_NAME, str(file)],
        cwd=project_root(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stderr.splitlines() if "threaded executor" in line]
    assert "dagster._core.execution.compute_logs:create_compute_log_file_key is missing" in warning
    assert "TXN_EXECUTOR=in_process" in warning
    assert len(deployment.rows_everywhere("a.csv")) == 3
