"""Load files in child processes that race each other: `python -m txn_assets_tests.faults.child`.

The parent imports everything and creates no client and no thread, so that forking a child is cheap and the child starts
with the load itself. See docs/reliability.md.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import dagster as dg

from txn_assets.files.values import HashedFiles, from_json, to_json
from txn_assets_tests.faults.bench import Content


@dataclass(frozen=True)
class Children:
    """The sweep's end of the pipe."""

    requests: IO[str]
    answers: IO[str]

    def start(self, what: str, content: Content, run_id: str) -> int:
        """Start a child that loads `content` into the sink `what`; return its pid."""
        order: dict[str, object] = {
            "what": what,
            "run_id": run_id,
            "feed": content.feed,
            "files": to_json(HashedFiles((content.file,))).decode(),
        }
        return int(self._ask(order))

    def wait(self, pid: int) -> int:
        """Wait for a child and return its exit status; negative for a signal."""
        return int(self._ask({"wait": pid}))

    def _ask(self, order: dict[str, object]) -> str:
        self.requests.write(json.dumps(order) + "\n")
        self.requests.flush()
        return self.answers.readline()


@contextmanager
def children() -> Iterator[Children]:
    """Start the parent of the children, for the configuration that the environment names."""
    command = [sys.executable, "-m", "txn_assets_tests.faults.child"]
    # Some libraries start threads at import, and a fork must not happen while they run.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin
        assert parent.stdout
        try:
            assert parent.stdout.readline() == "ready\n"
            yield Children(parent.stdin, parent.stdout)
        finally:
            parent.stdin.close()


def main() -> None:
    """Take orders until stdin closes."""
    _import_all()
    answers = os.fdopen(os.dup(1), "w")
    # Keep anything that a load prints from being taken for a response.
    os.dup2(2, 1)
    _tell(answers, "ready")
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            _tell(answers, str(os.waitstatus_to_exitcode(status)))
            continue
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os._exit(_load(order))
        _tell(answers, str(pid))


def _load(order: dict[str, str]) -> int:
    from txn_assets.config import load_config
    from txn_assets.stores.errors import StoreError
    from txn_assets_tests.faults.bench import make_load, open_stores

    files = from_json(order["files"].encode())
    assert isinstance(files, HashedFiles)
    content = Content(files.files[0], rows=Counter())
    config = load_config()
    try:
        with open_stores(config, feed=order["feed"]) as stores:
            make_load(stores[order["what"]], content, order["run_id"])
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _import_all() -> None:

    from txn_assets.config import load_config
    from txn_assets.definitions import build

    # Warm up: each of these imports a lot on first use.
    dg.DagsterInstance.ephemeral().dispose()
    build(load_config()).resolve_implicit_global_asset_job_def()


def _tell(answers: IO[str], line: str) -> None:
    answers.write(f"{line}\n")
    answers.flush()


if __name__ == "__main__":
    main()
