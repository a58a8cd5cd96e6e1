"""Where Dagster's web server of a local stack is, while `txn dev` or `txn upload` runs it.

Use only the standard library, as in the rest of this folder.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from txn_assets.local.home import read_json, write_json
from txn_assets.local.processes import Process


@contextmanager
def published(home: Path, url: str, pid: int) -> Iterator[None]:
    """Publish that the process `pid` serves Dagster's API and UI at `url`."""
    path = _path(home)
    write_json(path, {"url": url, **asdict(Process.of(pid))})
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


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
