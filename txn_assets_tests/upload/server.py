"""The upload service as tests use it: a child process with the real server, for a deployment of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from txn_assets.local import ports
from txn_assets.local.home import tail
from txn_assets_tests.deployment import Deployment

START_SECONDS = 300.0
NO_DAGSTER = "http://127.0.0.1:9"
"""The address of a Dagster that does not answer: the service runs none of its own, and leaves files to the sensor."""


@dataclass
class Service:
    """A running upload service.

    Attributes:
        url: its address, without a slash at the end.
        token: the bearer token to send; None without authentication.
    """

    deployment: Deployment
    process: "subprocess.Popen[bytes]"
    url: str
    log: Path
    token: str | None = None

    def post(self, path: str, **options: Any) -> requests.Response:
        """Send a POST request."""
        return self.request("POST", path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """Send a GET request."""
        return self.request("GET", path, **options)

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """Send a request with the token."""
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent = authorization | {**(headers or {})}
        return requests.request(method, f"{self.url}{path}", headers=sent, timeout=150, **options)

    def upload(self, content: bytes, name: str = "orders.csv", **options: Any) -> requests.Response:
        """Upload a file as a form, without waiting for its load."""
        headers = {"Prefer": "wait=0"} | options.pop("headers", {})
        return self.post("/ingest", files={"file": (name, content, "text/csv")}, headers=headers, **options)

    def landed(self, name: str) -> bytes | None:
        """Return the content of the landed file `name`, below the landing prefix."""
        blob = self.deployment.bucket.get_blob(f"{self.deployment.config.data_lake.landing}/{name}")
        return blob.download_as_bytes() if blob else None

    def landed_names(self) -> list[str]:
        """Return the names of all landed files."""
        prefix = f"{self.deployment.config.data_lake.landing}/"
        return [name.removeprefix(prefix) for name in sorted(self.objects()) if name.startswith(prefix)]

    def objects(self) -> set[str]:
        """Return the names of all objects in the bucket."""
        return {blob.name for blob in self.deployment.bucket.list_blobs()}

    def peak_bytes(self) -> int:
        """Return the most memory that the process has had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    def forget_peak(self) -> None:
        """Let `peak_bytes` begin at what is resident now; see proc_pid_clear_refs(5)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self, seconds: float = 90.0) -> int:
        """Stop the service in an orderly way and return its exit code; kill it if it takes too long."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def serving(deployment: Deployment, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run the upload service for `deployment` until the block ends."""
    port = ports.choose(("upload",), {})["upload"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "txn_assets.cli", "upload", str(port)],
            env=os.environ
            | {"TXN_CONFIG": str(deployment.config_path), "TXN_DAGSTER_URL": NO_DAGSTER}
            | {**(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(deployment, process, f"http://127.0.0.1:{port}", log)
    try:
        _wait_until_up(service)
        yield service
    finally:
        if process.poll() is None:
            service.stop()


def _wait_until_up(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if service.get("/openapi.json").ok:
                return
        except requests.ConnectionError:
            if service.process.poll() is not None or time.monotonic() > deadline:
                message = f"The service did not start; the end of its log:\n{tail(service.log, 60)}"
                raise RuntimeError(message) from None
            time.sleep(0.1)
