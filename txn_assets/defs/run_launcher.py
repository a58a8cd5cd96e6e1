"""The run launcher of the local instance, which can tell whether the process of a run is alive.

The launcher that Dagster ships for one machine has no health check. How a dead process is known is in
`run_liveness.py`.
"""

from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from txn_assets.defs.run_liveness import RunLocks


class LocalRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher, with a health check for run monitoring."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks for the health of runs."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Report the runs whose process died, and tell whether `run` is one of them."""
        locks = RunLocks.of(self._instance)
        if locks:
            locks.report_dead(self._instance)
        record = self._instance.get_run_by_id(run.run_id)
        # A run that was reported just now needs no second report: Dagster leaves a run alone whose status has changed.
        return CheckRunHealthResult(WorkerStatus.FAILED if record and record.is_finished else WorkerStatus.RUNNING)

    def is_known(self, run_id: str) -> bool:
        """Tell whether a code server has started a process for the run, and that process lives."""
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]  # untyped there
        if client is None:
            return False
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=5)
        except DagsterUserCodeUnreachableError:
            return False
        return deserialize_value(answer, CanCancelExecutionResult).can_cancel
