"""`make faults`: breaks loads in every way that the modules beside this one know, and prints what was lost or doubled.

Here belongs how much is tried. Documented in docs/reliability.md.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from txn_assets.config import load_config
from txn_assets.local.stack import down, ensure_up, seed_from
from txn_assets_tests.deployment import SINKS, Deployment, make_config
from txn_assets_tests.faults.bench import Content, Tally, stage
from txn_assets_tests.faults.child import Children, children
from txn_assets_tests.faults.kills import kill_sweep, kill_whole_run, race_different, race_same
from txn_assets_tests.faults.wire import sweep

LAKE, WAREHOUSE, DATABASE = SINKS


def main() -> int:
    """Runs the sweeps; 1 if a row was lost or stands twice, or a load did not come through."""
    parser = argparse.ArgumentParser(description="Breaks loads and counts what was lost or doubled.")
    parser.add_argument("--full", action="store_true", help="at least 40 instants, and every request")
    full = parser.parse_args().full
    kept = os.environ.get("TXN_TEST_HOME")
    with tempfile.TemporaryDirectory(prefix="txn-faults-") as folder:
        home = Path(kept or folder)
        config = Path(folder) / "pipeline_config.yaml"
        os.environ |= {"TXN_HOME": str(home), "TXN_TARGET": "local", "TXN_CONFIG": str(config)}
        make_config(config)
        ensure_up(home, seed_from(load_config()))
        try:
            with Deployment.open(config) as deployment, children() as kids:
                return report(run(deployment, kids, full=full))
        finally:
            if not kept:
                down(home)


def run(deployment: Deployment, kids: Children, *, full: bool) -> Iterator[Tally]:
    """All faults. The short form asks the BigQuery emulator less: a load takes it seconds."""
    small = (stage(deployment, "small.csv", 400, seed=1), stage(deployment, "small.csv", 300, seed=2))
    large = small
    if full:
        large = (stage(deployment, "large.csv", 20_000, seed=3), stage(deployment, "large.csv", 15_000, seed=4))
    many = [stage(deployment, f"many-{n}.csv", 200 + n, seed=10 + n) for n in range(8)]
    instants = {LAKE: 40, WAREHOUSE: 40 if full else 12, DATABASE: 40}
    steps = dict.fromkeys(SINKS, 1) if full else {LAKE: 1, WAREHOUSE: 4, DATABASE: 4}
    for store in SINKS:
        yield kill_sweep(deployment, kids, store, large, instants=instants[store])
    yield kill_whole_run(deployment, kids, _whole(deployment), instants=40 if full else 6)
    for store in SINKS:
        yield race_same(deployment, kids, store, small, rounds=10 if full else 1)
        yield race_different(deployment, kids, store, many)
    for store in SINKS:
        yield from sweep(deployment, store, _fresh(small), step=steps[store], time_out_once=not full)


def report(tallies: Iterator[Tally]) -> int:
    """Prints the table as it grows, then what did not survive and why."""
    started = time.monotonic()
    sys.stdout.write(
        f"{'store':<26} {'fault':<20} {'tries':>6} {'survived':>9} "
        f"{'rows lost':>10} {'rows twice':>11} {'slowest':>8}\n"
    )
    done = []
    for tally in tallies:
        done.append(tally)
        sys.stdout.write(
            f"{tally.store:<26} {tally.fault:<20} {tally.tries:>6} {tally.survived:>9} {tally.lost:>10} "
            f"{tally.twice:>11} {f'{tally.slowest:.1f}s' if tally.slowest else '':>8}\n"
        )
        sys.stdout.flush()
    for tally in done:
        sys.stdout.writelines(f"{tally.store}, {tally.fault}: {note}\n" for note in tally.notes[:10])
    sys.stdout.write(f"{sum(tally.tries for tally in done)} tries in {time.monotonic() - started:.0f} s\n")
    return int(any(tally.lost or tally.twice or tally.survived < tally.tries for tally in done))


def _fresh(versions: tuple[Content, Content]) -> tuple[Content, Content]:
    """The versions, newer than any that the sweeps before made."""
    first, second = (content.at(content.file.version.generation + 1_000_000) for content in versions)
    return first, second


def _whole(deployment: Deployment) -> tuple[tuple[Content, bytes], tuple[Content, bytes]]:
    first = stage(deployment, "whole.csv", 2000, seed=30)
    name = f"{deployment.config.data_lake.landing}/whole.csv"
    first_bytes = deployment.bucket.blob(name).download_as_bytes()
    second = stage(deployment, "whole.csv", 1500, seed=31)
    return (first, first_bytes), (second, deployment.bucket.blob(name).download_as_bytes())


if __name__ == "__main__":
    sys.exit(main())
