"""`dagster dev` as a child process: webserver, daemon, code server and runs, stopped together.

It starts and stops the way `make dev` does and leaves no process behind. All its processes share one session.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from txn_assets.local import ports
from txn_assets.local.home import tail

PATIENCE_SECONDS = 20.0
"""Timeout of an orderly shutdown, which takes a few seconds; after that the processes are killed."""


class DaemonError(Exception):
    """`dagster dev` exited by itself, or a wait timed out; the message ends with its log."""


class Daemon:
    """A running `dagster dev`, for the configuration that the environment names."""

    def __init__(self, home: Path) -> None:
        """Start it the way `make dev` does; its log is below `home`."""
        self.log = home / "dagster-dev.log"
        port = ports.choose(("webserver",), {})["webserver"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "txn_assets.defs.dev", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until(self, condition: Callable[[], bool], *, seconds: float) -> None:
        """Return once `condition` holds.

        Raises:
            DaemonError: it did not hold within `seconds`, or `dagster dev` exited.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                ended = "exited" if self._process.poll() is not None else f"did not do it within {seconds:.0f} s"
                message = f"dagster dev {ended}; the end of its log:\n{tail(self.log, 60)}"
                raise DaemonError(message)
            time.sleep(0.5)

    def terminate(self, *, seconds: float) -> None:
        """Send SIGTERM and wait for the exit.

        Raises:
            TimeoutExpired: it did not exit within `seconds`.
        """
        self._process.terminate()
        self._process.wait(seconds)

    def stop(self) -> None:
        """Shut it down in an orderly way, then kill what is left of it."""
        with suppress(subprocess.TimeoutExpired):
            self.terminate(seconds=PATIENCE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill it and everything it started, at once, and wait until they are gone."""
        while members := self.members():
            for member in members:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            psutil.wait_procs(members, timeout=1)
        self._process.wait()

    def members(self) -> list[psutil.Process]:
        """Return its running processes."""
        members = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return members


@contextmanager
def dagster_dev(home: Path) -> Iterator[Daemon]:
    """Run `dagster dev` with its storage below `home`; leave no process of it behind."""
    daemon = Daemon(home)
    try:
        yield daemon
    finally:
        daemon.stop()
