"""Which landed objects are new: the decision of the sensor, without the sensor.

Here belong the cursor and the choice of what to request. Listing the bucket and starting runs does not.
Documented in docs/operations.md.

The cursor is a mark in the order of generations, which GCS stamps in microseconds, and the versions above the mark that
are known. An object may become visible late, with a generation below others: so the mark stays `LOOKBACK` behind.
What is later still is found by the daily sweep, which compares the landing zone with the ledgers.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from txn_assets.ledger import FileVersion

LOOKBACK = 3600 * 1_000_000
"""One hour, in the microseconds of a generation."""

SUFFIXES = (".csv", ".csv.gz")
IGNORED_STARTS = (".", "_", "~")
"""Of a base name: what tools call files that are not finished."""

UNFIT_FOR_A_KEY = ("...", "\a", "\b", "\f", "\n", "\r", "\t", "\v", "\0")
"""Dagster refuses a partition key with one of these."""

CURSOR_VERSION = 1


def is_data(version: FileVersion) -> bool:
    """Whether the object is meant to be loaded: a finished CSV file that is not empty."""
    base = version.name.rpartition("/")[2]
    return version.size > 0 and base.endswith(SUFFIXES) and not base.startswith(IGNORED_STARTS)


def fits_a_key(name: str) -> bool:
    """Whether Dagster takes `name` as a partition key."""
    return not any(part in name for part in UNFIT_FOR_A_KEY)


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the sensor remembers between two ticks.

    Attributes:
        mark: generations up to it are dealt with.
        seen: digests of the versions above the mark that are dealt with.
        reported: digests of the names that cannot be keys and have been reported.
    """

    mark: int = 0
    seen: frozenset[str] = frozenset()
    reported: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """The cursor that `text` holds; a fresh one where it is missing, damaged, or of another version.

        A fresh cursor requests everything again, which the run keys and the ledgers turn into nothing.
        """
        try:
            content = json.loads(text or "")
            if content["version"] != CURSOR_VERSION:
                return cls()
            return cls(int(content["mark"]), frozenset(content["seen"]), frozenset(content["reported"]))
        except (ValueError, KeyError, TypeError):
            return cls()

    def text(self) -> str:
        """The cursor as Dagster keeps it."""
        content = {
            "version": CURSOR_VERSION,
            "mark": self.mark,
            "seen": sorted(self.seen),
            "reported": sorted(self.reported),
        }
        return json.dumps(content, separators=(",", ":"))

    def knows(self, version: FileVersion) -> bool:
        """Whether `version` is dealt with."""
        return version.generation <= self.mark or _digest(str(version)) in self.seen


@dataclass(frozen=True, slots=True)
class Selection:
    """What a tick does.

    Attributes:
        requested: the versions to load, oldest first.
        waiting: how many more are left for the next tick.
        unfit: names that cannot be partition keys, not reported before.
        looked_at: how many objects were listed.
        cursor: what to remember.
    """

    requested: tuple[FileVersion, ...]
    waiting: int
    unfit: tuple[str, ...]
    looked_at: int
    cursor: Cursor


@dataclass(slots=True)
class _Listing:
    new: list[FileVersion] = field(default_factory=list)
    known: list[FileVersion] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)
    looked_at: int = 0


def select(listed: Iterable[FileVersion], cursor: Cursor, *, limit: int) -> Selection:
    """The oldest `limit` of the `listed` versions that `cursor` does not know."""
    listing = _Listing()
    for version in listed:
        listing.looked_at += 1
        if not is_data(version):
            continue
        if not fits_a_key(version.name):
            if _digest(version.name) not in cursor.reported:
                listing.unfit.append(version.name)
        elif version.generation <= cursor.mark:
            continue
        elif cursor.knows(version):
            listing.known.append(version)
        else:
            listing.new.append(version)
    requested = heapq.nsmallest(limit, listing.new, key=lambda version: (version.generation, version.name))
    waiting = len(listing.new) - len(requested)
    return Selection(
        tuple(requested),
        waiting,
        tuple(listing.unfit),
        listing.looked_at,
        _advanced(cursor, listing, requested, waiting),
    )


def _advanced(cursor: Cursor, listing: _Listing, requested: list[FileVersion], waiting: int) -> Cursor:
    dealt_with = [*listing.known, *requested]
    newest = max((version.generation for version in dealt_with), default=cursor.mark)
    mark = max(cursor.mark, newest - LOOKBACK)
    if waiting:
        # Nothing that waits may fall behind the mark.
        chosen = set(requested)
        mark = min(mark, min(v.generation for v in listing.new if v not in chosen) - 1)
        mark = max(mark, cursor.mark)
    seen = frozenset(_digest(str(version)) for version in dealt_with if version.generation > mark)
    return Cursor(mark, seen, cursor.reported | {_digest(name) for name in listing.unfit})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
