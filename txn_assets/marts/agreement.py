"""Compare a mart with its counterpart in the other engine, and with the ledgers.

This module is pure: the caller reads rows and versions from the engines, and gets sentences that say what differs. They
name a mart, an engine and a column, but no value of a key, because a product may be a hashed or a private name.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

from txn_assets.files.ledger import FLOAT_TOLERANCE
from txn_assets.marts.mart import Mart, MartRow, MartTotals, MartVersion

_MONEY = ("price", "amount", "total_amount", "avg_price")
"""Columns that are computed from prices."""


def ledger_differences(mart: Mart, version: MartVersion, totals: MartTotals) -> list[str]:
    """Return how `totals` of a mart differ from what its `version` says that the ledger has.

    Each loaded row counts once, except the superseded rows and those that the rules exclude.
    """
    found = [
        _difference(mart, "transactions", totals.transactions, version.transactions, version),
        _difference(mart, "a quantity of", totals.quantity, version.quantity, version)
        if totals.quantity is not None
        else None,
        f"{mart.name} has {totals.rows:,} rows, but {version.rows:,} were computed: something else changed the table."
        if totals.rows != version.rows
        else None,
    ]
    return [sentence for sentence in found if sentence]


def _difference(mart: Mart, what: str, found: int | None, wanted: int, version: MartVersion) -> str | None:
    if found == wanted:
        return None
    return (
        f"{mart.name} counts {what} {found:,} instead of {wanted:,}: the ledger has {version.ledger_rows:,} rows, "
        f"{version.unrecorded:,} more are in no ledger, {version.superseded:,} are superseded and "
        f"{version.excluded:,} excluded by ingestion.validation."
    )


def version_differences(mart: Mart, postgres: MartVersion, bigquery: MartVersion) -> list[str]:
    """Return why the rows of two engines cannot be compared: they were computed from different loads."""
    if postgres.files == bigquery.files:
        return []
    return [
        f"{mart.name} was computed from other versions of the files in BigQuery ({bigquery.computed_at:%Y-%m-%d %H:%M} "
        f"UTC) than in PostgreSQL ({postgres.computed_at:%Y-%m-%d %H:%M} UTC): refresh both when no load is running."
    ]


def total_differences(mart: Mart, postgres: MartTotals, bigquery: MartTotals, *, is_exact: bool = True) -> list[str]:
    """Return which totals of `mart` differ between the engines; see `row_differences` for `is_exact`."""
    pairs = {name: (getattr(postgres, name), getattr(bigquery, name)) for name in ("rows", "transactions", "quantity")}
    found = [name for name, (ours, theirs) in pairs.items() if ours != theirs]
    if not _same(postgres.amount, bigquery.amount, is_exact=is_exact):
        found.append("amount")
    return [
        f"{mart.name}: {name} is {getattr(postgres, name):,} in PostgreSQL and {getattr(bigquery, name):,} in BigQuery."
        for name in found
    ]


def row_differences(
    mart: Mart, postgres: Iterable[MartRow], bigquery: Iterable[MartRow], *, is_exact: bool = True
) -> list[str]:
    """Return which rows of `mart` differ between the engines: a sentence for each kind of difference.

    Both sides come in the order of the key, so that they need not fit into memory. If `is_exact` is false, a table has
    prices as binary floating-point numbers, and amounts may differ by their rounding.
    """
    key = [mart.columns.index(name) for name in mart.key]
    only: dict[str, int] = {}
    different: dict[str, int] = {}
    for ours, theirs in _merge(postgres, bigquery, key):
        if ours is None or theirs is None:
            engine = "BigQuery" if ours is None else "PostgreSQL"
            only[engine] = only.get(engine, 0) + 1
            continue
        for name, value, other in zip(mart.columns, ours, theirs, strict=True):
            if not _same(value, other, is_exact=is_exact or name not in _MONEY):
                different[name] = different.get(name, 0) + 1
    return [
        *(f"{mart.name}: {count:,} rows are only in {engine}." for engine, count in only.items()),
        *(f"{mart.name}: {name} differs between the engines in {count:,} rows." for name, count in different.items()),
    ]


def _same(value: Any, other: Any, *, is_exact: bool) -> bool:  # noqa: ANN401 - values of any column
    if is_exact or value is None or other is None:
        return bool(value == other)
    return abs(Decimal(value) - Decimal(other)) <= FLOAT_TOLERANCE * max(abs(Decimal(value)), Decimal(1))


def _merge(
    ours: Iterable[MartRow], theirs: Iterable[MartRow], key: Sequence[int]
) -> Iterator[tuple[MartRow | None, MartRow | None]]:
    """Yield the rows with equal keys in pairs, and the others with None."""
    left, right = iter(ours), iter(theirs)
    mine, other = next(left, None), next(right, None)
    while mine is not None or other is not None:
        before = mine is not None and (other is None or _order(mine, key) <= _order(other, key))
        after = other is not None and (mine is None or _order(other, key) <= _order(mine, key))
        yield (mine if before else None, other if after else None)
        if before:
            mine = next(left, None)
        if after:
            other = next(right, None)


def _order(row: MartRow, key: Sequence[int]) -> list[Any]:
    """Return what both engines sort a row by: nulls last, and text by its bytes in UTF-8."""
    return list(
        chain.from_iterable((row[place] is None, b"" if row[place] is None else _sortable(row[place])) for place in key)
    )


def _sortable(value: Any) -> Any:  # noqa: ANN401 - values of any key
    return value.encode() if isinstance(value, str) else value
