"""No secret is an argument of a process, and the servers of the stack get none in their environment."""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from txn_assets.environment import SECRETS, project_root
from txn_assets.local.home import Home
from txn_assets.local.stack import down
from txn_assets_tests.deployment import make_config, make_file, make_row

MARK = secrets.token_hex(16).encode()
PLANTED = {name: f"{name}-{MARK.decode()}" for name in SECRETS} | {
    "TXN_ALERT_WEBHOOK": f"http://127.0.0.1:9/{MARK.decode()}"
}


@dataclass
class Sample:
    """The command lines of processes, and which of them had a planted secret in the environment."""

    arguments: set[bytes] = field(default_factory=set)
    holders: set[int] = field(default_factory=set)

    def take(self, pid: int) -> None:
        """Look at a process, which may have ended or belong to somebody else."""
        with suppress(OSError):
            self.arguments.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            if MARK in Path(f"/proc/{pid}/environ").read_bytes():
                self.holders.add(pid)


@contextmanager
def sampling() -> Iterator[Sample]:
    """Sample every process of this machine that begins, in its first half second: until then it may be a fork."""
    sample, stop, begun = Sample(), threading.Event(), dict.fromkeys(_processes(), -1.0)

    def watch() -> None:
        while not stop.wait(0.02):
            for pid in _processes():
                if time.monotonic() < begun.setdefault(pid, time.monotonic()) + 0.5:
                    sample.take(pid)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sample
    finally:
        stop.set()
        thread.join()


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").glob("[0-9]*"))


def test_processes_of_a_run(tmp_path: Path) -> None:
    """`make run`, which starts the stack, passes no secret as an argument, and none to the servers.

    The same for the passwords that the stack makes for itself. Neither are in what the command prints, nor in Dagster's
    storage or a log: nothing below TXN_HOME has a planted secret.
    """
    home, config, file = tmp_path / "home", tmp_path / "config.yaml", tmp_path / "a.csv"
    make_config(config, {"security": {"hash": {"algorithm": "hmac-sha256", "key_id": "k1"}}})
    file.write_bytes(make_file(make_row(), make_row(transaction_id="T002", product="")))
    settings = {"TXN_HOME": str(home), "TXN_CONFIG": str(config), "TXN_TARGET": "local", **PLANTED}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TXN_", "DAGSTER_"))}
    command = ["make", "--old-file=setup", f"--directory={project_root()}", "run", f"PYTHON={sys.executable}"]
    try:
        with sampling() as sample:
            done = subprocess.run([*command, f"FILE={file}"], env=kept | settings, capture_output=True, check=False)
        # The processes of the run have ended, and the servers go on.
        after = Sample()
        for pid in _processes():
            after.take(pid)
        own = (Home(home).postgres / "password").read_bytes()
    finally:
        down(home)

    assert done.returncode == 0, done.stderr.decode()
    assert [pid for pid in after.holders if Path(f"/proc/{pid}").exists()] == []
    for arguments, output in ((sample.arguments, done.stdout + done.stderr), (after.arguments, b"")):
        shown = b"\n".join([*arguments, output])
        assert [server for server in (b"postgres", b"bigquery_server", b"gcs_shim") if server not in shown] == []
        assert (MARK in shown, own in shown) == (False, False)
    assert sample.holders
    assert [path for path in home.rglob("*") if path.is_file() and MARK in path.read_bytes()] == []
