"""Where each file of a local stack lies below TXN_HOME.

Here belong paths, and reading and writing the small state files atomically. What the files mean does not: `stack.py`
and `supervisor.py` decide that. Standard library only, since both environments import it.
The layout is documented in txn_assets/local/README.md.
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
    """One stack's folder. Two of them are two stacks that know nothing of each other."""

    root: Path

    @property
    def state(self) -> Path:
        """Endpoints and pids of the running stack. It is there only while the stack is meant to be up."""
        return self.root / "stack.json"

    @property
    def stack(self) -> Path:
        """Everything of the servers: data, logs, temporary files."""
        return self.root / "stack"

    @property
    def start_lock(self) -> Path:
        """Held by whoever starts or stops the stack."""
        return self.stack / "start.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives, also where its pid cannot be seen (another pid namespace)."""
        return self.stack / "supervisor.lock"

    @property
    def processes(self) -> Path:
        """Who was started, written before it can matter, for whoever has to clean up."""
        return self.stack / "processes.json"

    @property
    def ports(self) -> Path:
        """The ports of last time."""
        return self.stack / "ports.json"

    @property
    def identity(self) -> Path:
        """A random name of this stack: another stack that got one of our old ports is not taken for ours."""
        return self.stack / "identity"

    @property
    def listen(self) -> Path:
        """The address beside loopback that `up --listen` named. It is there until `down`."""
        return self.stack / "listen"

    @property
    def tmp(self) -> Path:
        """TMPDIR of the servers."""
        return self.stack / "tmp"

    @property
    def gcs(self) -> Path:
        """Root of fake-gcs-server: a folder a bucket, a file an object."""
        return self.stack / "gcs"

    @property
    def gcs_spool(self) -> Path:
        """Uploads on their way. Beside the store, so that a finished one is moved, not copied."""
        return self.stack / "gcs-spool"

    @property
    def bigquery(self) -> Path:
        """Working folder of local-bigquery."""
        return self.stack / "bigquery"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's programs, data and password."""
        return self.stack / "postgres"

    @property
    def logs(self) -> Path:
        """A file a server, and the one before it."""
        return self.stack / "logs"

    def log(self, server: str) -> Path:
        """Return the file that the server's output goes to."""
        return self.logs / f"{server}.log"


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a state file; None if there is none, or none that can be read."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        # Files are replaced whole, so a broken one was edited by hand: starting over beats refusing to start.
        return None
    return content if isinstance(content, dict) else None


def write_private(path: Path, content: str) -> None:
    """Replace a file at once, readable by its owner alone."""
    # mkstemp makes mode 0600: the stack's files hold a password.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a state file at once, readable by its owner alone."""
    write_private(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Generator[int]:
    """Hold an exclusive lock on a file; yields its descriptor. BlockingIOError if it is held and we do not wait."""
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
    """Begin a new log and keep the one before it, which may tell why a restart was needed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
