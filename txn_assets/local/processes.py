"""Processes identified by pid and start time, so that a reused pid is never signaled.

This module checks whether a process is still the one we started, and signals it. The supervisor records the processes.
Use only the standard library, because `.venv-servers` imports this module too.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of ours. `started` is its start time in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Identify a process that is known to be alive."""
        return cls(pid, _start_time(pid) or 0)

    def is_alive(self) -> bool:
        """Return whether this exact process is running. A dead process that has not been reaped does not count."""
        return _start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if this exact process still runs."""
        if self.is_alive():
            # The process may end between the check and the signal; that is the goal anyway.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may contain blanks and parentheses. The fields after it are fixed: state is field 3
    # of the file and the start time is field 22.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def end_with_parent() -> Callable[[], object]:
    """Return a `preexec_fn` that has the kernel send SIGTERM to a new process when its parent ends, however it ends."""
    # Load the library before the fork.
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_PR_SET_PDEATHSIG = 1


def wait_gone(processes: Iterable[Process], *, seconds: float) -> list[Process]:
    """Wait until the processes are gone; return those that are still alive after `seconds`."""
    deadline = time.monotonic() + seconds
    alive = list(processes)
    while alive := [process for process in alive if process.is_alive()]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return alive
