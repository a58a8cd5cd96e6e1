"""The executor: run the steps of a run in one process, loading the three stores in parallel threads.

It decides when and on which thread a step runs; Dagster executes the step. Dagster's in-process executor runs one step
at a time, so that each store waits for the one before it. Its multiprocess executor starts a process per step, which
takes longer than loading a small file. See docs/architecture.md.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING

import dagster as dg

# The executor API is public, but its building blocks are not. These are the parts of Dagster's in-process executor. The
# Dagster version is pinned, and txn_assets_tests/integration/test_executor.py fails if a new version lacks them.
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.compute_logs import create_compute_log_file_key
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import _trigger_hook, dagster_event_sequence_for_step
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.retries import RetryMode
from dagster._utils.interrupts import raise_interrupts_as

from txn_assets.defs.events import LOGGER
from txn_assets.defs.run_liveness import RunLocks
from txn_assets.defs.slots import SlotWait

if TYPE_CHECKING:
    from dagster._core.execution.context.system import (
        PlanExecutionContext,
        PlanOrchestrationContext,
        StepExecutionContext,
    )
    from dagster._core.execution.plan.active import ActiveExecution
    from dagster._core.execution.plan.plan import ExecutionPlan

ASK_SECONDS = 0.2
"""Seconds between checks of a step that is waiting for a pool slot or a retry."""


class ThreadedExecutor(dg.Executor):
    """Execute the steps of a run in this process; steps with a pool run in threads."""

    @property
    def retries(self) -> RetryMode:
        """Allow steps to retry."""
        return RetryMode.ENABLED

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        """Yield the events of the run as they happen."""
        if locks := RunLocks.of(plan_context.instance):
            locks.hold(plan_context.run_id)
            locks.report_dead(plan_context.instance)
        return iter(
            ExecuteRunWithPlanIterable(
                execution_plan=execution_plan,
                iterator=_run_threaded,
                execution_context_manager=PlanExecutionContextManager(
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


def _run_threaded(job_context: "PlanExecutionContext", execution_plan: "ExecutionPlan") -> Iterator[dg.DagsterEvent]:
    with ExitStack() as stack:
        logs = stack.enter_context(ExitStack())
        # Failing to capture the output must not fail the run; log it and go on.
        try:
            yield _capture(job_context, execution_plan, logs)
        except Exception:
            job_context.log.exception("What this run prints cannot be kept.")
        pools = stack.enter_context(InstanceConcurrencyContext(job_context.instance, job_context.dagster_run))
        active = stack.enter_context(
            execution_plan.start(retry_mode=job_context.retry_mode, instance_concurrency_context=pools)
        )
        # Exits first: a canceled run waits for the stores it is loading.
        threads = stack.enter_context(ThreadPoolExecutor())
        yield from _Steps(job_context, active, threads, pools)
        try:
            logs.close()
        except Exception:
            job_context.log.exception("What this run printed could not be kept.")


def _capture(context: "PlanExecutionContext", plan: "ExecutionPlan", logs: ExitStack) -> dg.DagsterEvent:
    """Capture the output of the process until `logs` is closed; return the event that says where it is kept."""
    manager = context.instance.compute_log_manager
    log_key = manager.build_log_key_for_run(context.run_id, create_compute_log_file_key())  # type: ignore[no-untyped-call]  # untyped in Dagster
    captured = logs.enter_context(manager.capture_logs(log_key))
    event: dg.DagsterEvent = dg.DagsterEvent.capture_logs(context, plan.step_keys_to_execute, log_key, captured)
    return event


class _Steps:
    """Iterator over the events of all steps of a run; a step in a thread yields its events when it ends."""

    def __init__(
        self,
        context: "PlanExecutionContext",
        active: "ActiveExecution",
        threads: ThreadPoolExecutor,
        pools: InstanceConcurrencyContext,
    ) -> None:
        self._context = context
        self._active = active
        self._threads = threads
        self._pools = pools
        self._slots = SlotWait(context.instance, context.run_id, self._say)
        self._running: dict[Future[list[dg.DagsterEvent]], StepExecutionContext] = {}

    def __iter__(self) -> Iterator[dg.DagsterEvent]:
        while not self._active.is_complete:
            known = self._active.get_known_state()
            ready = [self._context.for_step(step, known) for step in self._active.get_steps_to_execute()]
            yield from self._active.concurrency_event_iterator(self._context)
            for step in ready:
                if step.step.pool:
                    self._running[self._threads.submit(list, dagster_event_sequence_for_step(step))] = step
            for step in ready:
                if not step.step.pool:
                    # On the main thread, because an interrupt ends it at once there.
                    yield from self._handled(step, dagster_event_sequence_for_step(step))
            if not ready:
                self._look_at_slots()
                for thread in self._ended():
                    yield from self._handled(self._running.pop(thread), thread.result())

    def _look_at_slots(self) -> None:
        plan = self._context.execution_plan
        pools = {plan.get_step_by_key(key).pool for key in self._pools.pending_claim_steps()}
        if self._slots.look({pool for pool in pools if pool}):
            # Dagster would ask again after up to 15 seconds, but slots are free now.
            self._pools._pending_timeouts.clear()  # noqa: SLF001 - no public way to announce free slots

    def _say(self, sentence: str) -> None:
        """Log `sentence` to the UI and to the listeners of this process."""
        self._context.log.info(sentence)
        LOGGER.info(sentence)

    def _ended(self) -> Collection[Future[list[dg.DagsterEvent]]]:
        """Return the threads that have ended; none if it is time to check again which steps are ready."""
        with raise_interrupts_as(dg.DagsterExecutionInterruptedError):
            if self._running:
                return wait(self._running, timeout=ASK_SECONDS, return_when=FIRST_COMPLETED).done
            time.sleep(ASK_SECONDS)
        return ()

    def _handled(self, step: "StepExecutionContext", events: Iterable[dg.DagsterEvent]) -> Iterator[dg.DagsterEvent]:
        seen = []
        for event in events:
            seen.append(event)
            yield event
            self._active.handle_event(event)
        self._active.verify_complete(self._context, step.step.key)
        # Emit events for the steps that are skipped because a step they need failed.
        yield from self._active.plan_events_iterator(self._context)
        yield from _trigger_hook(step, seen)
        _drop_frames(step.step_exception)


def _drop_frames(error: BaseException | None) -> None:
    """Drop the traceback frames of a failed step; its event has their text.

    Dagster keeps the context of a step, and with it the error, until the process exits. The frames would keep their
    objects alive past the end of the interpreter, and DuckDB complains about that with a page of text.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
