"""The ledger: which version of each file a store holds, and whether a load should replace it.

This module defines file versions, the totals that prove a load, and the load decision. `ledger_columns.py` has the
columns of a ledger. Each store writes its own. See docs/reliability.md, 'The ledgers'.
"""

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any, Self

from txn_assets.files.ledger_columns import CHANGE_COLUMNS, COLUMNS, DETAIL_COLUMNS, DETAILS, SUM_PREFIX


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One generation of one landed object.

    Attributes:
        name: the object's name below the landing prefix; also the Dagster partition key.
        generation: the GCS generation: unique, but not always larger for a later upload; see `supersedes`.
        size: bytes as stored.
        crc32c: base64, as GCS reports it.
    """

    name: str
    generation: int
    size: int
    crc32c: str

    def __str__(self) -> str:
        return f"{self.name}@{self.generation}"


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals over the rows of a file, computed by the engine of the store that holds them.

    Attributes:
        rows: number of rows.
        sums: the exact sum of each column of numbers, by name.
        min_date, max_date: first and last day of the partition key, in UTC; None if no row has one.
        fingerprint: covers every column of every row, regardless of row order; see `fingerprint.py`.
    """

    rows: int
    sums: Mapping[str, Decimal]
    min_date: dt.date | None
    max_date: dt.date | None
    fingerprint: int

    @classmethod
    def of_row(cls, row: Sequence[Any], summed: Sequence[str]) -> Self:
        """Return the totals from a query row: the attributes in order, with a sum for each of the columns `summed`.

        Sums over no rows arrive as null.
        """
        rows, *sums, min_date, max_date, fingerprint = row
        exact = {name: Decimal(value or 0) for name, value in zip(summed, sums, strict=True)}
        return cls(int(rows), exact, min_date, max_date, int(fingerprint or 0))

    def differences(self, other: "Totals", *, inexact: Collection[str] = ()) -> dict[str, tuple[Any, Any]]:
        """Return what differs in `other`, each with both values; a sum has the name of its column.

        Sums of the columns `inexact` may differ by the rounding of a binary float column.
        """
        found: dict[str, tuple[Any, Any]] = {"rows": (self.rows, other.rows)}
        for name in {**self.sums, **other.sums}:
            ours, theirs = self.sums.get(name, Decimal(0)), other.sums.get(name, Decimal(0))
            if name not in inexact or abs(ours - theirs) > FLOAT_TOLERANCE * max(abs(ours), Decimal(1)):
                found[name] = (ours, theirs)
        for attribute in ("min_date", "max_date", "fingerprint"):
            found[attribute] = (getattr(self, attribute), getattr(other, attribute))
        return {name: (ours, theirs) for name, (ours, theirs) in found.items() if ours != theirs}


def describe(differences: dict[str, tuple[Any, Any]]) -> str:
    """Return `Totals.differences` as text for people, without the fingerprint, which means nothing to them."""
    found = [
        f"{what} {theirs} instead of {ours}" for what, (ours, theirs) in differences.items() if what != "fingerprint"
    ]
    return ", ".join(found or ["at least one row has a different value"])


FLOAT_TOLERANCE = Decimal("1e-6")
"""Relative tolerance: the unit roundoff of REAL is 6e-8, and errors in a sum mostly cancel."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a version of a file changes against the version that it replaces, in rows.

    A row is the same if it has the same row id. In a feed without one, it is the same if all its values are: then
    `changed` is 0, because a row that changes counts as gone and as added.
    """

    added: int
    gone: int
    changed: int

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self | None:
        """Return the changes in a ledger row; None if the ledger has none, or the load replaced nothing."""
        counts = [int(row[name]) for name in CHANGE_COLUMNS if row.get(name) is not None]
        return cls(*counts) if len(counts) == len(CHANGE_COLUMNS) else None

    def __str__(self) -> str:
        return f"{self.added:,} rows added, {self.gone:,} gone, {self.changed:,} changed"


@dataclass(frozen=True, slots=True)
class LoadDetails:
    """What validation found in a version of a file, and how the load went.

    Attributes:
        records: number of records in the file, valid or not.
        rejected: how many of them were rejected.
        reasons: how often each "field: code" rejected a record. A record may have several reasons.
        landed_at: when the version landed.
        started_at: when its validation began.
        seconds: seconds of each stage: `validate`, `hash` and, in the databases, `load`.
        replaced_generation: the generation that the store held before; None if it held none.
        job_id: the BigQuery job that committed the load; '' in the other stores.
        bytes_billed: what that job had billed when it wrote the ledger row; None in the other stores.
        erased: how many of the records were left out or deleted because of an erasure request: they count neither as
            rows of the store nor as rejected.
    """

    records: int
    rejected: int
    reasons: Mapping[str, int]
    landed_at: dt.datetime
    started_at: dt.datetime
    seconds: Mapping[str, float]
    replaced_generation: int | None = None
    job_id: str = ""
    bytes_billed: int | None = None
    erased: int = 0


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """A ledger row: one version of a file as one load wrote it to one store.

    Attributes:
        changes: what the load changed, if the store computed it.
        details: how the load went; None in rows that an earlier release wrote.
    """

    file: FileVersion
    run_id: str
    key_id: str
    rules_id: str
    totals: Totals
    loaded_at: dt.datetime | None = None
    changes: Changes | None = None
    details: LoadDetails | None = None

    def to_row(self) -> dict[str, Any]:
        """Return the value of each ledger column; the store itself sets `loaded_at`."""
        row = {column.name: attrgetter(column.attribute)(self) for column in COLUMNS}
        row |= {f"{SUM_PREFIX}{name}": value for name, value in self.totals.sums.items()}
        if self.details is None:
            return row | dict.fromkeys(DETAIL_COLUMNS)
        return row | {column.name: column.kind.write(attrgetter(column.attribute)(self)) for column in DETAILS}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the record of a ledger row, whose values may be text, as they are in object metadata.

        A value is null or missing if the row was written before its column was added.
        """
        parts: dict[str, dict[str, Any]] = {"": {}, "file": {}, "totals": {}, "details": {}}
        for column in (*COLUMNS, *DETAILS):
            part, _, name = column.attribute.rpartition(".")
            parts[part][name] = column.kind.read(row.get(column.name))
        sums = {
            name.removeprefix(SUM_PREFIX): Decimal(value or 0)
            for name, value in row.items()
            if name.startswith(SUM_PREFIX)
        }
        return cls(
            file=FileVersion(**parts["file"]),
            totals=Totals(sums=sums, **parts["totals"]),
            loaded_at=row.get("loaded_at"),
            changes=Changes.of_row(row),
            details=LoadDetails(**parts["details"]) if parts["details"]["records"] is not None else None,
            **parts[""],
        )

    def same_content(self, other: "LoadRecord") -> bool:
        """Return whether both come from the same bytes, validated and hashed the same way."""
        return (self.file.crc32c, self.key_id, self.rules_id, self.totals) == (
            other.file.crc32c,
            other.key_id,
            other.rules_id,
            other.totals,
        )

    def replacing(self, held: "LoadRecord | None") -> "LoadRecord":
        """Return this record with details that say what it replaces: the ledger row `held` before the load."""
        if self.details is None or held is None:
            return self
        return replace(self, details=replace(self.details, replaced_generation=held.file.generation))

    def timed(self, load_seconds: float) -> "LoadRecord":
        """Return this record with details that say how long the store took."""
        if self.details is None:
            return self
        seconds = {**self.details.seconds, "load": round(load_seconds, 3)}
        return replace(self, details=replace(self.details, seconds=seconds))

    @property
    def change_ratio(self) -> Decimal | None:
        """Added, gone and changed rows as a share of the replaced ones; None if the store did not compare them."""
        if self.changes is None:
            return None
        before = self.totals.rows - self.changes.added + self.changes.gone
        return Decimal(self.changes.added + self.changes.gone + self.changes.changed) / max(before, 1)

    def in_words(self) -> str:
        """Return a phrase with the row count and time of the load."""
        rows = f"{self.totals.rows:,} row{'s' if self.totals.rows != 1 else ''}"
        if self.loaded_at is None:
            return f"{rows} loaded before"
        return f"{rows} loaded on {self.loaded_at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"

    def at(self, moment: dt.datetime) -> "LoadRecord":
        """Return this record with `moment` as its load time."""
        return replace(self, loaded_at=moment)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Two ledger rows of a file: the version that a load replaced, and the version that it wrote."""

    before: LoadRecord
    after: LoadRecord

    @property
    def sums(self) -> dict[str, Decimal]:
        """The change of the sum of each column."""
        before = self.before.totals.sums
        return {name: total - before.get(name, Decimal(0)) for name, total in self.after.totals.sums.items()}


@dataclass(frozen=True, slots=True)
class Holding:
    """What a store has for one file: the newest generation in its ledger, and the totals of the file's rows."""

    generation: int
    totals: Totals


NOTHING = Holding(0, Totals(0, {}, None, None, 0))
"""The holding for a file that a store never loaded."""


def read_holdings(
    names: Sequence[str],
    held: Mapping[str, LoadRecord],
    run_id: str,
    read_totals: Callable[..., Mapping[str, Totals]],
) -> dict[str, Holding]:
    """Return what a store has for each of the files in `names`, given their ledger rows.

    `read_totals` reads the totals of some files from the store. It gets `has_fingerprint=False` for files that the run
    `run_id` wrote: their fingerprint was compared before the commit, so use the one in the ledger row.
    """
    proven = [name for name in names if name in held and held[name].run_id == run_id]
    others = [name for name in names if name in held and name not in proven]
    totals = dict(read_totals(others)) if others else {}
    if proven:
        found = read_totals(proven, has_fingerprint=False)
        totals |= {name: replace(found[name], fingerprint=held[name].totals.fingerprint) for name in found}
    return {
        name: Holding(held[name].file.generation, totals.get(name, NOTHING.totals)) if name in held else NOTHING
        for name in names
    }


class Action(Enum):
    """What a load does with a file."""

    LOAD = "loaded"
    """Replace the file's rows in the store."""
    KEEP = "unchanged"
    """The store already holds exactly these rows; record the version in the ledger and change no row."""
    STAND_BACK = "superseded"
    """The store holds a newer version; change nothing."""


def supersedes(generation: int, held: int, *, live: int | None) -> bool:
    """Return whether `generation` of a file replaces the generation `held` by a store.

    `live` is the generation in the landing zone, or None if the file is gone. The live generation wins,
    because GCS promises that generations are unique, not that they grow
    (https://cloud.google.com/storage/docs/metadata#generation-number). If neither is live, the larger one wins.
    """
    if live in (generation, held):
        return live == generation
    return generation > held


def is_news(incoming: LoadRecord, held: LoadRecord | None, action: Action) -> bool:
    """Return whether a load that takes `action` writes the ledger row `incoming` over `held`.

    If the store already holds the version, its ledger row keeps saying how the rows came there. A row of an earlier
    release, which says less, is completed.
    """
    if action is Action.KEEP and held:
        return held.file != incoming.file or (held.details is None and incoming.details is not None)
    return action is Action.LOAD


def notes_rejects(incoming: LoadRecord, held: LoadRecord | None) -> bool:
    """Return whether a load that writes the ledger row `incoming` over `held` also notes why rows were rejected.

    What was noted of a version stays. It is noted again only if something else was rejected, as under other rules.
    """
    if incoming.details is None or not incoming.details.rejected:
        return False
    if held is None or held.details is None or held.file.generation != incoming.file.generation:
        return True
    before, after = held.details, incoming.details
    return (held.rules_id, before.rejected, before.reasons) != (incoming.rules_id, after.rejected, after.reasons)


def decide(
    incoming: LoadRecord, held: LoadRecord | None, in_store: Totals | None, *, live: int | None = None
) -> Action:
    """Return what to do with `incoming`, given the ledger row `held` and the totals `in_store` read from the store.

    `in_store` matters only if `held` has the same content; pass None if it was not read. `live` matters only if `held`
    is a different generation; see `supersedes`.
    """
    if held is None:
        return Action.LOAD
    generations = incoming.file.generation, held.file.generation
    if generations[0] != generations[1] and not supersedes(*generations, live=live):
        return Action.STAND_BACK
    if held.same_content(incoming) and in_store is not None and not incoming.totals.differences(in_store):
        return Action.KEEP
    return Action.LOAD
