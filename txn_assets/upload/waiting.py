"""Wait for the loads of many clients with one poll.

The poll asks Dagster about all runs at once, and PostgreSQL's ledger about all files at once. Both are cheap. Only when
they say that a load has ended are all ledgers read, because each query of BigQuery's costs money.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from anyio import to_thread

from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import FEW_FILES
from txn_assets.files.file_status import Facts, FileStatus, RunState, judge
from txn_assets.files.ledger import FileVersion
from txn_assets.runs.dagster_client import DagsterError, find_dagster
from txn_assets.stores.file_status import read_statuses
from txn_assets.stores.registry import STORES
from txn_assets.stores.services import AllServices
from txn_assets.upload.requests import request_load

POLL_SECONDS = 0.5

LOOK_SECONDS = 3.0
"""Seconds between two full looks at a file whose load may have ended, and before the first without any sign of it."""

LOGGER = logging.getLogger("txn_assets.upload")


@dataclass(eq=False)
class _Wait:
    """One client that waits.

    Attributes:
        status: what is known so far.
        has_looked: whether all ledgers were read before.
        next_look: when to read them, whatever the signs say.
    """

    feed: Feed
    version: FileVersion
    status: FileStatus
    ended: "asyncio.Future[None]"
    has_looked: bool = False
    next_look: float = field(default_factory=lambda: time.monotonic() + LOOK_SECONDS)

    def is_due(self, run: RunState | None, *, is_in_postgres: bool) -> bool:
        """Return whether to read all ledgers now."""
        if run and not run.has_ended:
            return False
        has_sign = is_in_postgres or run is not None
        return (has_sign and not self.has_looked) or time.monotonic() > self.next_look

    def note_look(self) -> None:
        """Note that all ledgers are read now."""
        self.has_looked = True
        self.next_look = time.monotonic() + LOOK_SECONDS


@dataclass(eq=False)
class Waiting:
    """The clients of one process that wait for loads, all in one event loop."""

    services: AllServices

    _waits: list[_Wait] = field(default_factory=list, init=False)
    _poll: "asyncio.Task[None] | None" = field(default=None, init=False)

    async def status(self, feed: Feed, version: FileVersion, seconds: float, *, draining: asyncio.Event) -> FileStatus:
        """Return what became of `version` once its load has ended, or what is known after `seconds`.

        Return at once when the service is `draining`.
        """
        loop = asyncio.get_running_loop()
        wait = _Wait(feed, version, _unread(feed, version, None), loop.create_future())
        self._waits.append(wait)
        if self._poll is None or self._poll.done():
            self._poll = loop.create_task(self._run())
        drained = loop.create_task(draining.wait())
        try:
            await asyncio.wait((wait.ended, drained), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return wait.status
        finally:
            drained.cancel()
            self._waits.remove(wait)

    async def _run(self) -> None:
        while self._waits:
            waits = list(self._waits)
            try:
                found = await to_thread.run_sync(self._look, waits)
            except Exception as error:  # noqa: BLE001 - whatever happened, the clients keep waiting for the next look
                LOGGER.warning("Cannot look what became of %d files: %s", len(waits), type(error).__name__)
                found = []
            for wait, status in found:
                wait.status = status
                if not status.state.is_moving and not wait.ended.done():
                    wait.ended.set_result(None)
            await asyncio.sleep(POLL_SECONDS)

    def _look(self, waits: Sequence[_Wait]) -> list[tuple[_Wait, FileStatus]]:
        """Return what is known about each file now."""
        runs = _newest_runs(waits)
        in_postgres = self._in_postgres([wait for wait in waits if wait not in runs])
        due = [wait for wait in waits if wait.is_due(runs.get(wait), is_in_postgres=wait in in_postgres)]
        found = [(wait, _unread(wait.feed, wait.version, runs.get(wait))) for wait in waits if wait not in due]
        for feed in {wait.feed for wait in due}:
            of_feed = [wait for wait in due if wait.feed == feed]
            read = read_statuses(self.services.of(feed), {wait.version: runs.get(wait) for wait in of_feed})
            for wait in of_feed:
                wait.note_look()
                found.append((wait, read[wait.version] or wait.status))
        return found

    def _in_postgres(self, waits: Sequence[_Wait]) -> set[_Wait]:
        """Return those whose version is in PostgreSQL's ledger."""
        found = set()
        for feed in {wait.feed for wait in waits}:
            of_feed = [wait for wait in waits if wait.feed == feed]
            loads = self.services.of(feed).stores["postgres"].newest_loads([wait.version.name for wait in of_feed])
            generations = {name: load.file.generation for name, load in loads.items()}
            found |= {wait for wait in of_feed if generations.get(wait.version.name) == wait.version.generation}
        return found


def _newest_runs(waits: Sequence[_Wait]) -> dict[_Wait, RunState]:
    """Return the newest run of each file that has one, and request some of the missing ones.

    A request fails while Dagster starts, for example.
    """
    dagster = find_dagster()
    if dagster is None:
        return {}
    try:
        runs = zip(waits, dagster.runs_of([(wait.feed, wait.version.name) for wait in waits]), strict=True)
        known = {wait: dagster.with_reason(run) for wait, run in runs if run and run.is_about(wait.version)}
    except DagsterError as error:
        LOGGER.debug("%s", error)
        return {}
    for wait in [wait for wait in waits if wait not in known][:FEW_FILES]:
        request_load(wait.feed, wait.version)
    return known


def _unread(feed: Feed, version: FileVersion, run: RunState | None) -> FileStatus:
    """Return what is known about a version that has just landed without reading a ledger."""
    labels = tuple(entry.label for entry in STORES)
    status = judge(version, Facts(feed=feed.name, live=version, held={}, unread=labels, run=run))
    assert status, "a version that has landed is known"
    return status
