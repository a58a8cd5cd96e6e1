"""Processes as (pid, start time), so that a pid that the kernel gave to somebody else is never signalled.

Here belongs telling whether a process still is the one that we started, and ending it. Which processes those are does
not: the supervisor writes them down. Standard library only, since both environments import it.
The guarantees are documented in txn_assets/local/README.md.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process of ours. `started` is its start time in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Identify a process that is known to live."""
        return cls(pid, _start_time(pid) or 0)

    def is_alive(self) -> bool:
        """Tell whether this very process runs. One that is dead but not yet reaped does not."""
        return _start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if this very process still runs."""
        if self.is_alive():
            # It may end between the look and the signal, which is what was wanted.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold blanks and parentheses; the fields after it are fixed: state is the 3rd of the
    # file and the start time the 22nd.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def wait_gone(processes: Iterable[Process], *, seconds: float) -> list[Process]:
    """Wait until the processes are gone; return those that are not after `seconds`."""
    deadline = time.monotonic() + seconds
    alive = list(processes)
    while alive := [process for process in alive if process.is_alive()]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return alive
