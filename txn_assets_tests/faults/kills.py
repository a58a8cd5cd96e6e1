"""Kill sweeps: the commands that people type, killed at moments spread over their run and started again.

Each kill hits a load that replaces rows, because two contents of a file take turns. `bench.py` counts what the stores
hold.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from google.cloud import storage

from txn_assets.defs.partitions import UNFINISHED
from txn_assets.environment import project_root
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets_tests.daemon import Daemon, DaemonError, dagster_dev
from txn_assets_tests.deployment import SINKS, Deployment
from txn_assets_tests.faults.bench import Content, Difference, Tally, difference, leftovers

HUNG_SECONDS = 120.0
"""Timeout after which a run counts as hung. A run takes ten seconds on two busy cores."""

ARRIVAL_SECONDS = 240.0
"""The same for a file that Dagster loads by itself: a start, a sensor tick, and the same run twice."""

REPORT_SECONDS = 30.0
"""Timeout within which a killed run must show as failed."""

START_SECONDS = 90.0
"""Time that Dagster gets to start before the other timeouts begin."""


@dataclass(frozen=True)
class Version:
    """A content of a file, as bytes and as the rows that a store must hold of it."""

    content: Content
    data: bytes

    @property
    def name(self) -> str:
        return self.content.file.version.name

    def landed(self, deployment: Deployment) -> Content:
        """Return the content, at its generation in the landing zone."""
        blob = self.object_in(deployment)
        assert blob
        return self.content.at(int(blob.generation))

    def object_in(self, deployment: Deployment) -> storage.Blob | None:
        """Return what has landed under the name of the file."""
        return deployment.bucket.get_blob(f"{deployment.feed(self.content.feed).landing}/{self.name}")


type Typed = tuple[list[str], dict[str, str]]
"""Arguments, and additions to the environment."""

type Command = Callable[[Version], Typed]
"""What a person types to load a version."""


@contextmanager
def make_run() -> Iterator[Command]:
    """Provide the command `make run FILE=...`."""
    with tempfile.TemporaryDirectory() as folder:

        def command(version: Version) -> Typed:
            file = Path(folder) / version.name
            file.write_bytes(version.data)
            of_feed = [f"FEED={version.content.feed}"] if version.content.feed != FIRST_FEED else []
            return ["make", "--no-print-directory", "run", f"FILE={file}", *of_feed], {}

        yield command


@contextmanager
def asset_materialize(deployment: Deployment) -> Iterator[Command]:
    """Provide the command `dagster asset materialize`, on an empty DAGSTER_HOME."""
    with tempfile.TemporaryDirectory() as dagster_home:
        dagster = str(Path(sys.executable).with_name("dagster"))

        def command(version: Version) -> Typed:
            landed, feed = version.object_in(deployment), version.content.feed
            if landed is None or landed.download_as_bytes() != version.data:
                deployment.land(version.name, version.data, feed=feed)
            select = "*" if feed == FIRST_FEED else f'key:"{feed}/raw_csv"+'
            arguments = ["-m", "txn_assets.definitions", "--select", select, "--partition", version.name]
            environment = {"DAGSTER_HOME": dagster_home, "DAGSTER_DISABLE_TELEMETRY": "yes"}
            return [dagster, "asset", "materialize", *arguments], environment

        yield command


def measure(command: Command, versions: tuple[Version, Version]) -> float:
    """Run a command to its end for each version; return how long the second took, which found the servers warm."""
    spent = 0.0
    for version in versions:
        started = time.monotonic()
        with running(command(version)) as process:
            assert process.wait(HUNG_SECONDS) == 0
        spent = time.monotonic() - started
    return spent


@dataclass(frozen=True)
class Kills:
    """The kill sweeps of one file in two versions. `draw` spreads the moments."""

    deployment: Deployment
    versions: tuple[Version, Version]
    draw: random.Random

    def of_command(self, name: str, command: Command, kills: int) -> Tally:
        """Kill the process group of a command `kills` times, and run the same command again each time."""
        tally = Tally(name, "SIGKILL")
        for instant, before, after in self._tries(measure(command, self.versions), kills):
            with running(command(after)):
                time.sleep(instant)
            halves = self._differences(before, after.content)
            started = time.monotonic()
            note, hung = "", False
            with running(command(after)) as process:
                try:
                    if process.wait(HUNG_SECONDS):
                        note = f"the second run ended with {process.returncode}"
                except subprocess.TimeoutExpired:
                    hung = True
            seconds = time.monotonic() - started
            tally.add(self._total(halves, after), self._left(after), note, seconds=seconds, hung=hung)
        return tally

    def of_daemon(self, instance: dg.DagsterInstance, home: Path, kills: int) -> Tally:
        """Kill runs of `make dev`, alternately with all of Dagster and alone; nothing loads the file again by hand."""
        # Duration of a run once it has started, taken from the last one of `make run`.
        (last,) = instance.get_run_records(limit=1)
        assert last.start_time
        assert last.end_time
        spent = last.end_time - last.start_time
        tally = Tally("make dev", "SIGKILL of its runs")
        for number, (instant, before, after) in enumerate(self._tries(spent, kills)):
            started = time.monotonic()
            note, hung = "", False
            try:
                with dagster_dev(home) as daemon:
                    generation = self.deployment.land(after.name, after.data)
                    landed = _Landed(self.deployment, instance, after, generation)
                    started = _kill_run(landed, home, daemon, instant, together=number % 2 == 0)
            except DaemonError as error:
                note, hung = str(error), True
            seconds = time.monotonic() - started
            halves = self._differences(before, after.content)
            tally.add(self._total(halves, after), self._left(after), note, seconds=seconds, hung=hung)
        return tally

    def _tries(self, spent: float, kills: int) -> Iterator[tuple[float, Content, Version]]:
        """Yield when to kill, what the stores hold before, and what to load."""
        for number in range(kills):
            before, after = self.versions[(number + 1) % 2], self.versions[number % 2]
            yield spent * (number + self.draw.random()) / kills, before.landed(self.deployment), after

    def _differences(self, *allowed: Content) -> list[Difference]:
        return [difference(self.deployment, store, *allowed) for store in SINKS]

    def _total(self, halves: list[Difference], after: Version) -> Difference:
        found = [*halves, *self._differences(after.content)]
        return Difference(sum(one.lost for one in found), sum(one.twice for one in found))

    def _left(self, after: Version) -> list[str]:
        content = after.landed(self.deployment)
        return [sentence for store in SINKS for sentence in leftovers(self.deployment, store, content)]


@dataclass
class _Landed:
    """A version that `make dev` has to load."""

    deployment: Deployment
    instance: dg.DagsterInstance
    version: Version
    generation: int
    run_id: str = ""
    pid: int = 0

    def is_started(self) -> bool:
        """Return whether a run has a process, and remember which."""
        for run in self.instance.get_runs(dg.RunsFilter(tags={"txn_assets/generation": str(self.generation)})):
            for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                if started := re.match(r"Started process for run \(pid: (\d+)\)", entry.message):
                    self.run_id, self.pid = run.run_id, int(started[1])
        return self.pid != 0

    def has_ended(self) -> bool:
        """Return whether the run that was found is over."""
        run = self.instance.get_run_by_id(self.run_id)
        return run is not None and run.is_finished

    def is_loaded(self) -> bool:
        """Return whether all stores hold the version and no run is in progress."""
        busy = self.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED))
        return not busy and not any(difference(self.deployment, s, self.version.content).size for s in SINKS)


def _kill_run(landed: _Landed, home: Path, daemon: Daemon, instant: float, *, together: bool) -> float:
    """Kill the run of a landed version after `instant` seconds, and wait until the version is loaded.

    Return when it was killed.

    Raises:
        DaemonError: the killed run does not show as failed, or the version is not loaded.
    """
    daemon.wait_until(landed.is_started, seconds=ARRIVAL_SECONDS)
    time.sleep(instant)
    killed = time.monotonic()
    if together:
        daemon.kill()
        with dagster_dev(home) as another:
            another.wait_until(landed.has_ended, seconds=START_SECONDS + REPORT_SECONDS)
            another.wait_until(landed.is_loaded, seconds=ARRIVAL_SECONDS)
    else:
        with suppress(ProcessLookupError):
            os.kill(landed.pid, signal.SIGKILL)
        daemon.wait_until(landed.has_ended, seconds=REPORT_SECONDS)
        daemon.wait_until(landed.is_loaded, seconds=ARRIVAL_SECONDS)
    return killed


@contextmanager
def running(command: Typed) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the command in its own process group and kill that at the end."""
    arguments, environ = command
    inherited = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    process = subprocess.Popen(
        arguments,
        env=inherited | environ,
        cwd=project_root(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
