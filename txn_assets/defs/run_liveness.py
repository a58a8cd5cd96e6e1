"""Find out which runs of the local instance are alive, and report those whose process died.

Each run process holds a file lock until it exits; the kernel releases the lock however the process ends. See
docs/reliability.md.
"""

import datetime as dt
import fcntl
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import dagster as dg

from txn_assets.local.home import locked

FOLDER = "run-locks"
"""Name of the folder with the lock files, below the root of the instance. Only local instances have one."""

UNSEEN_SECONDS = 20.0
"""Seconds that a run may take, from its creation or launch, to acquire its lock."""

ACTIVE = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""Statuses of a run that a process is working on."""

DIED = (
    "The process of this run died before the run ended: it was killed, ran out of memory, or the machine went down. "
    "Each store holds either the old version of the file or the new one, never a mix: loading the file again is safe."
)


@runtime_checkable
class KnowsRuns(Protocol):
    """A run launcher that knows whether a run has a live process; see `run_launcher.py`."""

    def is_known(self, run_id: str) -> bool:
        """Return whether the run has a live process."""


@dataclass(frozen=True)
class RunLocks:
    """Lock files of an instance whose runs are processes on this machine."""

    folder: Path

    @classmethod
    def of(cls, instance: dg.DagsterInstance) -> "RunLocks | None":
        """Return the locks of `instance`, or None unless it is a local instance made by `dagster_home.prepare`."""
        folder = Path(instance.root_directory) / FOLDER
        return cls(folder) if folder.is_dir() else None

    def hold(self, run_id: str) -> None:
        """Hold the lock of a run until this process exits."""
        # The guard keeps others from seeing the file before it is locked. Child processes must not inherit the lock:
        # a server started by a run would keep the run alive.
        with locked(self._guard):
            descriptor = os.open(self.folder / run_id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def exists(self, run_id: str) -> bool:
        """Return whether the run has a lock file: a process held it at some point, and it has not been removed."""
        return (self.folder / run_id).exists()

    def released(self) -> set[str]:
        """Return the runs whose process has ended, for whatever reason."""
        with locked(self._guard):
            return {path.name for path in self.folder.iterdir() if path.suffix != ".lock" and not _is_held(path)}

    def remove(self, run_ids: Collection[str]) -> None:
        """Remove the lock files of ended processes."""
        for run_id in run_ids:
            (self.folder / run_id).unlink(missing_ok=True)

    def report_dead(self, instance: dg.DagsterInstance) -> None:
        """Report runs whose process died.

        Any process may call this at any time. If several call it at once, one of them does the work.
        """
        with suppress(BlockingIOError), locked(self.folder / "report.lock", wait=False):
            records = instance.get_run_records(dg.RunsFilter(statuses=ACTIVE))
            released = self.released()
            for record in records:
                run_id = record.dagster_run.run_id
                if run_id in released or (not self.exists(run_id) and is_overdue(record, knows=_knows(instance))):
                    _report(instance, run_id)
            self.remove(released)

    @property
    def _guard(self) -> Path:
        return self.folder / "guard.lock"


def is_overdue(record: dg.RunRecord, *, knows: Callable[[str], bool]) -> bool:
    """Return whether a run without a lock will never take one: no recent update, and no code server knows it."""
    since = dt.datetime.now(dt.UTC) - record.update_timestamp
    return since.total_seconds() > UNSEEN_SECONDS and not knows(record.dagster_run.run_id)


def _knows(instance: dg.DagsterInstance) -> Callable[[str], bool]:
    launcher = instance.run_launcher
    return launcher.is_known if isinstance(launcher, KnowsRuns) else lambda _: False


def _report(instance: dg.DagsterInstance, run_id: str) -> None:
    # Read the run again: it may have ended after it was listed.
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, DIED)
    else:
        instance.report_run_failed(run, DIED)


def _is_held(path: Path) -> bool:
    try:
        with locked(path, wait=False):
            return False
    except BlockingIOError:
        return True
