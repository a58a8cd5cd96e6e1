"""Start the local stack on demand, return its endpoints, and stop it.

This module decides whether the stack is up, which process starts it, and what to report if it does not start.
`supervisor.py` starts the servers in the interpreter of `.venv-servers`. Import no cloud or database client here,
because each entry point calls `ensure_up` first.
"""

import ipaddress
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from txn_assets.environment import LOCAL_ENDPOINTS, is_installed, local_endpoints, project_root, servers_environment
from txn_assets.errors import UserError
from txn_assets.local import probes
from txn_assets.local.endpoints import Endpoints, Seed, given_endpoints
from txn_assets.local.home import Home, locked, read_json, rotate, tail, write_json, write_private
from txn_assets.local.processes import Process, wait_gone

_STOP_SECONDS = 60.0


class LocalStackError(UserError):
    """The local stack cannot be used. The message says what is wrong and what to do, then shows the end of the log."""


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """One server of a stack, as `status` reports it."""

    name: str
    url: str
    pid: int
    up: bool
    log: Path


SERVERS_VERSION = 2
"""Increase it if the servers are started in another way: a running stack of another version is restarted."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """The content of stack.json."""

    endpoints: Endpoints
    identity: str | None
    servers: Sequence[Mapping[str, Any]]
    seeds: Sequence[str]
    servers_version: int = SERVERS_VERSION

    @classmethod
    def read(cls, home: Home) -> Self | None:
        content = read_json(home.state)
        if content is None:
            return None
        # A test may write a file without an identity, to put proxies in front of another stack's servers.
        if content.get("identity") and content.get("servers_version") != SERVERS_VERSION:
            return None
        try:
            return cls(
                endpoints=Endpoints(**content["endpoints"]),
                identity=content.get("identity"),
                servers=content.get("servers", []),
                seeds=content.get("seeds", []),
            )
        except (KeyError, TypeError):
            return None  # A different version wrote the file, so the caller restarts that stack.

    def write(self, home: Home) -> None:
        write_json(home.state, asdict(self))

    def is_healthy(self) -> bool:
        return (
            probes.gcs_answers(self.endpoints.gcs_url, self.identity)
            and probes.bigquery_answers(self.endpoints.bigquery_url)
            and probes.postgres_answers(self.endpoints.postgres_host, self.endpoints.postgres_port)
        )

    def endpoints_for(self, seed: Seed) -> Endpoints:
        return replace(self.endpoints, postgres_user=seed.postgres_user, postgres_dbname=seed.postgres_dbname)


def find_endpoints(home: Path, seed: Seed) -> Endpoints:
    """Return the endpoints in TXN_LOCAL_ENDPOINTS, or those of the stack of `home`; see `ensure_up`.

    Raises:
        ConfigError: TXN_LOCAL_ENDPOINTS cannot be used.
        LocalStackError: the stack cannot be used.
    """
    return given_endpoints(seed) or ensure_up(home, seed)


def ensure_up(home: Path, seed: Seed) -> Endpoints:
    """Return the endpoints of a running stack with the contents of `seed`; start or fill the stack if needed.

    Every entry point calls this, unless others run the servers. If the stack is up, it takes a few milliseconds.

    Raises:
        LocalStackError: a server cannot be started, or the home cannot be used, or TXN_LOCAL_ENDPOINTS is set.
    """
    if local_endpoints() is not None:
        # `txn dev` and `txn run` would also report the runs of the others' Dagster as dead, because they are not here.
        message = f"{LOCAL_ENDPOINTS} names servers that run elsewhere, but this command needs its own: unset it."
        raise LocalStackError(message)
    place = Home(home.absolute())
    with _usable(place):
        state = _State.read(place)
        if state and seed.fingerprint() in state.seeds and state.is_healthy():
            return state.endpoints_for(seed)
        place.root.mkdir(parents=True, exist_ok=True)
        place.stack.mkdir(mode=0o700, exist_ok=True)
        place.tmp.mkdir(exist_ok=True)
        with locked(place.start_lock):
            # Another process may have started the stack while we waited for the lock.
            state = _State.read(place)
            if state is None or not state.is_healthy():
                _stop(place)
                state = _start(place, seed)
            return _provide(place, state, seed)


def listen_on(home: Path, address: str) -> None:
    """Make the stack listen on `address` in addition to loopback, from its next start until `down`.

    A running stack that does not listen there is stopped; the next `ensure_up` starts it again on the same ports.

    Raises:
        LocalStackError: the address does not belong to this machine, or the home cannot be used.
    """
    _check_address(address)
    place = Home(home.absolute())
    with _usable(place):
        place.stack.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(place.start_lock):
            if not place.listen.exists() or place.listen.read_text() != address:
                _stop(place)
                write_private(place.listen, address)


def _check_address(address: str) -> None:
    try:
        if ipaddress.IPv4Address(address) in (ipaddress.IPv4Address("0.0.0.0"), ipaddress.IPv4Address("127.0.0.1")):  # noqa: S104 - rejected, not bound
            message = f"--listen {address}: name one address of this machine other than 127.0.0.1."
            raise LocalStackError(message)
        with socket.socket() as probe:
            probe.bind((address, 0))
    except (ValueError, OSError) as error:
        message = (
            f"--listen {address}: not an IPv4 address of this machine. `ip -brief address` lists them, and "
            f"`txn down` forgets one that is gone."
        )
        raise LocalStackError(message) from error


def down(home: Path) -> bool:
    """Stop the stack, wait until its servers are gone, and return whether there was one."""
    place = Home(home.absolute())
    with _usable(place):
        if not place.stack.is_dir():
            return False
        with locked(place.start_lock):
            place.listen.unlink(missing_ok=True)
            return _stop(place)


def status(home: Path) -> list[ServerStatus]:
    """Return the servers of the stack, or an empty list if there is no stack."""
    place = Home(home.absolute())
    with _usable(place):
        state = _State.read(place)
    if state is None:
        return []
    return [
        ServerStatus(
            name=server["name"],
            url=server["url"],
            pid=server["pid"],
            log=Path(server["log"]),
            up=_answers(server["name"], server["url"]),
        )
        for server in state.servers
    ]


def _answers(name: str, url: str) -> bool:
    if name == "postgres":
        address = urlsplit(url)
        return probes.postgres_answers(str(address.hostname), int(address.port or 0))
    if name == "issuer":
        return probes.issuer_answers(url)
    return probes.bigquery_answers(url) if name == "bigquery" else probes.gcs_answers(url)


@contextmanager
def _usable(home: Home) -> Generator[None]:
    """Raise one clear error if the home cannot be used, no matter which file in it fails."""
    try:
        yield
    except OSError as error:
        message = (
            f"The local stack cannot use {error.filename or home.root}: {error.strerror}. "
            f"Set TXN_HOME to a folder that you can write to."
        )
        raise LocalStackError(message) from error


def _start(home: Home, seed: Seed) -> _State:
    if sys.platform != "linux":
        message = f"The local servers run on Linux, not on {sys.platform}: use a container, or TXN_TARGET=gcp."
        raise LocalStackError(message)
    interpreter = servers_environment() / "bin" / "python"
    if not interpreter.exists():
        raise LocalStackError(_not_installed(servers_environment()))
    if home.listen.exists():
        _check_address(home.listen.read_text())
    log = home.log("supervisor")
    rotate(log)
    with log.open("wb") as errors:
        # The supervisor leaves a daemon behind. `run` returns when the daemon has reported and closed the pipe. Do not
        # pass on our environment, because the servers need none of the caller's secrets or settings.
        result = subprocess.run(
            [interpreter, "-P", "-m", "txn_assets.local.supervisor", home.root, seed.project_id, seed.dataset],
            cwd=home.stack,
            env={"PATH": os.defpath, "PYTHONPATH": str(_code(home)), "TMPDIR": str(home.tmp), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            # Keep Ctrl-C in the caller's terminal away from the servers.
            start_new_session=True,
            check=False,
        )
    try:
        answer = json.loads(result.stdout)
    except ValueError as error:
        _stop(home)
        raise _error(
            "The supervisor of the local stack exited before its servers were up: see its log.", log
        ) from error
    if "failed" in answer:
        _stop(home)  # The supervisor is about to exit anyway. Wait for that, so that the caller can retry right away.
        raise _error(answer["failed"], Path(answer["log"]) if answer["log"] else None)
    ready = answer["ready"]
    return _State(
        endpoints=Endpoints(**ready["endpoints"]), identity=ready["identity"], servers=ready["servers"], seeds=[]
    )


def _not_installed(environment: Path) -> str:
    message = f"The local servers are not installed ({environment} is missing)"
    if not is_installed():
        return f"{message}: run `make setup`."
    python, lock = sys.executable, project_root() / "requirements-servers.lock"
    install = f"{shlex.quote(python)} -m venv {shlex.quote(str(environment))} && "
    install += f"{shlex.quote(str(environment / 'bin' / 'pip'))} install -r {shlex.quote(str(lock))}"
    return f"{message}: run `{install}`, or set TXN_SERVERS_VENV to an environment that has them."


def _code(home: Home) -> Path:
    """Return a folder that contains only a link to this package, for the PYTHONPATH of the servers' interpreter.

    The package may be in a site-packages folder whose duckdb is not the version that local-bigquery needs.
    """
    folder = home.stack / "code"
    folder.mkdir(exist_ok=True)
    link = folder / "txn_assets"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(__file__).resolve().parents[1])
    return folder


def _provide(home: Home, state: _State, seed: Seed) -> Endpoints:
    fingerprint = seed.fingerprint()
    if fingerprint not in state.seeds:
        from txn_assets.local import provision  # noqa: PLC0415 - psycopg takes 0.3 s to import, and a running stack does not need it

        try:
            provision.provide(seed, state.endpoints)
        except (OSError, provision.Refused) as error:
            message = f"The local stack is up but cannot be provisioned: {error}. See the logs in {home.logs}."
            raise LocalStackError(message) from error
        # Keep only the newest fingerprints, because every change of a file in `data` adds one.
        state = replace(state, seeds=[*state.seeds[-20:], fingerprint])
    state.write(home)
    return state.endpoints_for(seed)


def _stop(home: Home) -> bool:
    """Stop the supervisor, which stops its servers, then kill what is left. The caller must hold the start lock."""
    home.state.unlink(missing_ok=True)
    content = read_json(home.processes) or read_json(home.supervisor_lock) or {}
    alive = [process for process in (Process(**item) for item in content.get("processes", [])) if process.is_alive()]
    if alive:
        # The first process is the supervisor. If it is already gone, the kernel has signaled its servers.
        alive[0].signal(signal.SIGTERM)
        for process in wait_gone(alive, seconds=_STOP_SECONDS):
            process.signal(signal.SIGKILL)
        if wait_gone(alive, seconds=_STOP_SECONDS):
            message = f"The servers of {home.root} cannot be stopped: pids {[process.pid for process in alive]}."
            raise LocalStackError(message)
    home.processes.unlink(missing_ok=True)
    return bool(alive)


def _error(message: str, log: Path | None) -> LocalStackError:
    return LocalStackError(f"{message}\n--- the end of {log}\n{tail(log)}" if log else message)
