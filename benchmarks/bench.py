"""What the points share: input files, names in the stores, and the comparison of what a timed run left there.

The points are in `points/`, timing is in `measure.py`.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Helper
from benchmarks.results import Results

PEER_ROWS = 100_000
"""Maximum number of rows for slow peers; their seconds are scaled up to our row count and marked."""

STORES = ["gcs", "bigquery", "postgres"]


DISK_BYTES_A_ROW = 850
"""Disk bytes per row of the largest file: the file, its landed copy, what a run stages, and three stores on one disk.
"""
GROWTH_BYTES_A_ROW = 680
"""The same for the point `growth` alone, which keeps one file: landed 47 twice, hashed 40 twice, the object 98, tables of
PostgreSQL 167, and table and load table of BigQuery. At a hundred million rows 681 were measured, with the log."""
DISK_BYTES = 5 << 30
"""Disk bytes for the PostgreSQL log and for servers that hold no rows."""


class TooLargeError(Exception):
    """The disk is too small for the files of a size."""


class DifferenceError(Exception):
    """A store holds the wrong rows after a timed run."""


@dataclass
class Bench:
    """One benchmark: the folder of its files, rows and rounds, and the results so far.

    Attributes:
        largest: number of rows of the largest file.
        empty_run_seconds: time of a Dagster run that does nothing; 0 until `small_runs` has measured it.
    """

    home: Path
    rows: int
    rounds: int
    largest: int
    results: Results = field(default_factory=Results)
    help: Helper = field(default_factory=Helper)
    empty_run_seconds: float = 0.0
    _expected: dict[int, list[Any]] = field(default_factory=dict)

    def file(self, rows: int, *, bad_every: int = 100) -> str:
        """Return a file of `rows` rows, written on first use."""
        path = self.home / f"rows-{rows}-{bad_every}.csv"
        if not path.exists():
            self.help("benchmarks.data:write", path=str(path), rows=rows, bad_every=bad_every)
        return str(path)

    def excel_file(self, rows: int) -> str:
        """Return the same rows as a European Excel saves them, written on first use."""
        path = self.home / f"rows-{rows}-excel.csv"
        if not path.exists():
            self.help("benchmarks.data:write_as_excel", path=str(path), source=self.file(rows))
        return str(path)

    def expected(self, rows: int) -> list[Any]:
        """Return the totals of the valid rows of that file, from the bare DuckDB pass."""
        if rows not in self._expected:
            self._expected[rows] = self.help("benchmarks.peers.duckdb_pass:totals", path=self.file(rows))
        return self._expected[rows]

    def rounds_for(self, rows: int) -> int:
        """Return how often to measure a file of `rows` rows: once above a million, where a run takes minutes."""
        return self.rounds if rows <= 1_000_000 else 1

    @contextmanager
    def names(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield fresh names in the stores for one timed run: the configuration's path, and the PostgreSQL connection."""
        config = str(self.home / "config.yaml")
        made = self.help("benchmarks.stores:make", config=config)
        try:
            yield config, made
        finally:
            self.help("benchmarks.stores:drop", config=config)

    def check(self, config: str, expected: list[Any], stores: list[str], **keywords: Any) -> None:
        """Compare what each store holds with what it should hold.

        Raises:
            DifferenceError: a store holds something else.
        """
        found = self.help("benchmarks.stores:totals", config=config, stores=stores, **keywords)
        for store, totals in found.items():
            compare(store, totals, expected)


def compare(where: str, found: list[Any], expected: list[Any]) -> None:
    """Compare the totals found in a store or a file with the expected ones.

    Raises:
        DifferenceError: they differ.
    """
    if found != expected:
        msg = f"{where} holds {found}, not {expected} (rows, price, quantity, fingerprint)"
        raise DifferenceError(msg)


@contextmanager
def open_bench(rows: int, *, rounds: int, bytes_a_row: int = DISK_BYTES_A_ROW) -> Iterator[Bench]:
    """Yield a benchmark of `rows` rows with servers of its own, which are removed with their data at the end.

    No run finds a database that another one filled.

    Raises:
        TooLargeError: the disk is too small.
    """
    # Stop the servers on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    top = Path(os.environ.get("TXN_HOME") or ".local").absolute()
    os.environ.pop("BUCKET_NAME", None)
    top.mkdir(parents=True, exist_ok=True)
    # At 1m, measure growth one size further: a flat curve needs two sizes.
    largest = max(rows, min(10 * rows, 10_000_000))
    needed, free = largest * bytes_a_row + DISK_BYTES, shutil.disk_usage(top).free
    if free < needed:
        message = f"{rows:,} rows need {needed >> 30} GiB below {top}, where {free >> 30} GiB are free"
        raise TooLargeError(message)
    home, before = Path(tempfile.mkdtemp(prefix="bench-", dir=top)), os.environ.get("TXN_HOME")
    os.environ["TXN_HOME"] = str(home)
    bench = Bench(home, rows=rows, rounds=rounds, largest=largest)
    try:
        yield bench
    finally:
        bench.help.close()
        subprocess.run([sys.executable, "-m", "txn_assets.local", "down"], check=False)
        shutil.rmtree(home, ignore_errors=True)
        os.environ["TXN_HOME"] = before or str(top)
