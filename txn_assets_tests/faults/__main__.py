"""`make faults`: break loads with the faults of this package, and print what was lost or duplicated and what hung.

This module sets the number of attempts. See docs/reliability.md.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from txn_assets.config import load_config
from txn_assets.defs.dagster_home import prepare
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import down, ensure_up
from txn_assets_tests.deployment import SINKS, Deployment, make_config
from txn_assets_tests.faults import erasures, uploads
from txn_assets_tests.faults.bench import Content, Tally, stage
from txn_assets_tests.faults.child import children
from txn_assets_tests.faults.kills import Kills, Version, asset_materialize, make_run
from txn_assets_tests.faults.races import race_different, race_same
from txn_assets_tests.faults.wire import sweep

LAKE, WAREHOUSE, DATABASE = SINKS
REFUNDS = "refunds"


def main() -> int:
    """Run the sweeps; return 1 if a row was lost or duplicated, a run hung, or a load failed."""
    parser = argparse.ArgumentParser(description="Breaks loads and counts what was lost or duplicated.")
    parser.add_argument("--full", action="store_true", help="40 instants a command, and every request")
    parser.add_argument("--seed", type=int, default=1, help="draws other instants")
    parser.add_argument(
        "--only", choices=["kills", "races", "wire", "uploads", "erasures"], help="leave the other parts out"
    )
    arguments = parser.parse_args()
    kept = os.environ.get("TXN_TEST_HOME")
    with tempfile.TemporaryDirectory(prefix="txn-faults-") as folder:
        home = Path(kept or folder)
        config = Path(folder) / "pipeline_config.yaml"
        os.environ |= {"TXN_HOME": str(home), "TXN_TARGET": "local", "TXN_CONFIG": str(config)}
        make_config(config)
        ensure_up(home, seed_from(load_config()))
        try:
            with Deployment.open(config) as deployment:
                return report(run(deployment, home, arguments))
        finally:
            if not kept:
                down(home)


def run(deployment: Deployment, home: Path, arguments: argparse.Namespace) -> Iterator[Tally]:
    """Run all faults, or the requested part of them."""
    full, only = arguments.full, arguments.only
    draw = random.Random(arguments.seed)
    if only in (None, "kills"):
        yield from kills(deployment, home, draw, full=full)
    if only in (None, "erasures"):
        yield erasures.kill_erasures(deployment, draw, tries=30 if full else 3)
        yield erasures.kill_erasures_during_loads(deployment, draw, tries=15 if full else 1)
    if only in (None, "uploads"):
        deployment.configure(uploads.SETTINGS)
        yield uploads.kill_uploads(deployment, draw, tries=20 if full else 5)
        yield uploads.race_uploads(deployment, count=200 if full else 30)
    # The kills above are those of the configuration that the project ships, in which `--select '*'` has one feed.
    deployment.configure({"feeds": {REFUNDS: {}}})
    if only in (None, "kills"):
        yield from kills_of_refunds(deployment, draw, full=full)
    small = (stage(deployment, "small.csv", 400, seed=1), stage(deployment, "small.csv", 300, seed=2))
    if only in (None, "races"):
        # Files of both feeds have the same names.
        many = [
            stage(deployment, f"many-{n // 2}.csv", 200 + n, seed=10 + n, feed=(FIRST_FEED, REFUNDS)[n % 2])
            for n in range(8)
        ]
        refunds = (
            stage(deployment, "small.csv", 400, seed=1, feed=REFUNDS),
            stage(deployment, "small.csv", 300, seed=2, feed=REFUNDS),
        )
        with children() as kids:
            for store in SINKS:
                yield race_same(deployment, kids, store, small, rounds=10 if full else 1)
                if full or store == DATABASE:
                    yield race_same(deployment, kids, store, refunds, rounds=10 if full else 1)
                yield race_different(deployment, kids, store, many)
    if only in (None, "wire"):
        # The short form sends fewer requests to the BigQuery emulator, because a load there takes seconds.
        steps = dict.fromkeys(SINKS, 1) if full else {LAKE: 1, WAREHOUSE: 12, DATABASE: 4}
        for store in SINKS:
            yield from sweep(deployment, store, _fresh(small), step=steps[store], time_out_once=not full)


def kills(deployment: Deployment, home: Path, draw: random.Random, *, full: bool) -> Iterator[Tally]:
    """Kill each command that loads a file."""
    versions = (
        _version(deployment, "killed.csv", 2000, seed=30, rejected=7),
        _version(deployment, "killed.csv", 1500, seed=31),
    )
    of_file = Kills(deployment, versions, draw)
    with make_run() as command:
        yield of_file.of_command("make run", command, 40 if full else 2)
    with dg.DagsterInstance.from_config(str(prepare(home, deployment.endpoints))) as instance:
        yield of_file.of_daemon(instance, home, 20 if full else 2)
    with asset_materialize(deployment) as command:
        yield of_file.of_command("dagster asset materialize", command, 40 if full else 1)


def kills_of_refunds(deployment: Deployment, draw: random.Random, *, full: bool) -> Iterator[Tally]:
    """Kill the commands that load a file of the second feed."""
    versions = (
        _version(deployment, "killed.csv", 2000, seed=32, feed=REFUNDS),
        _version(deployment, "killed.csv", 1500, seed=33, feed=REFUNDS),
    )
    of_file = Kills(deployment, versions, draw)
    with make_run() as command:
        yield of_file.of_command("make run FEED=refunds", command, 20 if full else 1)
    if full:
        with asset_materialize(deployment) as command:
            yield of_file.of_command("asset materialize refunds", command, 20)


def report(tallies: Iterator[Tally]) -> int:
    """Print the table as it grows, then each failure with its reason."""
    started = time.monotonic()
    sys.stdout.write(
        f"{'store':<26} {'fault':<20} {'tries':>6} {'survived':>9} "
        f"{'rows lost':>10} {'rows twice':>11} {'hung':>5} {'slowest':>8}\n"
    )
    done = []
    for tally in tallies:
        done.append(tally)
        sys.stdout.write(
            f"{tally.store:<26} {tally.fault:<20} {tally.tries:>6} {tally.survived:>9} {tally.lost:>10} "
            f"{tally.twice:>11} {tally.hung:>5} {f'{tally.slowest:.1f}s' if tally.slowest else '':>8}\n"
        )
        sys.stdout.flush()
    for tally in done:
        sys.stdout.writelines(f"{tally.store}, {tally.fault}: {note}\n" for note in tally.notes[:10])
    tries, lost, twice, hung = (sum(getattr(t, name) for t in done) for name in ("tries", "lost", "twice", "hung"))
    seconds = time.monotonic() - started
    sys.stdout.write(f"{tries} tries in {seconds:.0f} s: {lost} lost, {twice} twice, {hung} hung\n")
    # A fault that was never injected proves nothing.
    idle = [tally for tally in done if not tally.tries]
    sys.stdout.writelines(f"{tally.store}, {tally.fault}: never happened\n" for tally in idle)
    broken = any(tally.lost or tally.twice or tally.hung or tally.survived < tally.tries for tally in done)
    return int(bool(idle) or broken)


def _fresh(versions: tuple[Content, Content]) -> tuple[Content, Content]:
    """Return the versions, newer than those of earlier sweeps."""
    first, second = (content.at(content.file.version.generation + 1_000_000) for content in versions)
    return first, second


def _version(  # noqa: PLR0913 - see `stage`
    deployment: Deployment, name: str, rows: int, *, seed: int, feed: str = FIRST_FEED, rejected: int = 0
) -> Version:
    content = stage(deployment, name, rows, seed=seed, feed=feed, rejected=rejected)
    return Version(content, deployment.bucket.blob(f"{deployment.feed(feed).landing}/{name}").download_as_bytes())


if __name__ == "__main__":
    sys.exit(main())
