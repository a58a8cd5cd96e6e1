"""Run launcher of the local instance, with a health check for run processes.

Dagster's default launcher has no health check. `run_liveness.py` detects dead processes.
"""

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from txn_assets.defs.run_liveness import RunLocks


class LocalRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher plus a health check for run monitoring."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Make run monitoring check the health of runs."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Report the runs whose process died; return FAILED if `run` has ended, else RUNNING."""
        locks = RunLocks.of(self._instance)
        if locks:
            locks.report_dead(self._instance)
        record = self._instance.get_run_by_id(run.run_id)
        # FAILED does not report the run a second time, because Dagster ignores a run whose status has changed.
        return CheckRunHealthResult(WorkerStatus.FAILED if record and record.is_finished else WorkerStatus.RUNNING)

    def is_known(self, run_id: str) -> bool:
        """Return whether a code server has a live process for the run."""
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]  # untyped in Dagster
        if client is None:
            return False
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=5)
        except DagsterUserCodeUnreachableError:
            return False
        return deserialize_value(answer, CanCancelExecutionResult).can_cancel
