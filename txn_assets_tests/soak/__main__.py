"""`make soak`: files come and go while `dagster dev` is killed and restarted; at the end the stores are compared.

This module has the schedule, the kills and the table; `landing.py` creates the files and `outcome.py` compares. At the
end the daily sweep runs once, by its own schedule, and finds what killed runs left undone.
"""

import argparse
import datetime as dt
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from txn_assets.config import load_config
from txn_assets.defs.dagster_home import prepare
from txn_assets.defs.partitions import UNFINISHED
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import down, ensure_up
from txn_assets_tests.daemon import DaemonError, dagster_dev
from txn_assets_tests.deployment import Deployment, make_config
from txn_assets_tests.soak.landing import Landing
from txn_assets_tests.soak.outcome import Runs, clear_text, compare, waiting

PAUSE_SECONDS = 4.0
"""Average seconds between two events: one machine loads about that many single files."""

IDLE_SECONDS = 90.0
"""Seconds without a run after which nothing more is expected: enough for a start and two sensor ticks."""

SWEEP_SECONDS = 180
"""Seconds between starting Dagster and the sweep."""

END_SECONDS = 3600.0
"""Timeout for runs to end after the last event."""


@dataclass
class Soak:
    """A soak in progress."""

    home: Path
    landing: Landing
    instance: dg.DagsterInstance
    draw: random.Random
    kills: int = 0
    begun: float = field(default_factory=time.monotonic)

    def run(self, seconds: float, kills: int) -> set[str]:
        """Let files come and go for `seconds` and kill all of Dagster `kills` times; then wait for all loads.

        Return the names whose newest version is still missing from a ledger.
        """
        part = seconds / kills
        for number in range(kills):
            with dagster_dev(self.home) as daemon:
                self._let_arrive(until=part * (number + self.draw.random()))
                # A kill is most useful while a run is in progress.
                self._let_arrive(until=part * (number + 1), unless=self._is_loading)
                daemon.kill()
            self.kills += 1
            self._say("killed")
        with dagster_dev(self.home):
            self._let_arrive(until=seconds)
        # At least one run comes after the last kill and cleans up after it.
        self.landing.land("last.csv")
        self._say("nothing more arrives")
        self._let_end(time.monotonic())
        self._say("the runs that the sensor requested have ended")
        if self._waiting():
            at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=SWEEP_SECONDS)
            self.landing.deployment.configure({"orchestration": {"schedule": f"{at.minute} {at.hour} * * *"}})
            self._let_end(time.monotonic() + SWEEP_SECONDS)
            self._say("the runs that the sweep requested have ended")
        return self._waiting()

    def _let_end(self, begin: float) -> None:
        """Run Dagster until everything is loaded, or until no run is left and none starts after `begin`."""
        busy = begin

        def is_over() -> bool:
            nonlocal busy
            if self.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)):
                busy = max(busy, time.monotonic())
                return False
            return not self._waiting() or time.monotonic() > busy + IDLE_SECONDS

        with dagster_dev(self.home) as daemon:
            try:
                daemon.wait_until(is_over, seconds=END_SECONDS)
            except DaemonError as error:
                sys.stderr.write(f"{error}\n")

    def _waiting(self) -> set[str]:
        return waiting(self.landing.deployment, self.landing.newest())

    def _is_loading(self) -> bool:
        return self.instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])) > 0

    def _let_arrive(self, *, until: float, unless: Callable[[], bool] = lambda: False) -> None:
        """Let files arrive until `until` seconds have passed since the beginning."""
        while (left := self.begun + until - time.monotonic()) > 0 and not unless():
            time.sleep(min(left, self.draw.expovariate(1 / PAUSE_SECONDS)))
            self.landing.act()

    def _say(self, text: str) -> None:
        files, waits = len(self.landing.present), len(self._waiting())
        sys.stdout.write(f"{time.monotonic() - self.begun:7.0f} s  {text}; of {files} files {waits} wait\n")
        sys.stdout.flush()


def main() -> int:
    """Run the command line; return 1 if a row was lost or duplicated, a file was not loaded, or clear text is left."""
    parser = argparse.ArgumentParser(prog="python -m txn_assets_tests.soak", description="Kills Dagster for minutes.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="draws the same events again")
    arguments = parser.parse_args()
    # Stop Dagster and the servers on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdout.write(f"seed {arguments.seed}\n")
    kept = os.environ.get("TXN_TEST_HOME")
    with tempfile.TemporaryDirectory(prefix="txn-soak-") as folder:
        home = Path(kept or folder)
        config = Path(folder) / "pipeline_config.yaml"
        os.environ |= {"TXN_HOME": str(home), "TXN_TARGET": "local", "TXN_CONFIG": str(config)}
        make_config(config)
        endpoints = ensure_up(home, seed_from(load_config()))
        try:
            with (
                Deployment.open(config) as deployment,
                dg.DagsterInstance.from_config(str(prepare(home, endpoints))) as instance,
            ):
                draw = random.Random(arguments.seed)
                soak = Soak(home, Landing(deployment, draw), instance, draw)
                # This file lands with the local stack and is not part of the soak.
                deployment.bucket.blob(f"{deployment.config.data_lake.landing}/transactions.csv").delete()
                return report(soak, soak.run(60 * arguments.minutes, arguments.kills))
        finally:
            if not kept:
                down(home)


def report(soak: Soak, waits: set[str]) -> int:
    """Compare the stores and print the table."""
    landing, runs, left = soak.landing, Runs.of(soak.instance), clear_text(soak.home)
    found = compare(landing.deployment, landing)
    lost, twice = sum(one.lost for one in found.values()), sum(one.twice for one in found.values())
    expected = sum(landing.versions[name][generation].total() for name, generation in landing.newest().items())
    table = {
        "files": len(landing.versions),
        "versions landed": sum(map(len, landing.versions.values())),
        "overwritten": landing.overwritten,
        "deleted": landing.deleted,
        "kills": soak.kills,
        "runs started": runs.started,
        "runs succeeded": runs.succeeded,
        "runs failed": runs.failed,
        "of them killed": runs.killed,
        "rows that must be in each store": expected,
        **{f"rows lost, {store}": one.lost for store, one in found.items()},
        **{f"rows twice, {store}": one.twice for store, one in found.items()},
        "rows lost": lost,
        "rows twice": twice,
        "files not loaded": len(waits),
        "files of clear text left": len(left),
        "seconds": round(time.monotonic() - soak.begun),
    }
    sys.stdout.writelines(f"{name:<44} {count:>10,}\n" for name, count in table.items())
    sys.stdout.writelines(f"not loaded: {name}\n" for name in sorted(waits))
    sys.stdout.writelines(f"clear text: {path}\n" for path in left)
    return int(bool(lost or twice or waits or left))


if __name__ == "__main__":
    sys.exit(main())
