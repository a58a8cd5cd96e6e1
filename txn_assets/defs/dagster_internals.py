"""Private Dagster names that the threaded executor needs. The executor's other modules import them from here.

Dagster lets us write an executor, but the parts that its own executors are built from are private. `USED` lists each
name and how it is called; `problems` compares the list with the installed Dagster. See docs/architecture.md.
"""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from pkgutil import resolve_name

# If a name is missing, `problems` reports it and the threaded executor is not used.
with suppress(ImportError):
    from dagster._core.execution.api import ExecuteRunWithPlanIterable
    from dagster._core.execution.compute_logs import create_compute_log_file_key
    from dagster._core.execution.context.system import (
        PlanExecutionContext,
        PlanOrchestrationContext,
        StepExecutionContext,
    )
    from dagster._core.execution.context_creation_job import PlanExecutionContextManager
    from dagster._core.execution.plan.active import ActiveExecution
    from dagster._core.execution.plan.execute_plan import _trigger_hook as trigger_hook
    from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
    from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._utils.interrupts import raise_interrupts_as

__all__ = [
    "ActiveExecution",
    "ExecuteRunWithPlanIterable",
    "ExecutionPlan",
    "InstanceConcurrencyContext",
    "PlanExecutionContext",
    "PlanExecutionContextManager",
    "PlanOrchestrationContext",
    "RetryMode",
    "StepExecutionContext",
    "create_compute_log_file_key",
    "dagster_event_sequence_for_step",
    "raise_interrupts_as",
    "trigger_hook",
]

_CONTEXT = "dagster._core.execution.context.system"
_ACTIVE = "dagster._core.execution.plan.active:ActiveExecution"
_PLAN = "dagster._core.execution.plan.plan:ExecutionPlan"
_POOLS = "dagster._core.execution.plan.instance_concurrency_context:InstanceConcurrencyContext"
_LOGS = "dagster._core.storage.compute_log_manager:ComputeLogManager"

USED: Mapping[str, str | None] = {
    "dagster._core.execution.api:ExecuteRunWithPlanIterable": "execution_plan= iterator= execution_context_manager=",
    "dagster._core.execution.compute_logs:create_compute_log_file_key": "",
    "dagster._core.execution.context_creation_job:PlanExecutionContextManager": (
        "job= retry_mode= execution_plan= run_config= dagster_run= instance= raise_on_error= output_capture="
    ),
    "dagster._core.execution.plan.execute_plan:_trigger_hook": "step events",
    "dagster._core.execution.plan.execute_plan:dagster_event_sequence_for_step": "step",
    "dagster._core.execution.plan.step:ExecutionStep.key": None,
    "dagster._core.execution.plan.step:ExecutionStep.tags": None,
    "dagster._core.execution.retries:RetryMode.ENABLED": None,
    "dagster._utils.interrupts:raise_interrupts_as": "error",
    "dagster:DagsterEvent.capture_logs": "context steps log_key captured",
    _POOLS: "instance run",
    f"{_POOLS}.__enter__": "self",
    f"{_PLAN}.start": "self retry_mode= instance_concurrency_context=",
    f"{_PLAN}.step_keys_to_execute": None,
    f"{_ACTIVE}.__enter__": "self",
    f"{_ACTIVE}.is_complete": None,
    f"{_ACTIVE}.get_known_state": "self",
    f"{_ACTIVE}.get_steps_to_execute": "self",
    f"{_ACTIVE}.concurrency_event_iterator": "self context",
    f"{_ACTIVE}.handle_event": "self event",
    f"{_ACTIVE}.verify_complete": "self context step_key",
    f"{_ACTIVE}.plan_events_iterator": "self context",
    f"{_CONTEXT}:PlanOrchestrationContext.job": None,
    f"{_CONTEXT}:PlanOrchestrationContext.run_config": None,
    f"{_CONTEXT}:PlanOrchestrationContext.dagster_run": None,
    f"{_CONTEXT}:PlanOrchestrationContext.raise_on_error": None,
    f"{_CONTEXT}:PlanOrchestrationContext.output_capture": None,
    f"{_CONTEXT}:PlanExecutionContext.dagster_run": None,
    f"{_CONTEXT}:PlanExecutionContext.execution_plan": None,
    f"{_CONTEXT}:PlanExecutionContext.for_step": "self step known_state",
    f"{_CONTEXT}:PlanExecutionContext.instance": None,
    f"{_CONTEXT}:PlanExecutionContext.log": None,
    f"{_CONTEXT}:PlanExecutionContext.retry_mode": None,
    f"{_CONTEXT}:PlanExecutionContext.run_id": None,
    f"{_CONTEXT}:StepExecutionContext.step": None,
    f"{_CONTEXT}:StepExecutionContext.step_exception": None,
    f"{_LOGS}.build_log_key_for_run": "self run_id step_key",
    f"{_LOGS}.capture_logs": "self log_key",
}
"""Private names that the threaded executor uses, and the arguments it calls them with; None for an attribute.

An argument that is passed by keyword ends in `=`.
"""


def problems() -> tuple[str, ...]:
    """Return what is wrong with the names in `USED` in the installed Dagster, one phrase per name."""
    return tuple(filter(None, (problem(name) for name in USED)))


def problem(name: str) -> str | None:
    """Return what is wrong with a name in `USED` in the installed Dagster, or None if it fits."""
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError):
        return f"{name} is missing"
    arguments = USED[name]
    if arguments is None:
        return None
    names = arguments.split()
    positional = [each for each in names if not each.endswith("=")]
    keywords = {each.removesuffix("="): each for each in names if each.endswith("=")}
    try:
        inspect.signature(found).bind(*positional, **keywords)
    except TypeError as error:
        return f"{name} cannot be called with ({', '.join(names)}): {error}"
    return None
