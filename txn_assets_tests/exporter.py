"""`txn metrics` as tests use it: a child process with the real server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from txn_assets.local import ports
from txn_assets.local.home import tail

START_SECONDS = 60.0

type Labels = Mapping[str, str]


@dataclass(frozen=True)
class Scrape:
    """The answer to a scrape: the names that it describes, and its samples."""

    names: frozenset[str]
    samples: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the sample with exactly these labels; None if there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))))


@dataclass(frozen=True)
class Exporter:
    """A running `txn metrics`."""

    url: str

    def scrape(self) -> Scrape:
        """Return what Prometheus would get."""
        response = requests.get(f"{self.url}/metrics", timeout=20)
        response.raise_for_status()
        families = list(text_string_to_metric_families(response.text))
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
        }
        described = {line.split()[2] for line in response.text.splitlines() if line.startswith("# TYPE")}
        return Scrape(frozenset(described), samples)


@contextmanager
def exporting(log: Path, environment: Mapping[str, str]) -> Iterator[Exporter]:
    """Run `txn metrics` until the block ends."""
    port = ports.choose(("metrics",), {})["metrics"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "txn_assets.cli", "metrics", str(port)],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    exporter = Exporter(f"http://127.0.0.1:{port}")
    try:
        _wait_until_up(exporter, process, log)
        yield exporter
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(15) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait_until_up(exporter: Exporter, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            requests.get(f"{exporter.url}/healthz", timeout=5).raise_for_status()
        except requests.ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                message = f"`txn metrics` did not start; the end of its log:\n{tail(log, 60)}"
                raise RuntimeError(message) from None
            time.sleep(0.1)
        else:
            return
