"""Decide for the sensor which landed objects are new and which of them share a run.

This module defines the cursor, the selection and the batches. The sensor lists the bucket and starts the runs. See
docs/operations.md, 'Files that arrive'.

The cursor is a mark (a GCS generation, in microseconds) plus the known versions above it. The mark stays `LOOKBACK`
behind the clock, because an object may become visible up to that late, and the clock may be off by that much. The daily
sweep compares the landing zone with the ledgers and finds objects that become visible even later.

A tick that runs out of time remembers where it stopped, and the next tick continues there. Together they form one pass.
When a pass ends, the mark moves to one hour before the pass began, because a
tick cannot see objects that land under a name that the pass has already listed.
"""

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Self

from txn_assets.files.ledger import FileVersion
from txn_assets.files.ledgers import Ledgers
from txn_assets.files.shown import unshowable

LOOKBACK = 3600 * 1_000_000
"""One hour in microseconds, the unit of a generation."""

SMALL_BYTES = 8 << 20
"""Files below this size share a run, because a run takes several seconds and such a file takes milliseconds."""
BATCH_FILES = 250
BATCH_BYTES = 256 << 20
FEW_FILES = 5
"""Up to this many small files get a run each, so each shows under its own name in the UI."""

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".zip", ".zst")
"""Endings of file names to load, ignoring case."""
IGNORED_STARTS = (".", "_", "~")
"""Prefixes that tools put on the base names of unfinished files."""

FORBIDDEN_IN_KEYS = ("...", "\a", "\b", "\f", "\n", "\r", "\t", "\v", "\0")
"""Strings that Dagster rejects in a partition key."""

CURSOR_VERSION = 3

LOAD_JOB, SENSOR, PARTITIONS = "load_landed_files", "new_landed_files", "landed_files"
"""Names of the job that loads files, of the sensor that requests it, and of the partitions, in the first feed."""

GENERATION_TAG = "txn_assets/generation"
"""Tag of a run of one file: the generation that it was requested for."""

RUN_KEY_TAG = "dagster/run_key"
"""Tag by which Dagster recognizes a run that was requested before."""

KEY_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""Tags of a run of one partition (KEY_TAG), and of a run of several partitions (RANGE_TAGS)."""

RELOAD_TAG = "txn_assets/reload"
"""Tag of a run that loads files again because of new rules or a new key: those that they are to be loaded under."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """An object in the landing zone that is not loaded.

    Attributes:
        version: the object.
        why: the reason, as the end of a sentence.
        is_meant: whether the name asks not to load the object: a folder marker or an unfinished file.
    """

    version: FileVersion
    why: str
    is_meant: bool = False

    def __str__(self) -> str:
        return f"{self.version.name!r} ({self.why})"


def left_alone(version: FileVersion) -> LeftAlone | None:
    """Return why an object is not loaded; None for an object to load: a finished CSV file that is not empty."""
    base = version.name.rpartition("/")[2]
    if not base:
        return LeftAlone(version, "it is a folder marker", is_meant=True)
    if base.startswith(IGNORED_STARTS):
        starts = ", ".join(f"'{start}'" for start in IGNORED_STARTS)
        return LeftAlone(version, f"a name that begins with {starts} is not finished", is_meant=True)
    if not base.lower().endswith(SUFFIXES):
        return LeftAlone(version, f"its name does not end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if why := unusable(version.name):
        return LeftAlone(version, why)
    return None if version.size else LeftAlone(version, "it is empty")


def unusable(name: str) -> str:
    """Return why no file can have `name`, as a part of a sentence; '' if one can."""
    if not is_partition_key(name):
        return "Dagster does not allow a partition key with a line break or '...'"
    if hidden := unshowable(name):
        return f"its name has the invisible character {hidden}: land it under another name"
    if ".." in name.split("/"):
        return "its name has the segment '..', which tools that copy the bucket follow: land it under another name"
    return ""


def list_left_alone(objects: Sequence[LeftAlone], *, shown: int) -> str:
    """Return a sentence that names at most the first `shown` of `objects`; '' if there are none."""
    more = f" and {len(objects) - shown} more" if len(objects) > shown else ""
    return f"Left alone: {', '.join(map(str, objects[:shown]))}{more}." if objects else ""


def is_partition_key(name: str) -> bool:
    """Return whether Dagster accepts `name` as a partition key."""
    return not any(part in name for part in FORBIDDEN_IN_KEYS)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the sensor remembers between two ticks.

    Attributes:
        mark: all generations up to this one have been handled.
        seen: generations of the handled versions above the mark, by digest of the version.
        began: when the current pass began, as a generation; 0 between passes.
        head: the name at which the current or last pass began.
        after: the name at which the last listing stopped early; "" if it reached the end.
        waiting: how many new versions the last tick left for this one.
        is_lost: whether no pass has ended yet, so the tick has to look up in the ledgers what the stores hold.
    """

    mark: int = 0
    seen: Mapping[str, int] = field(default_factory=dict)
    began: int = 0
    head: str = ""
    after: str = ""
    waiting: int = 0
    is_lost: bool = True

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Return the cursor stored in `text`, or a new one if `text` is missing, damaged or of a different version."""
        try:
            content = json.loads(text or "")
            if content["version"] != CURSOR_VERSION:
                return cls()
            return cls(
                mark=int(content["mark"]),
                seen={str(digest): int(generation) for digest, generation in content["seen"].items()},
                began=int(content["began"]),
                head=str(content["head"]),
                after=str(content["after"]),
                waiting=int(content["waiting"]),
                is_lost=bool(content["is_lost"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return cls()

    def text(self) -> str:
        """Return the cursor as text for Dagster to store."""
        content = {
            "version": CURSOR_VERSION,
            "mark": self.mark,
            "seen": dict(sorted(self.seen.items())),
            "began": self.began,
            "head": self.head,
            "after": self.after,
            "waiting": self.waiting,
            "is_lost": self.is_lost,
        }
        return json.dumps(content, separators=(",", ":"))

    def begin(self, *, now: int, first_new: str) -> Self:
        """Return the cursor for a tick at `now`, a generation: continue the pass, or begin one.

        Names before `first_new` have no version above the mark.
        """
        if self.after:
            return self
        # Waiting versions come after the name at which the last pass began.
        return replace(self, began=now, head=self.head if self.waiting or self.is_lost else first_new)

    @property
    def start(self) -> str:
        """Name at which to start listing."""
        return self.after or self.head

    def knows(self, version: FileVersion) -> bool:
        """Return whether `version` has already been handled."""
        return version.generation <= self.mark or _digest(str(version)) in self.seen


@dataclass(frozen=True, slots=True)
class Selection:
    """What a tick does.

    Attributes:
        requested: the versions to load, oldest first.
        waiting: how many more versions are left for the next tick.
        left_alone: objects that are not loaded and were not reported before.
        looked_at: how many objects were listed.
        cursor: the cursor for the next tick.
    """

    requested: tuple[FileVersion, ...]
    waiting: int
    left_alone: tuple[LeftAlone, ...]
    looked_at: int
    cursor: Cursor


@dataclass(slots=True)
class _Listing:
    new: list[FileVersion] = field(default_factory=list)
    known: list[FileVersion] = field(default_factory=list)
    left_alone: list[LeftAlone] = field(default_factory=list)
    looked_at: int = 0
    stopped_at: str = ""


def select(
    listed: Iterable[FileVersion],
    cursor: Cursor,
    *,
    limit: int,
    is_held: Callable[[FileVersion], bool] = lambda _: False,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Selection:
    """Select the `limit` oldest of the `listed` versions that neither `cursor` knows nor a ledger holds.

    `listed` is sorted by name and starts at `cursor.start`. Stop reading it when the tick is `out_of_time`.
    """
    listing = _look(listed, cursor, is_held, out_of_time)
    requested = heapq.nsmallest(limit, listing.new, key=lambda version: (version.generation, version.name))
    waiting = len(listing.new) - len(requested)
    return Selection(
        tuple(requested),
        waiting,
        tuple(listing.left_alone),
        listing.looked_at,
        _advanced(cursor, listing, requested, waiting),
    )


def _look(
    listed: Iterable[FileVersion],
    cursor: Cursor,
    is_held: Callable[[FileVersion], bool],
    out_of_time: Callable[[], bool],
) -> _Listing:
    listing = _Listing()
    for version in listed:
        listing.looked_at += 1
        if listing.looked_at > 1 and out_of_time():
            # The next tick lists it again.
            listing.stopped_at = version.name
            break
        if version.generation <= cursor.mark:
            continue
        if ignored := left_alone(version):
            listing.known.append(version)
            if not cursor.knows(version):
                listing.left_alone.append(ignored)
        elif cursor.knows(version) or is_held(version):
            listing.known.append(version)
        else:
            listing.new.append(version)
    return listing


def _advanced(cursor: Cursor, listing: _Listing, requested: list[FileVersion], waiting: int) -> Cursor:
    dealt_with = {_digest(str(version)): version.generation for version in [*listing.known, *requested]}
    seen = {**cursor.seen, **dealt_with}
    if listing.stopped_at:
        # Waiting versions come before `stopped_at`, so the next tick starts at the head again.
        after = "" if waiting else listing.stopped_at
        return replace(cursor, seen=seen, after=after, waiting=waiting)
    # Anything not listed in this pass comes before its head or has been deleted.
    mark = max(cursor.mark, cursor.began - LOOKBACK)
    if waiting:
        # The mark must stay below every waiting version.
        chosen = set(requested)
        mark = min(mark, min(v.generation for v in listing.new if v not in chosen) - 1)
        mark = max(mark, cursor.mark)
    seen = {digest: generation for digest, generation in seen.items() if generation > mark}
    return Cursor(mark, seen, head=cursor.head, waiting=waiting, is_lost=False)


def batches(versions: Sequence[FileVersion], keys: Sequence[str]) -> Iterator[tuple[FileVersion, ...]]:
    """Yield the groups of `versions` that share a run: small files with adjacent partition keys.

    A run takes a range of keys, so they must be adjacent. `keys` are all partition keys in order, including those of
    `versions`.
    """
    place = {key: index for index, key in enumerate(keys)}
    small = sorted((v for v in versions if v.size < SMALL_BYTES), key=lambda version: place[version.name])
    if len(small) <= FEW_FILES:
        yield from ((version,) for version in versions)
        return
    yield from ((version,) for version in versions if version.size >= SMALL_BYTES)
    batch = small[:1]
    for before, version in pairwise(small):
        apart = place[version.name] != place[before.name] + 1
        full = len(batch) == BATCH_FILES or sum(v.size for v in batch) + version.size > BATCH_BYTES
        if apart or full:
            yield tuple(batch)
            batch = []
        batch.append(version)
    yield tuple(batch)


def run_key(batch: Sequence[FileVersion], suffix: str = "") -> str:
    """Return the run key of the run that loads `batch`; `suffix` tells it from earlier runs of the same versions."""
    first = batch[0]
    if len(batch) == 1:
        return f"{first}{suffix}"
    digest = hashlib.sha256("\n".join(map(str, batch)).encode()).hexdigest()[:16]
    return f"{first} and {len(batch) - 1} more ({digest}){suffix}"


def run_tags(batch: Sequence[FileVersion]) -> dict[str, str]:
    """Return the tags of the run that loads `batch`, whose partition keys are adjacent, without its run key."""
    first, last = batch[0], batch[-1]
    if len(batch) == 1:
        return {KEY_TAG: first.name, GENERATION_TAG: str(first.generation)}
    return dict(zip(RANGE_TAGS, (first.name, last.name), strict=True))


def missing_keys(versions: Sequence[FileVersion], keys: Iterable[str]) -> list[str]:
    """Return the partition keys of `versions` that are not among `keys`, in the order in which to register them."""
    known = set(keys)
    # Put small files first, so that they are adjacent, because the files of a run must be a range of keys.
    by_size = sorted(versions, key=lambda version: version.size >= SMALL_BYTES)
    return [version.name for version in by_size if version.name not in known]


def missing_versions(landed: Iterable[FileVersion], ledgers: Ledgers) -> list[FileVersion]:
    """Return the `landed` versions that at least one store does not hold, oldest first."""
    missing = (version for version in landed if ledgers.missing_in(version))
    return sorted(missing, key=lambda version: version.generation)


def outdated_versions(
    landed: Iterable[FileVersion], ledgers: Ledgers, *, rules_id: str, key_id: str
) -> list[FileVersion]:
    """Return the `landed` versions that every store holds, but at least one under other rules or another key.

    The oldest come first.
    """
    outdated = (
        version
        for version in landed
        if not ledgers.missing_in(version) and ledgers.outdated_in(version, rules_id=rules_id, key_id=key_id)
    )
    return sorted(outdated, key=lambda version: version.generation)


def names_in_runs(tags: Iterable[Mapping[str, str]], keys: Sequence[str]) -> set[str]:
    """Return the files that runs with these `tags` load; `keys` are the partition keys in order."""
    place = {key: index for index, key in enumerate(keys)}
    names: set[str] = set()
    for run in tags:
        first, last = (place.get(run.get(tag, run.get(KEY_TAG, ""))) for tag in RANGE_TAGS)
        if first is not None and last is not None:
            names.update(keys[first : last + 1])
    return names


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
