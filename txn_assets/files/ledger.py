"""The ledger: what each store says it holds of each file, and what a load may do about it.

Here belong the identity of a file version, the totals that prove a load, and the decision between loading, keeping and
standing back. How a store keeps its ledger does not: that is its I/O manager's. Documented in docs/reliability.md.
"""

import datetime as dt
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One generation of one landed object.

    Attributes:
        name: the object's name below the landing prefix, which is also the Dagster partition key.
        generation: as GCS counts it; a later upload has a larger one.
        size: bytes as stored.
        crc32c: base64, as GCS gives it.
    """

    name: str
    generation: int
    size: int
    crc32c: str

    def __str__(self) -> str:
        return f"{self.name}@{self.generation}"


@dataclass(frozen=True, slots=True)
class Totals:
    """What a store holds of a file, read back in the store's own engine.

    Attributes:
        rows: number of rows.
        price, quantity: sums; money is exact.
        min_date, max_date: None where there is no date.
        fingerprint: covers every column of every row, in any order; see `fingerprint.py`.
    """

    rows: int
    price: Decimal
    quantity: int
    min_date: dt.date | None
    max_date: dt.date | None
    fingerprint: int

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> Self:
        """From a row of a query that selects the attributes in their order; sums over no rows come as null."""
        rows, price, quantity, min_date, max_date, fingerprint = row
        return cls(int(rows), Decimal(price or 0), int(quantity or 0), min_date, max_date, int(fingerprint or 0))

    def differences(self, other: "Totals", *, exact_price: bool = True) -> dict[str, tuple[Any, Any]]:
        """The attributes in which `other` differs, each with both values.

        With `exact_price` false, prices may differ by the rounding of a binary float column.
        """
        mine, others = asdict(self), asdict(other)
        found = {name: (mine[name], others[name]) for name in mine if mine[name] != others[name]}
        if not exact_price and abs(self.price - other.price) <= FLOAT_TOLERANCE * max(abs(self.price), Decimal(1)):
            found.pop("price", None)
        return found


def describe(differences: dict[str, tuple[Any, Any]]) -> str:
    """Return `Totals.differences` as text for people, who cannot make anything of a fingerprint."""
    found = [
        f"{what} {theirs} instead of {ours}" for what, (ours, theirs) in differences.items() if what != "fingerprint"
    ]
    return ", ".join(found or ["at least one row has another value"])


FLOAT_TOLERANCE = Decimal("1e-6")
"""Relative: the unit roundoff of REAL is 6e-8, and errors of a sum mostly cancel."""


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """A row of the ledger: one version of a file, as one load put it into one store."""

    file: FileVersion
    run_id: str
    key_id: str
    rules_id: str
    totals: Totals
    loaded_at: dt.datetime | None = None

    def same_content(self, other: "LoadRecord") -> bool:
        """Whether both come from the same bytes, judged and hashed alike."""
        return (self.file.crc32c, self.key_id, self.rules_id, self.totals) == (
            other.file.crc32c,
            other.key_id,
            other.rules_id,
            other.totals,
        )

    def at(self, moment: dt.datetime) -> "LoadRecord":
        """The same record, loaded at `moment`."""
        return replace(self, loaded_at=moment)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a store says of a file: the newest generation in its ledger, and the totals of its rows."""

    generation: int
    totals: Totals


NOTHING = Holding(0, Totals(0, Decimal(0), 0, None, None, 0))
"""What a store holds of a file that it never loaded."""


class Action(Enum):
    """What a load does with a file."""

    LOAD = "loaded"
    """Replace what the store holds of the file."""
    KEEP = "unchanged"
    """The store already holds exactly this; note the version in the ledger and touch no row."""
    STAND_BACK = "superseded"
    """The store holds a newer version; change nothing."""


def supersedes(generation: int, held: int, *, live: int | None) -> bool:
    """Whether `generation` of a file replaces the generation `held` by a store.

    `live` is the generation in the landing zone, None where the file is gone. It wins: GCS promises that generations
    are unique, not that they grow (https://cloud.google.com/storage/docs/metadata#generation-number). Of two that are
    both history, the larger is taken for the later.
    """
    if live in (generation, held):
        return live == generation
    return generation > held


def decide(
    incoming: LoadRecord, held: LoadRecord | None, in_store: Totals | None, *, live: int | None = None
) -> Action:
    """Return what to do with `incoming`, where the ledger says `held` and the store itself says `in_store`.

    `in_store` is only asked for where `held` has the same content: pass None to say that it was not looked at. `live`
    is only asked for where `held` is another generation; see `supersedes`.
    """
    if held is None:
        return Action.LOAD
    generations = incoming.file.generation, held.file.generation
    if generations[0] != generations[1] and not supersedes(*generations, live=live):
        return Action.STAND_BACK
    if held.same_content(incoming) and in_store == incoming.totals:
        return Action.KEEP
    return Action.LOAD
