"""Measure what a refresh of the marts in PostgreSQL writes: `python -m benchmarks.refresh [--rows 1000000] [--files 20]`.

It loads files into fresh servers, and refreshes `pg_sales` and `sales_by_product` after nothing, one file, or all has
changed. docs/marts.md says why a refresh computes all rows and writes those that differ.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import psycopg
import yaml

from benchmarks.arrival import fresh_stack, say
from benchmarks.measure import ChildError, program
from txn_assets.config import load_config
from txn_assets.environment import project_root
from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.stack import ensure_up
from txn_assets.marts.engines import open_marts
from txn_assets.marts.mart import MARTS
from txn_assets.marts.postgres import PostgresMarts
from txn_assets.target import open_services

DAYS = 365


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.refresh", description="Measures refreshes of the marts."
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="transactions in the marts")
    parser.add_argument("--files", type=int, default=20, help="files that they are in")
    arguments = parser.parse_args()
    # Stop the servers on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with fresh_stack() as home:
            measure(home, arguments.rows, arguments.files)
    except ChildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def measure(home: Path, rows: int, files: int) -> None:
    """Print seconds and write-ahead log of each refresh."""
    content = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    # The runs that load the files compute no mart.
    content["transformation"] = content.get("transformation", {}) | {"models": []}
    path = home / "pipeline_config.yaml"
    path.write_text(yaml.safe_dump(content))
    os.environ["TXN_CONFIG"] = str(path)
    for n in range(files):
        _load(home, n, rows // files, price="1.50")
    config = load_config(path)
    endpoints = ensure_up(home, seed_from(config))
    with open_services(config, endpoints) as services:
        marts = open_marts(services.of(find_feed(config, FIRST_FEED)), config).postgres
        say(f"{rows:,} transactions in {files} files")
        say(f"{'':<44}{'seconds':>10}{'log, MB':>10}")
        for name in ("pg_sales", "sales_by_product"):
            _refresh(endpoints, marts, name, f"{name}, the first time")
            _refresh(endpoints, marts, name, f"{name}, all rows written again", force=True)
        # The same file in other versions: first with the same rows, then with other prices.
        for price, changed in (("1.500", "no row differs"), ("2.50", f"one file of {files} changed")):
            _load(home, 0, rows // files, price=price)
            for name in ("pg_sales", "sales_by_product"):
                _refresh(endpoints, marts, name, f"{name}, {changed}")


def _load(home: Path, number: int, rows: int, *, price: str) -> None:
    file = home / f"sales-{number}.csv"
    with file.open("w") as lines:
        lines.write("transaction_id,product,price,quantity,date\n")
        for n in range(number * rows, (number + 1) * rows):
            day = n % DAYS
            lines.write(f"T{n:09},Halal {n % 8},{price},{1 + n % 9},2023-{1 + day // 31:02}-{1 + day % 28:02}\n")
    program([sys.executable, "-m", "txn_assets.cli", "run", "--replace", "--", str(file)])


def _refresh(endpoints: Endpoints, marts: PostgresMarts, name: str, label: str, *, force: bool = False) -> None:
    with psycopg.connect(endpoints.postgres_dsn, autocommit=True) as connection:
        before = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
        assert before
        done = marts.refresh(MARTS[name], force=force)
        written = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)", before).fetchone()
        assert written
    say(f"{label:<44}{done.seconds:>10.1f}{written[0] / 1_000_000:>10.1f}")


if __name__ == "__main__":
    sys.exit(main())
