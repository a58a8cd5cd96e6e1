"""Paths of a local stack's files below TXN_HOME, and atomic reads and writes of its small state files.

`stack.py` and `supervisor.py` decide what the files mean. Use only the standard library, because `.venv-servers`
imports this module too. The layout is documented in txn_assets/local/README.md.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Home:
    """The folder of one stack. Two folders are two independent stacks."""

    root: Path

    @property
    def state(self) -> Path:
        """Endpoints and pids of the running stack. Exists only while the stack is supposed to be up."""
        return self.root / "stack.json"

    @property
    def stack(self) -> Path:
        """Everything that belongs to the servers: data, logs, temporary files."""
        return self.root / "stack"

    @property
    def start_lock(self) -> Path:
        """Lock held by whoever starts or stops the stack."""
        return self.stack / "start.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Lock held by the supervisor while it lives, even if its pid is invisible (another pid namespace)."""
        return self.stack / "supervisor.lock"

    @property
    def processes(self) -> Path:
        """Processes that were started, recorded early enough for any later cleanup."""
        return self.stack / "processes.json"

    @property
    def ports(self) -> Path:
        """Ports of the previous start."""
        return self.stack / "ports.json"

    @property
    def identity(self) -> Path:
        """Random id of this stack, so that another stack on one of our old ports is not mistaken for ours."""
        return self.stack / "identity"

    @property
    def listen(self) -> Path:
        """Address from `up --listen`, in addition to loopback. Exists until `down`."""
        return self.stack / "listen"

    @property
    def tmp(self) -> Path:
        """TMPDIR of the servers."""
        return self.stack / "tmp"

    @property
    def gcs(self) -> Path:
        """Root of fake-gcs-server: a folder per bucket, a file per object."""
        return self.stack / "gcs"

    @property
    def gcs_spool(self) -> Path:
        """Uploads in progress. Next to the store, so that a finished upload is moved instead of copied."""
        return self.stack / "gcs-spool"

    @property
    def bigquery(self) -> Path:
        """Working folder of local-bigquery."""
        return self.stack / "bigquery"

    @property
    def postgres(self) -> Path:
        """Programs, data and password of PostgreSQL."""
        return self.stack / "postgres"

    @property
    def token_key(self) -> Path:
        """Private key that signs bearer tokens, as a JWK. Made with the first token."""
        return self.stack / "token-key.json"

    @property
    def logs(self) -> Path:
        """Current and previous log of each server."""
        return self.stack / "logs"

    def log(self, server: str) -> Path:
        """Return the log file of the server."""
        return self.logs / f"{server}.log"


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a state file; return None if it is missing or unreadable."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        # Files are replaced atomically, so somebody broke this one by hand. Start over instead of refusing to start.
        return None
    return content if isinstance(content, dict) else None


def write_private(path: Path, content: str) -> None:
    """Replace a file atomically, readable only by its owner."""
    # mkstemp creates files with mode 0600: the stack's files hold a password.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a state file atomically, readable only by its owner."""
    write_private(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Generator[int]:
    """Hold an exclusive lock on a file and yield its descriptor. Raise BlockingIOError if it is held and not `wait`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        os.close(descriptor)


def tail(path: Path, lines: int = 20) -> str:
    """Return the end of a log, for a message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def rotate(log: Path) -> None:
    """Start a new log and keep the previous one, because it may say why a restart was needed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
