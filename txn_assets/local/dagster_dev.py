"""Start `txn dev` beside the upload service, and find Dagster's web server wherever `txn dev` runs it.

`defs/dev.py` runs Dagster, in a process of its own: Dagster takes more memory than the upload service has.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from txn_assets.local import ports
from txn_assets.local.home import read_json, write_json
from txn_assets.local.processes import Process, end_with_parent


@contextmanager
def published(home: Path, url: str, pid: int) -> Iterator[None]:
    """Publish that the process `pid` serves Dagster's API and UI at `url`."""
    path = _path(home)
    write_json(path, {"url": url, **asdict(Process.of(pid))})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class DagsterDev:
    """A `txn dev` beside the upload service, and its log."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def has_ended(self) -> bool:
        """Whether it stopped by itself; the log says why."""
        return self.process.poll() is not None


@contextmanager
def running(home: Path) -> Iterator[DagsterDev]:
    """Run `txn dev` until the block ends. While another one runs for `home`, it waits, and takes over after that."""
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    log = home / "dagster" / "dev.log"
    port = ports.choose(("web_server",), {})["web_server"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "txn_assets.defs.dev", "--wait", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C ends the upload service first.
            process_group=0,
            preexec_fn=end_with_parent(),  # noqa: PLW1509 - only one thread so far
        )
    try:
        yield DagsterDev(process, log)
    finally:
        process.terminate()
        process.wait()


def find(home: Path) -> str | None:
    """Return the address of the web server of the stack below `home`; None if it does not run."""
    content = read_json(_path(home))
    if content is None:
        return None
    # Whoever published it may have been killed, and another program may use the port now.
    is_alive = Process(content["pid"], content["started"]).is_alive()
    return str(content["url"]) if is_alive else None


def _path(home: Path) -> Path:
    return home / "dagster" / "web_server.json"
