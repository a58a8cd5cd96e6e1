"""Free the slots of dead runs and report what is holding up a run while its steps wait for a pool slot.

The executor decides which steps wait. See docs/operations.md.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable

import dagster as dg

from txn_assets.defs.run_liveness import RunLocks
from txn_assets.files.arrival import KEY_TAG, RANGE_TAGS

LOOK_SECONDS = 2.0
"""Seconds between checks for dead runs while a run waits."""

QUIET_SECONDS = 3.0
"""Seconds that a run waits before it reports the wait, so that short waits are not reported."""

REPEAT_SECONDS = 60.0
"""Seconds before a waiting run repeats the same message."""


class SlotWait:
    """Watches the pools that a run is waiting for. Call `look` repeatedly."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str, say: Callable[[str], None]) -> None:
        self._instance = instance
        self._run_id = run_id
        self._say = say
        self._locks = RunLocks.of(instance)
        self._begun: float | None = None
        self._looked = 0.0
        self._said: dict[str, float] = {}

    def look(self, pools: Collection[str]) -> bool:
        """When due, free slots of dead runs or report the wait for `pools`. Return whether slots were freed."""
        now = time.monotonic()
        if not pools:
            self._begun = None
            return False
        self._begun = self._begun or now
        if now < self._looked + LOOK_SECONDS:
            return False
        self._looked = now
        if self._locks and self._locks.report_dead(self._instance):
            return True
        if now > self._begun + QUIET_SECONDS:
            for sentence in filter(None, map(self._sentence, pools)):
                if now > self._said.get(sentence, -REPEAT_SECONDS) + REPEAT_SECONDS:
                    self._said[sentence] = now
                    self._say(sentence)
        return False

    def _sentence(self, pool: str) -> str:
        slots = self._instance.event_log_storage.get_concurrency_info(pool).claimed_slots
        holders = {slot.run_id for slot in slots} - {self._run_id}
        if not holders:
            # A step of this run holds the slot, or the slot is free by now.
            return ""
        return sentence(pool, self._instance.get_run_records(dg.RunsFilter(run_ids=list(holders))))


def sentence(pool: str, holders: Iterable[dg.RunRecord]) -> str:
    """Return the message that says which runs hold `pool`, when they started, and what to do."""
    runs = " and ".join(_described(record) for record in holders)
    return (
        f"Waiting for a slot of pool {pool!r}, held by {runs}. This run continues when that one ends. "
        "To end that run, press Ctrl-C where it was started, or terminate it in the Dagster UI (`make dev`)."
    )


def _described(record: dg.RunRecord) -> str:
    run = record.dagster_run
    files = run.tags.get(KEY_TAG) or "...".join(run.tags[tag] for tag in RANGE_TAGS if tag in run.tags)
    begun = dt.datetime.fromtimestamp(record.start_time).astimezone() if record.start_time else None
    of_files = f" of {files}" if files else ""
    since = f" since {begun:%H:%M:%S}" if begun else ""
    return f"run {run.run_id[:8]}{of_files}{since}"
