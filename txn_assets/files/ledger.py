"""The ledger: which version of each file a store holds, and whether a load should replace it.

This module holds file versions, the totals that prove a load, and the load decision. Each store's I/O manager keeps the
ledger itself. See docs/reliability.md, 'The ledgers'.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Any, Self


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
    """What a store holds of a file, read back with the store's own engine.

    Attributes:
        rows: number of rows.
        price, quantity: sums; money is exact.
        min_date, max_date: None if no row has a date.
        fingerprint: covers every column of every row, regardless of row order; see `fingerprint.py`.
    """

    rows: int
    price: Decimal
    quantity: int
    min_date: dt.date | None
    max_date: dt.date | None
    fingerprint: int

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> Self:
        """Return the totals from a query row with the attributes in order; sums over no rows arrive as null."""
        rows, price, quantity, min_date, max_date, fingerprint = row
        return cls(int(rows), Decimal(price or 0), int(quantity or 0), min_date, max_date, int(fingerprint or 0))

    def differences(self, other: "Totals", *, exact_price: bool = True) -> dict[str, tuple[Any, Any]]:
        """Return the attributes in which `other` differs, each with both values.

        If `exact_price` is false, prices may differ by the rounding of a binary float column.
        """
        mine, others = asdict(self), asdict(other)
        found = {name: (mine[name], others[name]) for name in mine if mine[name] != others[name]}
        if not exact_price and abs(self.price - other.price) <= FLOAT_TOLERANCE * max(abs(self.price), Decimal(1)):
            found.pop("price", None)
        return found


def describe(differences: dict[str, tuple[Any, Any]]) -> str:
    """Return `Totals.differences` as text for people, without the fingerprint because it tells them nothing."""
    found = [
        f"{what} {theirs} instead of {ours}" for what, (ours, theirs) in differences.items() if what != "fingerprint"
    ]
    return ", ".join(found or ["at least one row has another value"])


FLOAT_TOLERANCE = Decimal("1e-6")
"""Relative tolerance: the unit roundoff of REAL is 6e-8, and errors in a sum mostly cancel."""


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """A ledger row: one version of a file as one load wrote it to one store."""

    file: FileVersion
    run_id: str
    key_id: str
    rules_id: str
    totals: Totals
    loaded_at: dt.datetime | None = None

    def same_content(self, other: "LoadRecord") -> bool:
        """Return whether both come from the same bytes, validated and hashed the same way."""
        return (self.file.crc32c, self.key_id, self.rules_id, self.totals) == (
            other.file.crc32c,
            other.key_id,
            other.rules_id,
            other.totals,
        )

    def at(self, moment: dt.datetime) -> "LoadRecord":
        """Return this record with `moment` as its load time."""
        return replace(self, loaded_at=moment)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a store holds of a file: the newest generation in its ledger, and the totals of its rows."""

    generation: int
    totals: Totals


NOTHING = Holding(0, Totals(0, Decimal(0), 0, None, None, 0))
"""The holding for a file that a store never loaded."""


def read_holdings(
    names: Sequence[str],
    held: Mapping[str, LoadRecord],
    run_id: str,
    read_totals: Callable[..., Mapping[str, Totals]],
) -> dict[str, Holding]:
    """Return what a store holds of the files in `names`, given their ledger rows.

    `read_totals` reads the totals of some files from the store, and takes `has_fingerprint=False`. Rows that the run
    `run_id` wrote had theirs compared before the commit, so the fingerprint in their ledger row stands for it.
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

    `live` is the generation in the landing zone, None if the file is gone. It wins, because GCS promises that
    generations are unique, not that they grow (https://cloud.google.com/storage/docs/metadata#generation-number).
    If neither is live, the larger one counts as the later.
    """
    if live in (generation, held):
        return live == generation
    return generation > held


def decide(
    incoming: LoadRecord, held: LoadRecord | None, in_store: Totals | None, *, live: int | None = None
) -> Action:
    """Return what to do with `incoming`, given the ledger row `held` and the totals `in_store` read from the store.

    `in_store` matters only if `held` has the same content; pass None if it was not read. `live` matters only if `held`
    is another generation; see `supersedes`.
    """
    if held is None:
        return Action.LOAD
    generations = incoming.file.generation, held.file.generation
    if generations[0] != generations[1] and not supersedes(*generations, live=live):
        return Action.STAND_BACK
    if held.same_content(incoming) and in_store == incoming.totals:
        return Action.KEEP
    return Action.LOAD
