"""Which landed objects are new, and which of them share a run: the decisions of the sensor, without the sensor.

Here belong the cursor, the choice of what to request, and the batches. Listing the bucket and starting runs does not.
Documented in docs/operations.md.

The cursor is a mark in the order of generations, which GCS stamps in microseconds, and the versions above the mark that
are known. The mark stays `LOOKBACK` behind the clock: an object may become visible so late, and the clock be so wrong.
What is later still is found by the daily sweep, which compares the landing zone with the ledgers.

A tick that runs out of time remembers where it stopped, and the next goes on there: together they are one pass. The
mark moves when a pass has come to its end, and to the hour before its beginning: what landed meanwhile ahead of the
place where a tick stood has not been listed yet.
"""

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Self

from txn_assets.files.ledger import FileVersion

LOOKBACK = 3600 * 1_000_000
"""One hour, in the microseconds of a generation."""

SMALL_BYTES = 8 << 20
"""Smaller files share a run: its fixed cost is several seconds, theirs are milliseconds."""
BATCH_FILES = 250
BATCH_BYTES = 256 << 20
FEW_FILES = 5
"""So many are not worth sharing a run: each has its own, with its own name in the UI."""

SUFFIXES = (".csv", ".csv.gz")
"""Compared without case."""
IGNORED_STARTS = (".", "_", "~")
"""Of a base name: what tools call files that are not finished."""

FORBIDDEN_IN_KEYS = ("...", "\a", "\b", "\f", "\n", "\r", "\t", "\v", "\0")
"""Dagster refuses a partition key with one of these."""

CURSOR_VERSION = 3

KEY_TAG = "dagster/partition"
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""What Dagster tags a run of one partition with, and a back-fill a run of several."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """An object in the landing zone that is not loaded.

    Attributes:
        version: the object.
        why: the reason, as the end of a sentence.
        is_meant: whether the name says so: a folder marker, or a file that is not finished.
    """

    version: FileVersion
    why: str
    is_meant: bool = False

    def __str__(self) -> str:
        return f"{self.version.name!r} ({self.why})"


def left_alone(version: FileVersion) -> LeftAlone | None:
    """Return why an object is not loaded; None for one that is: a finished CSV file that is not empty."""
    base = version.name.rpartition("/")[2]
    if not base:
        return LeftAlone(version, "it is a folder marker", is_meant=True)
    if base.startswith(IGNORED_STARTS):
        starts = ", ".join(f"'{start}'" for start in IGNORED_STARTS)
        return LeftAlone(version, f"a name that begins with {starts} is not finished", is_meant=True)
    if not base.lower().endswith(SUFFIXES):
        return LeftAlone(version, f"its name does not end in {' or '.join(SUFFIXES)}")
    if not is_partition_key(version.name):
        return LeftAlone(version, "Dagster takes no partition key of more than one line, or with '...'")
    if not version.size:
        return LeftAlone(version, "it is empty")
    return None


def list_left_alone(objects: Sequence[LeftAlone], *, shown: int) -> str:
    """Return a sentence that names `objects`, of a long list the first `shown`; '' if there are none."""
    more = f" and {len(objects) - shown} more" if len(objects) > shown else ""
    return f"Left alone: {', '.join(map(str, objects[:shown]))}{more}." if objects else ""


def is_partition_key(name: str) -> bool:
    """Whether Dagster takes `name` as a partition key."""
    return not any(part in name for part in FORBIDDEN_IN_KEYS)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the sensor remembers between two ticks.

    Attributes:
        mark: generations up to it are dealt with.
        seen: the versions above the mark that are dealt with: the generation of each, by digest.
        began: when the pass under way began, as a generation; 0 where none is under way.
        head: the name at which the last pass began, or the one under way.
        after: the name at which the last listing stopped before its end; "" where it came to its end.
        waiting: how many new versions the last tick left for this one.
        is_lost: whether no pass has come to its end yet: what the ledgers hold must be asked of them.
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
        """The cursor that `text` holds; a fresh one where it is missing, damaged, or of another version."""
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
        """The cursor as Dagster keeps it."""
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
        """For a tick at `now`, as a generation: the pass goes on, or one begins.

        No name before `first_new` can be new since the mark.
        """
        if self.after:
            return self
        # What waits stands behind the place where the last pass began.
        return replace(self, began=now, head=self.head if self.waiting or self.is_lost else first_new)

    @property
    def start(self) -> str:
        """The name at which to begin listing."""
        return self.after or self.head

    def knows(self, version: FileVersion) -> bool:
        """Whether `version` is dealt with."""
        return version.generation <= self.mark or _digest(str(version)) in self.seen


@dataclass(frozen=True, slots=True)
class Selection:
    """What a tick does.

    Attributes:
        requested: the versions to load, oldest first.
        waiting: how many more are left for the next tick.
        left_alone: objects that are not loaded, not reported before.
        looked_at: how many objects were listed.
        cursor: what to remember.
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
    """The oldest `limit` of the `listed` versions that neither `cursor` knows nor a ledger holds.

    `listed` is in the order of names, from `cursor.start` on, and is left where the tick is `out_of_time`.
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
            # It is listed again, at the head of the next tick.
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
        # What waits stands before that name: the next tick begins at the head again.
        after = "" if waiting else listing.stopped_at
        return replace(cursor, seen=seen, after=after, waiting=waiting)
    # What was not listed in this pass stands before its head, or has been deleted.
    mark = max(cursor.mark, cursor.began - LOOKBACK)
    if waiting:
        # Nothing that waits may fall behind the mark.
        chosen = set(requested)
        mark = min(mark, min(v.generation for v in listing.new if v not in chosen) - 1)
        mark = max(mark, cursor.mark)
    seen = {digest: generation for digest, generation in seen.items() if generation > mark}
    return Cursor(mark, seen, head=cursor.head, waiting=waiting, is_lost=False)


def batches(versions: Sequence[FileVersion], keys: Sequence[str]) -> Iterator[tuple[FileVersion, ...]]:
    """Which of `versions` share a run: small ones whose partition keys stand side by side, as a range must.

    `keys` are the partition keys in their order, those of `versions` among them.
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


def names_in_runs(tags: Iterable[Mapping[str, str]], keys: Sequence[str]) -> set[str]:
    """The files that runs with such `tags` load, where `keys` are the partition keys in their order."""
    place = {key: index for index, key in enumerate(keys)}
    names: set[str] = set()
    for run in tags:
        first, last = (place.get(run.get(tag, run.get(KEY_TAG, ""))) for tag in RANGE_TAGS)
        if first is not None and last is not None:
            names.update(keys[first : last + 1])
    return names


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
