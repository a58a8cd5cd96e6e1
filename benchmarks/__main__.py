"""Run the benchmark, print the table and write docs/performance.md: `python -m benchmarks [100k|1m|10m|100m]`.

Arguments and exit codes only. The exit code is 1 if a store held the wrong rows or a process failed. A missed ratio is
not a failure; it shows in the table. See `make bench`.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bench import Bench, DifferenceError
from benchmarks.measure import ChildError, function
from benchmarks.points import POINTS
from benchmarks.report import table, write
from benchmarks.results import say

SIZES = {"100k": 100_000, "1m": 1_000_000, "10m": 10_000_000, "100m": 100_000_000}

DISK_BYTES_A_ROW = 700
"""Disk bytes per row of the largest file: the file, its landed copy, what a run stages, and three stores on one disk.
"""
DISK_BYTES = 7 << 30
"""Disk bytes for the PostgreSQL log and for servers that hold no rows."""


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the platform against peers.")
    parser.add_argument("size", nargs="?", choices=SIZES, default="1m")
    parser.add_argument("--points", nargs="*", choices=POINTS, default=[], help="only these, in this order")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    # Stop the servers on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows = SIZES[arguments.size]
    top = Path(os.environ.get("TXN_HOME") or ".local").absolute()
    os.environ.pop("BUCKET_NAME", None)
    top.mkdir(parents=True, exist_ok=True)
    # At 1m, measure growth one size further: a flat curve needs two sizes.
    largest = max(rows, min(10 * rows, 10_000_000))
    needed, free = largest * DISK_BYTES_A_ROW + DISK_BYTES, shutil.disk_usage(top).free
    if free < needed:
        parser.error(f"{arguments.size} needs {needed >> 30} GiB below {top}, where {free >> 30} GiB are free")
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=top))
    # Use fresh servers and delete them with their data at the end, so no run finds a database that another run filled.
    os.environ["TXN_HOME"] = str(home)
    bench = Bench(home, rows=rows, rounds=arguments.rounds, largest=largest)
    try:
        for name in arguments.points or POINTS:
            say(f"{name} ...")
            POINTS[name](bench)
    except (ChildError, DifferenceError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        bench.help.close()
        subprocess.run([sys.executable, "-m", "txn_assets.local", "down"], check=False)
        shutil.rmtree(home, ignore_errors=True)
    sys.stdout.write(f"\n{table(bench.results.lines)}\n")
    if not arguments.points:
        docs = Path(__file__).resolve().parent.parent / "docs"
        write(docs / "performance.md", bench.results.lines, bench.results.notes, size=arguments.size)
        dots = [[dot.who, dot.rows, dot.seconds, dot.peak_mib] for dot in bench.results.dots]
        function("benchmarks.plot:draw", dots=dots, path=str(docs / "performance.svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
