"""Events of the asset `landing_zone`: what it has, and whether the files came that are expected.

The sensor reports both after a tick, without a run, and `checks.py` every hour. See docs/catalog.md.
"""

import datetime as dt
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from txn_assets.defs.names import asset_key
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import left_alone
from txn_assets.files.expected import moment
from txn_assets.files.ledger import FileVersion
from txn_assets.files.retention import landed_at

if TYPE_CHECKING:
    from txn_assets.stores.landing.zone import LandingZone

FILE_EXPECTED = "file_expected"
"""Name of the check that files landed when they were expected."""

OBSERVE_SECONDS = 300
"""Minimum number of seconds between two observations of the sensor, because Dagster keeps each as an event."""

NEWEST = "newest_version"

SAME_DATA = {"dagster/data_version": "landing_zone"}
"""Tags of the materializations of the landing zone. With a version that changed, Dagster would call the partitions of
all loaded files outdated whenever a file lands."""

type LandingEvent = dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation


@dataclass
class Tally:
    """Counts the objects of a listing of the landing zone while somebody reads it.

    Attributes:
        at: when the listing began.
        start: the name that it began with; "" if it is of the whole landing zone.
        since: the generation after which a file counts as arrived.
        objects, size: how many objects there are, and their bytes.
        arrived: how many files landed after `since`.
        newest: the newest file.
        is_complete: whether the listing was read to its end.
    """

    at: dt.datetime
    start: str = ""
    since: int = sys.maxsize
    objects: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    arrived: int = field(default=0, init=False)
    newest: FileVersion | None = field(default=None, init=False)
    is_complete: bool = field(default=False, init=False)

    @classmethod
    def of(cls, feed: Feed, now: dt.datetime, start: str = "") -> Self:
        """Return a tally that counts as arrived the files of `feed` that are expected at `now`."""
        return cls(now, start, feed.expected.window(now).generation) if feed.expected else cls(now, start)

    def count(self, versions: Iterable[FileVersion]) -> Iterator[FileVersion]:
        """Yield each of `versions` after counting it."""
        newest = -1
        for version in versions:
            self.objects += 1
            self.size += version.size
            generation = version.generation
            if (generation > newest or generation > self.since) and left_alone(version) is None:
                self.arrived += generation > self.since
                if generation > newest:
                    newest, self.newest = generation, version
            yield version
        self.is_complete = True


def observe(feed: Feed, tally: Tally, **more: Any) -> dg.AssetObservation:  # noqa: ANN401 - any metadata value
    """Return the observation of what `tally` counted, with `more` metadata."""
    metadata: dict[str, Any] = {"objects": tally.objects, "bytes": dg.MetadataValue.int(tally.size)}
    if tally.start:
        metadata["listed_from"] = tally.start
    if tally.newest:
        metadata[NEWEST] = str(tally.newest)
        metadata["newest_landed_at"] = dg.MetadataValue.timestamp(landed_at(tally.newest.generation).timestamp())
    return dg.AssetObservation(asset_key(feed, "landing_zone"), metadata=metadata | more)


def changes(instance: dg.DagsterInstance, feed: Feed, tally: Tally, **more: Any) -> list[LandingEvent]:  # noqa: ANN401 - as above
    """Return the events that record what `tally` counted; none if that is known, or a recent event is enough.

    A newer file is a materialization as well, because that is what Dagster's freshness policies look at.
    """
    key = asset_key(feed, "landing_zone")
    observation = observe(feed, tally, **more)
    records = instance.fetch_observations(key, limit=1).records
    last = records[0].asset_observation if records else None
    known = last.metadata if last else {}
    names = ("objects", "bytes", NEWEST)
    if all(known.get(name) == observation.metadata.get(name) for name in names):
        return []
    if records and dt.datetime.now(dt.UTC).timestamp() - records[0].timestamp < OBSERVE_SECONDS:
        return []
    events: list[LandingEvent] = [observation]
    if tally.newest and known.get(NEWEST) != observation.metadata[NEWEST]:
        events.append(dg.AssetMaterialization(key, metadata=observation.metadata, tags=SAME_DATA))
    return events


def judge(feed: Feed, tally: Tally) -> dict[str, Any]:
    """Return whether the files that `feed` expects are in `tally`, as arguments of a check's result."""
    expected = feed.expected
    assert expected is not None
    window = expected.window(tally.at)
    newest = f"{moment(landed_at(tally.newest.generation))} ({tally.newest.name})" if tally.newest else ""
    complaint = expected.complaint(tally.at, tally.arrived, newest)
    metadata: dict[str, Any] = {
        "expected": expected.in_words(),
        "files": tally.arrived,
        "since": dg.MetadataValue.timestamp(window.since.timestamp()),
        "newest_file": newest or "none",
    }
    return {
        "passed": complaint is None,
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": complaint,
        "metadata": metadata,
    }


def count_expected(feed: Feed, landing: "LandingZone", now: dt.datetime) -> Tally:
    """List the landing zone as far back as a file may have landed that `feed` expects at `now`."""
    assert feed.expected is not None
    tally = Tally.of(feed, now, landing.first_new(feed.expected.window(now).since))
    deque(tally.count(landing.versions(start=tally.start)), maxlen=0)
    return tally


def verdict(
    instance: dg.DagsterInstance, feed: Feed, landing: "LandingZone", tally: Tally
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield the evaluation of `file_expected`, unless its result is the last one.

    If `tally` is not of the whole landing zone, it may miss files, so count again before the check fails.
    """
    result = judge(feed, tally)
    if not result["passed"] and tally.start:
        result = judge(feed, count_expected(feed, landing, tally.at))
    key = asset_key(feed, "landing_zone")
    record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(key, FILE_EXPECTED))
    last = record.evaluation if record else None
    if isinstance(last, dg.AssetCheckEvaluation) and last.passed == result["passed"]:
        return
    yield dg.AssetCheckEvaluation(key, FILE_EXPECTED, **result)
