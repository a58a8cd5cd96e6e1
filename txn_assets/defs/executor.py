"""The executor: run the steps of a run in one process, loading the three stores in parallel threads.

The executor decides when and on which thread a step runs; Dagster executes the step. Dagster's in-process executor runs
one step at a time, so each store waits for the one before it. Dagster's multiprocess executor starts a process per
step, which takes longer than loading a small file. `dagster_internals.py` lists the private parts of Dagster that this
module needs. Without them, or with TXN_EXECUTOR=in_process, runs use Dagster's in-process executor. See
docs/architecture.md.
"""

import gc
import signal
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from txn_assets.defs import dagster_internals as internals
from txn_assets.defs.run_liveness import RunLocks
from txn_assets.environment import txn_executor

if TYPE_CHECKING:
    from txn_assets.defs.dagster_internals import (
        ActiveExecution,
        ExecutionPlan,
        PlanExecutionContext,
        PlanOrchestrationContext,
        RetryMode,
        StepExecutionContext,
    )

IN_THREAD = {"txn_assets/in_thread": "true"}
"""Tags of the steps that run in threads of their own: they load stores, so they mostly wait for servers."""

ASK_SECONDS = 0.2
"""Seconds between checks of a step that is waiting for a retry."""


def make_executor() -> dg.ExecutorDefinition:
    """Return the executor that TXN_EXECUTOR names, or `in_process` if `threads` cannot run on the installed Dagster.

    Raises:
        ConfigError: TXN_EXECUTOR does not name an executor.
    """
    if txn_executor() == "in_process":
        return in_process_executor
    if problems := internals.problems():
        _warn(problems)
        return in_process_executor
    return threaded_executor


@cache
def _warn(problems: tuple[str, ...]) -> None:
    """Log why runs do not use threads, once per process."""
    dg.get_dagster_logger().warning(
        f"The threaded executor does not work with Dagster {dg.__version__}: {'; '.join(problems)}. Runs load the "
        "three stores one after the other instead of in parallel. Install the version of Dagster that txn_assets "
        "requires, or a version of txn_assets for this one. To accept slower loads and silence this warning, set "
        "TXN_EXECUTOR=in_process."
    )


class ThreadedExecutor(dg.Executor):
    """Execute the steps of a run in this process; those with the tags `IN_THREAD` run in threads."""

    @property
    def retries(self) -> "RetryMode":
        """Allow steps to retry."""
        return internals.RetryMode.ENABLED

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        """Yield the events of the run as they happen."""
        _hold_lock(plan_context)
        freeze_imports()
        return iter(
            internals.ExecuteRunWithPlanIterable(
                execution_plan=execution_plan,
                iterator=_run_threaded,
                execution_context_manager=internals.PlanExecutionContextManager(
                    job=plan_context.job,
                    retry_mode=self.retries,
                    execution_plan=execution_plan,
                    run_config=plan_context.run_config,
                    dagster_run=plan_context.dagster_run,
                    instance=plan_context.instance,
                    raise_on_error=plan_context.raise_on_error,
                    output_capture=plan_context.output_capture,
                ),
            )
        )


@dg.executor(name="threaded_executor")
def threaded_executor(_: dg.InitExecutorContext) -> ThreadedExecutor:
    """Run all steps in one process and load the three stores in parallel."""
    return ThreadedExecutor()


class InProcessExecutor(dg.Executor):
    """Execute the steps of a run one after the other, with Dagster's in-process executor."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> "RetryMode":
        """Allow steps to retry."""
        return self._inner.retries

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        """Yield the events of the run as they happen."""
        _hold_lock(plan_context)
        freeze_imports()
        return self._inner.execute(plan_context, execution_plan)


@dg.executor(name="in_process")
def in_process_executor(context: dg.InitExecutorContext) -> InProcessExecutor:
    """Run all steps in one process, one after the other."""
    inner = dg.in_process_executor
    assert inner.executor_creation_fn is not None
    own = dg.InitExecutorContext(
        job=context.job,
        executor_def=inner,
        executor_config={"retries": {"enabled": {}}},
        instance=context.instance,
    )
    return InProcessExecutor(inner.executor_creation_fn(own))


def freeze_imports() -> None:
    """Keep the garbage collector from scanning what is imported on each pass and at exit: it stays until then anyway.

    `definitions.py` does so once everything is imported, and a run when it begins. A `dagster asset materialize` of
    five rows takes 5.0 s with this and 6.0 s without (median of three pairs, two cores). Do nothing once DuckDB is
    loaded: at exit it complains about objects that were not collected.
    """
    if "duckdb" not in sys.modules:
        gc.freeze()


def _hold_lock(plan_context: "PlanOrchestrationContext") -> None:
    """Hold the lock of a local run until this process exits, and report the runs whose process died."""
    if locks := RunLocks.of(plan_context.instance):
        locks.hold(plan_context.run_id)
        locks.report_dead(plan_context.instance)


def _run_threaded(job_context: "PlanExecutionContext", execution_plan: "ExecutionPlan") -> Iterator[dg.DagsterEvent]:
    with ExitStack() as stack:
        logs = stack.enter_context(ExitStack())
        # Failing to capture the output must not fail the run, so log the error and go on.
        try:
            yield _capture(job_context, execution_plan, logs)
        except Exception:
            job_context.log.exception("The output of this run cannot be captured.")
        # The platform has no pools, but definitions of your own may.
        pools = stack.enter_context(internals.InstanceConcurrencyContext(job_context.instance, job_context.dagster_run))
        active = stack.enter_context(
            execution_plan.start(retry_mode=job_context.retry_mode, instance_concurrency_context=pools)
        )
        # Enter the threads last, so that they exit first: a canceled run waits for the stores it is loading.
        threads = stack.enter_context(ThreadPoolExecutor())
        yield from _Steps(job_context, active, threads)
        try:
            logs.close()
        except Exception:
            job_context.log.exception("The output of this run could not be captured.")


def _capture(context: "PlanExecutionContext", plan: "ExecutionPlan", logs: ExitStack) -> dg.DagsterEvent:
    """Capture the output of the process until `logs` is closed; return the event that says where to find it."""
    manager = context.instance.compute_log_manager
    log_key = manager.build_log_key_for_run(context.run_id, internals.create_compute_log_file_key())  # type: ignore[no-untyped-call]  # untyped in Dagster
    with _interrupts_blocked():
        captured = logs.enter_context(manager.capture_logs(log_key))
    event: dg.DagsterEvent = dg.DagsterEvent.capture_logs(context, plan.step_keys_to_execute, log_key, captured)
    return event


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Delay SIGINT here, and block it permanently in processes started inside the `with` block.

    Ctrl-C reaches every foreground process. The processes that copy the output end with the run anyway, and would
    print a traceback if interrupted.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Steps:
    """Iterator over the events of all steps of a run. A step in a thread yields all its events when it ends."""

    def __init__(
        self,
        context: "PlanExecutionContext",
        active: "ActiveExecution",
        threads: ThreadPoolExecutor,
    ) -> None:
        self._context = context
        self._active = active
        self._threads = threads
        self._running: dict[Future[list[dg.DagsterEvent]], StepExecutionContext] = {}

    def __iter__(self) -> Iterator[dg.DagsterEvent]:
        while not self._active.is_complete:
            known = self._active.get_known_state()
            ready = [self._context.for_step(step, known) for step in self._active.get_steps_to_execute()]
            yield from self._active.concurrency_event_iterator(self._context)
            in_threads = [step for step in ready if IN_THREAD.items() <= step.step.tags.items()]
            for step in in_threads:
                self._running[self._threads.submit(list, internals.dagster_event_sequence_for_step(step))] = step
            for step in ready:
                if step not in in_threads:
                    # Run it on the main thread, where an interrupt ends it right away.
                    yield from self._handled(step, internals.dagster_event_sequence_for_step(step))
            if not ready:
                for thread in self._ended():
                    yield from self._handled(self._running.pop(thread), thread.result())

    def _ended(self) -> Collection[Future[list[dg.DagsterEvent]]]:
        """Return the threads that have ended. Wait at most ASK_SECONDS, so that the caller can look for ready steps."""
        with internals.raise_interrupts_as(dg.DagsterExecutionInterruptedError):
            if self._running:
                return wait(self._running, timeout=ASK_SECONDS, return_when=FIRST_COMPLETED).done
            time.sleep(ASK_SECONDS)
        return ()

    def _handled(self, step: "StepExecutionContext", events: Iterable[dg.DagsterEvent]) -> Iterator[dg.DagsterEvent]:
        seen = []
        try:
            for event in events:
                seen.append(event)
                yield event
                self._active.handle_event(event)
            self._active.verify_complete(self._context, step.step.key)
            # Emit events for the steps that are skipped because a step they need failed.
            yield from self._active.plan_events_iterator(self._context)
            yield from internals.trigger_hook(step, seen)
        finally:
            _drop_frames(step.step_exception)


def _drop_frames(error: BaseException | None) -> None:
    """Drop the traceback frames of a failed step; the event of the failure has the traceback as text.

    Dagster keeps the context of a step, and with it the error, until the process exits. The frames would keep their
    objects alive until the interpreter shuts down, and DuckDB then prints a page of errors.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
