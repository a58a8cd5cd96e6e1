"""Measure how fast the marts are read over HTTP: `python -m benchmarks.sales [--rows 1000000]`.

It loads a file into fresh servers, lets the marts be computed, and sends one request after the other on one connection
to a service of its own. The exit code is 1 if an answer is wrong. A missed bound is not a failure; it shows in the
table.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml

from benchmarks.arrival import MismatchError, beside, fresh_stack, say
from benchmarks.measure import ChildError, function, program
from txn_assets.environment import project_root
from txn_assets.local import ports

P95_MS = 50.0
REQUESTS = 300
LAST_DAY = "2023-12-31"
START_SECONDS = 60.0


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sales", description="Measures reads of the marts.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="transactions in the marts")
    arguments = parser.parse_args()
    # Stop the servers on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with fresh_stack() as home:
            measure(home, arguments.rows)
    except (ChildError, MismatchError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def measure(home: Path, rows: int) -> None:
    """Print the times of each route."""
    config = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    config["transformation"] = config.get("transformation", {}) | {
        "models": ["sales_by_product", "sales_by_date", "summary_sales", "pg_sales"]
    }
    config["security"]["authentication"] = "none"
    path, file = home / "pipeline_config.yaml", home / "sales.csv"
    path.write_text(yaml.safe_dump(config))
    os.environ["TXN_CONFIG"] = str(path)
    function("benchmarks.data:write", path=str(file), rows=rows, bad_every=rows + 1)
    program([sys.executable, "-m", "txn_assets.cli", "run", "--", str(file)])
    with _serving(home) as connection:
        counted = sum(row["transaction_count"] for row in _get(connection, "/sales/by-product")[0])
        if counted != rows:
            message = f"sales_by_product counts {counted:,} transactions, not {rows:,}"
            raise MismatchError(message)
        _, link = _get(connection, f"/sales/pg-trends?from={LAST_DAY}&limit=1")
        (cursor,) = parse_qs(urlsplit(link.partition(">")[0]).query)["cursor"]
        say(f"{rows:,} transactions, {REQUESTS} requests for each route, one at a time")
        say(f"{'':<40}{'rows':>6}{'median, ms':>14}{'95th percentile, ms':>24}")
        for name, url in (
            ("by-product", "/sales/by-product"),
            ("by-date", "/sales/by-date"),
            ("trends", "/sales/trends"),
            ("pg-trends, first page", "/sales/pg-trends"),
            (f"pg-trends, a page of {LAST_DAY}", f"/sales/pg-trends?cursor={cursor}"),
        ):
            times, found = [], 0
            for _ in range(REQUESTS):
                start = time.perf_counter()
                found = len(_get(connection, url)[0])
                times.append((time.perf_counter() - start) * 1000)
            p95 = statistics.quantiles(times, n=20)[-1]
            say(f"{name:<40}{found:>6}{statistics.median(times):>14.1f}{beside(f'{p95:.1f}', f'{P95_MS:.0f}'):>24}")


@contextmanager
def _serving(home: Path) -> Iterator[http.client.HTTPConnection]:
    port = ports.choose(("upload",), {})["upload"]
    # With the address of a Dagster, the service does not run one.
    environ = os.environ | {"TXN_DAGSTER_URL": "http://127.0.0.1:9"}
    with (home / "upload.log").open("wb") as log:
        command = [sys.executable, "-m", "txn_assets.cli", "upload", str(port)]
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                connection.connect()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > end:
                    message = f"the service did not start:\n{(home / 'upload.log').read_text()}"
                    raise ChildError(message) from None
                time.sleep(0.1)
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait()


def _get(connection: http.client.HTTPConnection, url: str) -> tuple[list[dict[str, int]], str]:
    connection.request("GET", url)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.HTTPStatus.OK:
        message = f"{url} answered {answer.status}: {content.decode()}"
        raise MismatchError(message)
    return json.loads(content)["rows"], answer.headers.get("Link", "")


if __name__ == "__main__":
    sys.exit(main())
