"""Run the benchmark, print the table and write docs/performance.md: `python -m benchmarks [100k|1m|10m|100m]`.

Arguments and exit codes only. The exit code is 1 if a store held the wrong rows or a process failed. A missed ratio is
not a failure; it shows in the table. See `make bench`.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.bench import DISK_BYTES_A_ROW, GROWTH_BYTES_A_ROW, DifferenceError, TooLargeError, open_bench
from benchmarks.guard import keep
from benchmarks.measure import ChildError, function
from benchmarks.points import POINTS
from benchmarks.report import table, write
from benchmarks.results import say

SIZES = {"100k": 100_000, "1m": 1_000_000, "10m": 10_000_000, "100m": 100_000_000}


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the platform against peers.")
    parser.add_argument("size", nargs="?", choices=SIZES, default="1m")
    parser.add_argument("--points", nargs="*", choices=POINTS, default=[], help="only these, in this order")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the ratios to release.json, for make bench-guard")
    arguments = parser.parse_args()
    try:
        bytes_a_row = GROWTH_BYTES_A_ROW if arguments.points == ["growth"] else DISK_BYTES_A_ROW
        with open_bench(SIZES[arguments.size], rounds=arguments.rounds, bytes_a_row=bytes_a_row) as bench:
            for name in arguments.points or POINTS:
                say(f"{name} ...")
                POINTS[name](bench)
    except TooLargeError as error:
        parser.error(str(error))
    except (ChildError, DifferenceError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(["", table(bench.results.lines), *bench.results.notes, ""]))
    if arguments.keep:
        keep(bench.results.lines)
    if not arguments.points:
        docs = Path(__file__).resolve().parent.parent / "docs"
        write(docs / "performance.md", bench.results.lines, bench.results.notes, size=arguments.size)
        dots = [[dot.who, dot.rows, dot.seconds, dot.peak_mib] for dot in bench.results.dots]
        function("benchmarks.plot:draw", dots=dots, path=str(docs / "performance.svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
