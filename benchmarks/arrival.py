"""Measure how files arrive: `python -m benchmarks.arrival tick|thousand|latency|writers`.

Cases, their bounds and exit codes only. The exit code is 1 if the wrong files were found or a row is missing. A missed
bound is not a failure; it shows in the table. Import nothing large in this process; see `measure.py`. Run the first two with
`make bench-arrival`, the third with `make bench-latency`, and the fourth with `make bench-writers`.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from benchmarks.measure import ChildError, Measurement, function

OBJECTS = 100_000
NEW = 10
SPREADS = {"landed in a year": 300.0, "landed within the hour": 0.03}
"""Seconds between two objects. The cursor names each object of the last hour, so the second case is its worst case."""

TICK_SECONDS = 5.0
TICK_REQUESTS = OBJECTS // 1000
TICK_MB = 300

THOUSAND_SECONDS = 120.0
LATENCY_SECONDS = 8.0

AT_ONCE = (1, 2, 4)
"""How many runs load large files at a time, in turn."""


class MismatchError(Exception):
    """Something other than the measured case happened."""


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arrival", description="Measures how files arrive.")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("tick", help="one evaluation of the sensor").set_defaults(run=lambda _: tick())
    many = commands.add_parser("thousand", help="many small files, dropped at once")
    many.add_argument("--files", type=int, default=1000)
    many.add_argument("--rows", type=int, default=1000, help="of each file")
    many.set_defaults(run=lambda given: thousand(given.files, given.rows))
    late = commands.add_parser("latency", help="seconds from landing to being readable in each store")
    late.add_argument("--alone", type=int, default=20, help="files that land alone")
    late.add_argument("--stream", type=int, default=60, help="files that land one a second")
    late.add_argument("--rows", type=int, default=1000, help="of each file")
    late.set_defaults(run=lambda given: latency(given.alone, given.stream, given.rows))
    several = commands.add_parser("writers", help="large files that land at once, with 1, 2 and 4 runs at a time")
    several.add_argument("--files", type=int, default=20)
    several.add_argument("--rows", type=int, default=1_000_000, help="of each file; from 200,000 on it has its own run")
    several.add_argument("--runs", type=int, nargs="+", default=AT_ONCE, help="how many runs at a time, in turn")
    several.set_defaults(run=lambda given: writers(given.files, given.rows, given.runs))
    arguments = parser.parse_args()
    # Stop the servers on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        arguments.run(arguments)
    except (ChildError, MismatchError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def tick() -> None:
    """Evaluate the sensor once over many objects, in a separate process."""
    say(
        f"One tick of new_landed_files: {OBJECTS:,} objects, {NEW} of them new, listed over HTTP from a stand-in for GCS.\n"
        "(The embedded GCS is not asked: it walks its whole bucket for each page of a listing, which GCS does not.)\n"
    )
    say(f"{'objects':<24}{'seconds':>18}{'list requests':>20}{'peak memory, MB':>22}")
    for spread, seconds_apart in SPREADS.items():
        measured, requests = _tick(seconds_apart)
        megabytes = measured.peak_mib * 1.048576
        say(
            f"{spread:<24}{beside(f'{measured.seconds:.2f}', f'{TICK_SECONDS:.0f}'):>18}"
            f"{beside(str(requests), str(TICK_REQUESTS)):>20}{beside(f'{megabytes:.0f}', str(TICK_MB)):>22}"
        )


def _tick(seconds_apart: float) -> tuple[Measurement, int]:
    with _fake_gcs(seconds_apart) as url, tempfile.TemporaryDirectory() as folder:
        cursor = str(Path(folder) / "cursor")
        new = function("benchmarks.ticks:prepare", url=url, new=NEW, cursor=cursor).result
        before = _requests(url)
        measured = function("benchmarks.ticks:tick", url=url, cursor=cursor)
        requests = _requests(url) - before
    if measured.result != new:
        message = f"the sensor found {measured.result}, not {new}"
        raise MismatchError(message)
    return measured, requests


def thousand(files: int, rows: int) -> None:
    """Drop many small files at once and have the daemon load them into an otherwise empty local stack."""
    from benchmarks.thousand import load  # noqa: PLC0415 - keeps the process of the tick small
    from txn_assets_tests.daemon import DaemonError  # noqa: PLC0415 - keeps the process of the tick small

    with fresh_stack() as home:
        try:
            loaded = load(home, files=files, rows=rows)
        except DaemonError as error:
            raise MismatchError(str(error)) from error
    say(
        f"{files:,} files of {rows:,} rows, dropped at once, runs {loaded.runs}: "
        f"{beside(f'{loaded.seconds:.0f}', f'{THOUSAND_SECONDS:.0f}')} seconds "
        "from the first tick to the last row of the three ledgers."
    )
    say("rows: " + ", ".join(f"{store} {count:,}" for store, count in loaded.rows.items()))
    if set(loaded.rows.values()) != {files * rows}:
        message = f"not every store holds {files * rows:,} rows"
        raise MismatchError(message)


def latency(alone: int, stream: int, rows: int) -> None:
    """Land files alone and in a stream, and show how long each takes to each store."""
    from benchmarks.latency import measure  # noqa: PLC0415 - keeps the process of the tick small
    from txn_assets.config import load_config  # noqa: PLC0415 - as above
    from txn_assets_tests.daemon import DaemonError  # noqa: PLC0415 - as above

    with fresh_stack() as home:
        try:
            results = measure(home, alone=alone, stream=stream, rows=rows)
        except DaemonError as error:
            raise MismatchError(str(error)) from error
        every = load_config().orchestration.sensor_seconds
    say(f"Seconds from landed to readable, files of {rows:,} rows, a look every {every} s; median and 95th percentile:")
    for what, latencies in zip(
        (f"{alone} files, one at a time", f"{stream} files, one a second"), results, strict=True
    ):
        shown = ", ".join(f"{store} {median:.1f} / {late:.1f}" for store, (median, late) in latencies.items())
        say(f"{what}: {shown}" + (f" (median <= {LATENCY_SECONDS:.0f})" if what.endswith("time") else ""))


def writers(files: int, rows: int, at_once: Sequence[int]) -> None:
    """Have the daemon load large files with several runs at a time, each number into a stack of its own."""
    from benchmarks.writers import load  # noqa: PLC0415 - keeps the process of the tick small
    from txn_assets_tests.daemon import DaemonError  # noqa: PLC0415 - as above

    say(f"{files} files of {rows:,} rows that land at once, from the first tick to the last row of the three ledgers:")
    for runs in at_once:
        with fresh_stack() as home:
            try:
                written = load(home, files=files, rows=rows, runs=runs)
            except DaemonError as error:
                raise MismatchError(str(error)) from error
        say(f"{runs} at a time: {written.seconds:.0f} s, {files * rows / written.seconds:,.0f} rows a second")
        for store, spent in written.spent.items():
            say(f"  {store:<28}" + ", ".join(f"{doing} {seconds:.1f}" for doing, seconds in spent.items()))
        if set(written.rows.values()) != {files * rows}:
            message = f"not every store holds {files * rows:,} rows: {written.rows}"
            raise MismatchError(message)


@contextmanager
def fresh_stack() -> Iterator[Path]:
    """Yield the TXN_HOME of servers that are deleted at the end."""
    top = Path(os.environ.get("TXN_HOME") or ".local").absolute()
    top.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=top))
    os.environ["TXN_HOME"] = str(home)
    try:
        yield home
    finally:
        subprocess.run([sys.executable, "-m", "txn_assets.local", "down"], check=False)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _fake_gcs(seconds_apart: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.fake_gcs", str(OBJECTS), str(seconds_apart)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.stdin.close()


def _requests(url: str) -> int:
    with urlopen(f"{url}/requests") as answer:  # noqa: S310 - our own server
        return int(json.load(answer))


def beside(measured: str, bound: str) -> str:
    """Return a measurement with its bound."""
    return f"{measured} (<= {bound})"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
