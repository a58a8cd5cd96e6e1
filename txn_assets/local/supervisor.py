"""The process that owns the servers of a stack: it starts them, watches them, and stops them together.

If one server ends, all end, and the next `ensure_up` starts them again on the same ports. `stack.py` decides whether to
start a stack, and runs

    python -m txn_assets.local.supervisor HOME PROJECT DATASET

That command returns when the servers answer or cannot be started, prints one JSON object, and leaves the supervisor
behind. This module runs in `.venv-servers`, so use only the standard library.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Never

from txn_assets.local import bigquery, forward, issuer, ports, postgres, servers
from txn_assets.local.home import Home, locked, read_json, write_json, write_private
from txn_assets.local.processes import Process
from txn_assets.local.servers import PortTakenError, Server, StartError

START_SECONDS = 180.0
"""Timeout for starting all servers. That takes two to six seconds, or longer under heavy load or from a cold disk."""
_STOP_SECONDS = 30.0
_PORT_NAMES = ("gcs", "fake-gcs-server", "bigquery", "bigquery-grpc", "postgres", "issuer")


class _Stopped(BaseException):
    """A signal asked the supervisor to stop."""


class Supervisor:
    """Starts, watches and stops the servers of one home as child processes."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._running: dict[str, tuple[Server, subprocess.Popen[bytes]]] = {}

    def start(self, project: str, dataset: str) -> dict[str, Any]:
        """Start all servers and wait until they answer. Retry if a port was taken in the meantime."""
        last_time = read_json(self._home.ports) or {}
        for attempt in range(1, 4):
            chosen = ports.choose(_PORT_NAMES, last_time)
            try:
                self._start_on(chosen, project, dataset)
            except PortTakenError:
                self.stop()
                if attempt == 3:
                    raise
                last_time = {}
            else:
                write_json(self._home.ports, chosen)
                return self._description(chosen)
        raise AssertionError

    def watch(self, lock: int) -> None:
        """Return when a server ends or the home is deleted, because nobody could stop the stack after that."""
        while all(process.poll() is None for _, process in self._running.values()):
            if os.fstat(lock).st_nlink == 0:
                return
            time.sleep(0.3)

    def stop(self) -> None:
        """Stop all servers and wait until they are gone."""
        for server, process in self._running.values():
            if process.poll() is None:
                process.send_signal(server.stop_signal)
        deadline = time.monotonic() + _STOP_SECONDS
        for _, process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start_on(self, chosen: Mapping[str, int], project: str, dataset: str) -> None:
        # BigQuery takes the longest by far, so unpack and initialize PostgreSQL while it loads.
        self._add(bigquery.server(self._home, chosen, project, dataset))
        self._add(servers.fake_gcs_server(self._home, chosen))
        self._add(servers.gcs(self._home, chosen))
        self._add(postgres.server(self._home, chosen))
        self._add(issuer.server(self._home, chosen))
        if self._home.listen.exists():
            self._add(forward.server(self._home, chosen, self._home.listen.read_text()))
        deadline = time.monotonic() + START_SECONDS
        for server, _ in self._running.values():
            # Check this first, because whatever answers on the port of a dead server is another program.
            self._check_alive()
            while not server.answers():
                self._check_alive()
                if time.monotonic() > deadline:
                    message = f"{server.name} did not answer within {START_SECONDS:.0f} seconds of its start."
                    raise StartError(message, self._home.log(server.name))
                time.sleep(0.05)
        self._check_alive()

    def _add(self, server: Server) -> None:
        # Python ignores an exception that a signal raises in its own hooks around a fork, so a stop would be forgotten,
        # and the server would inherit that the signal is ignored.
        signal.pthread_sigmask(signal.SIG_BLOCK, servers.STOP_SIGNALS)
        try:
            self._running[server.name] = server, servers.start(server, self._home)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, servers.STOP_SIGNALS)
        self._write_processes()

    def _check_alive(self) -> None:
        for server, process in self._running.values():
            if process.poll() is None:
                continue
            log = self._home.log(server.name)
            if _tells_of_a_taken_port(log):
                message = f"{server.name} found its port in use by another program three times: try again."
                raise PortTakenError(message, log)
            ending = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
            message = (
                f"{server.name} cannot be started (it exited with {ending}): fix the problem at the end of its log, or "
                f"move {server.folder} away if its data is damaged. Then start again."
            )
            raise StartError(message, log)

    def _write_processes(self) -> None:
        """Record our processes, the supervisor first, so that a stack whose supervisor was killed can be cleaned up."""
        mine = [Process.of(os.getpid()), *(Process.of(process.pid) for _, process in self._running.values())]
        write_json(self._home.processes, {"processes": [asdict(process) for process in mine]})

    def _description(self, chosen: Mapping[str, int]) -> dict[str, Any]:
        return {
            "identity": self._home.identity.read_text(),
            "endpoints": {
                "gcs_url": f"http://127.0.0.1:{chosen['gcs']}",
                "bigquery_url": f"http://127.0.0.1:{chosen['bigquery']}",
                "issuer_url": f"http://127.0.0.1:{chosen['issuer']}",
                "postgres_host": "127.0.0.1",
                "postgres_port": chosen["postgres"],
                "postgres_user": postgres.SUPERUSER,
                "postgres_password": postgres.password(self._home),
                "postgres_dbname": "postgres",
            },
            "servers": [
                {"name": name, "url": server.url, "pid": process.pid, "log": str(self._home.log(name))}
                for name, (server, process) in self._running.items()
            ],
        }


def _tells_of_a_taken_port(log: Path) -> bool:
    text = log.read_text(errors="replace").lower()
    # Go, PostgreSQL and Python print the first message, gRPC the second.
    return "address already in use" in text or "failed to bind to address" in text


def _on_signal(_number: int, _frame: FrameType | None) -> Never:
    for number in servers.STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # A second signal would interrupt the clean shutdown.
    raise _Stopped


def _supervise(home: Home, project: str, dataset: str) -> None:
    supervisor = Supervisor(home)
    try:
        with locked(home.supervisor_lock, wait=False) as lock:
            # Record our pid in the lock file, so that `down` finds us even if someone deleted processes.json.
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"processes": [asdict(Process.of(os.getpid()))]}).encode(), 0)
            try:
                _report({"ready": supervisor.start(project, dataset)})
                supervisor.watch(lock)
            finally:
                supervisor.stop()
    except BlockingIOError:
        message = (
            f"Another supervisor holds {home.supervisor_lock}, perhaps in another container: stop the stack there, "
            f"or set TXN_HOME to another folder."
        )
        _report({"failed": message, "log": None})
    except StartError as error:
        _report({"failed": str(error), "log": str(error.log) if error.log else None})
    except OSError as error:
        _report({"failed": f"The local stack cannot use {error.filename}: {error.strerror}.", "log": None})
    except _Stopped:
        return


def _report(result: Mapping[str, Any]) -> None:
    """Report the result to the starter and close the pipe, so that the starter continues."""
    # If the starter was interrupted, the next one finds us through processes.json.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(result).encode())
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def main(arguments: Sequence[str]) -> None:
    """Fork, so that the caller does not have to wait for the supervisor or reap it, and supervise in the child."""
    root, project, dataset = arguments
    if os.fork():
        os._exit(0)
    for number in servers.STOP_SIGNALS:
        signal.signal(number, _on_signal)
    # Keep the servers' files private. `postgres.py` lets others enter one folder if PostgreSQL runs as the user nobody.
    os.umask(0o077)
    home = Home(Path(root))
    if not home.identity.exists():
        write_private(home.identity, secrets.token_hex(8))
    _supervise(home, project, dataset)


if __name__ == "__main__":
    main(sys.argv[1:])
