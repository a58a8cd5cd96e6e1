"""Start the local stack, then Dagster's UI and daemon: `txn dev`, `python -m txn_assets.defs.dev` and `make dev`.

`txn upload` starts it too, unless it runs already; see `local/dagster_dev.py`.

`dagster dev` runs in its own process group, so that this command can stop it with all its processes. The settings of
its instance are in `dagster.yaml`. See docs/operations.md.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from txn_assets.config import load_config
from txn_assets.defs.dagster_home import prepare
from txn_assets.defs.run_liveness import RunLocks
from txn_assets.environment import project_root, txn_home
from txn_assets.local import dagster_dev
from txn_assets.local.endpoints import seed_from
from txn_assets.local.home import locked
from txn_assets.local.processes import end_with_parent
from txn_assets.local.stack import LocalStackError, ensure_up

SETTINGS = {
    # Maximum number of events per INSERT, raised for batches of files.
    "DAGSTER_EVENT_BATCH_SIZE": "1000",
    # A sensor that lost its cursor reads the three ledgers. The daily sweep reads them too, and lists all objects.
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "300",
    "DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS": "900",
}
"""Settings that Dagster reads only from the environment; keep them equal to `helm-values/values.yaml`."""

LOCK_SECONDS = 0.5
"""Seconds between two checks whether another `txn dev` has ended."""

LOOK_SECONDS = 5.0
"""Seconds between two checks for runs whose process died."""

STOP_SECONDS = 30.0
"""Seconds that Dagster and its runs have to stop before they are killed."""


def serve(port: str, *, wait: bool = False) -> int:
    """Run `dagster dev` until it ends or this command is stopped; return the exit code.

    If another one runs for TXN_HOME, begin when it has ended if `wait`, else raise an error.

    Raises:
        ConfigError: the configuration cannot be used.
        LocalStackError: the local stack cannot be started, or the port or TXN_HOME is in use.
    """
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Do this even if SIGINT is ignored, as in a script's background jobs, because Dagster would ignore SIGTERM too.
        signal.signal(number, lambda *_: stop.set())
    _check_port(port)
    with ExitStack() as held:
        if not _is_first(held):
            other = f"Another `txn dev` or `make dev` is running for {txn_home()}, or a `txn upload`, which starts one."
            if not wait:
                message = f"{other} Use its UI, or stop it first."
                raise LocalStackError(message)
            sys.stderr.write(f"{other} This one starts when it has ended.\n")
            while not _is_first(held):
                if stop.wait(LOCK_SECONDS):
                    return 0
        dagster_home = prepare(txn_home(), ensure_up(txn_home(), seed_from(load_config())))
        return _run(port, dagster_home, stop)


def _is_first(held: ExitStack) -> bool:
    """Return whether no other Dagster runs for TXN_HOME, and keep others from starting until `held` ends."""
    folder = txn_home() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        held.enter_context(locked(folder / "dev.lock", wait=False))
    except BlockingIOError:
        return False
    return True


def _run(port: str, dagster_home: Path, stop: Event) -> int:
    dagster = _start(port, dagster_home)
    try:
        with dagster_dev.published(txn_home(), f"http://127.0.0.1:{port}", dagster.pid):
            _watch(dagster, dagster_home, stop)
    finally:
        _end(dagster)
    return 0 if stop.is_set() else dagster.returncode or 1


def _check_port(port: str) -> None:
    choose = "choose another port: `txn dev 3001` or `make dev PORT=3001`"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        message = f"{port!r} is not a port number from 1 to 65535; {choose}."
        raise LocalStackError(message)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError as error:
            message = (
                f"Port {port} of 127.0.0.1 cannot be used ({error.strerror}). "
                f"Stop the program that uses it, perhaps another `make dev`, or {choose}."
            )
            raise LocalStackError(message) from error


def _start(port: str, dagster_home: Path) -> "subprocess.Popen[bytes]":
    command = str(Path(sys.executable).with_name("dagster"))
    return subprocess.Popen(
        [command, "dev", "-h", "127.0.0.1", "-p", port, "-w", str(project_root() / "workspace.yaml")],
        env=SETTINGS | os.environ | {"DAGSTER_HOME": str(dagster_home)},
        stdin=subprocess.DEVNULL,
        process_group=0,
        # Make Dagster shut down cleanly even if this command is killed.
        preexec_fn=end_with_parent(),  # noqa: PLW1509 - only one thread so far
    )


def _watch(dagster: "subprocess.Popen[bytes]", dagster_home: Path, stop: Event) -> None:
    """Report dead runs until Dagster ends or `stop` is set.

    Dagster's run monitoring checks only started runs, but a run may also die while it is starting or being canceled.
    """
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        locks = RunLocks.of(instance)
        looked = 0.0
        while not stop.wait(0.5) and dagster.poll() is None:
            if locks and time.monotonic() > looked + LOOK_SECONDS:
                looked = time.monotonic()
                # If the local stack is down, Dagster itself reports what is missing.
                with suppress(SQLAlchemyError):
                    locks.report_dead(instance)


def _end(dagster: "subprocess.Popen[bytes]") -> None:
    """Stop Dagster and everything it started, as Ctrl-C in a terminal does; kill what does not stop in time."""
    _signal_group(dagster.pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_SECONDS
    while _signal_group(dagster.pid, 0) and time.monotonic() < deadline:
        dagster.poll()
        time.sleep(0.1)
    _signal_group(dagster.pid, signal.SIGKILL)
    dagster.wait()


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether it has any processes."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    from txn_assets.cli import main

    sys.exit(main(["dev", *sys.argv[1:]]))
