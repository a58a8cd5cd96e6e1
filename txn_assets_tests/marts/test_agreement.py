"""The comparison of marts: silent about equal ones, and red for any change of one value."""

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.marts.agreement import ledger_differences, row_differences, total_differences, version_differences
from txn_assets.marts.mart import MARTS, MartRow, MartTotals, MartVersion

MONTHS = MARTS["summary_sales"]
AMOUNTS = st.decimals(0, 10**20, places=4)
KEYS = st.tuples(
    st.none() | st.text(min_size=1, max_size=3), st.none() | st.dates(dt.date(2023, 1, 1), dt.date(2023, 3, 1))
)
TABLES = st.dictionaries(KEYS, st.tuples(AMOUNTS, AMOUNTS, st.integers(1, 9)), max_size=8)
type Table = dict[tuple[str | None, dt.date | None], tuple[Decimal, Decimal, int]]
"""The values of a mart by its key."""

VERSION = MartVersion("summary_sales", "v", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 1, 2, 10, 20, 1, 1, 3, 3, 2, 2)


def in_order(table: Table) -> list[MartRow]:
    """Return the rows of `table` in the order of both engines: nulls last, text by its bytes."""

    def order(row: MartRow) -> tuple[object, ...]:
        product, month = row[:2]
        return (month is None, month or dt.date.min, product is None, (product or "").encode())

    return sorted(((*key, *values) for key, values in table.items()), key=order)


@given(TABLES, TABLES)
def test_rows_differ_exactly_if_the_tables_do(ours: Table, theirs: Table) -> None:
    """Missing rows and other values are found on either side, whatever the keys are."""
    found = row_differences(MONTHS, in_order(ours), in_order(theirs))

    assert (found == []) == (ours == theirs)
    only = {"PostgreSQL": len(ours.keys() - theirs.keys()), "BigQuery": len(theirs.keys() - ours.keys())}
    for engine, count in only.items():
        assert (f"summary_sales: {count:,} rows are only in {engine}." in found) == (count > 0)


@pytest.mark.parametrize(("transactions", "quantity", "rows", "count"), [(10, 20, 2, 0), (9, 20, 2, 1), (10, 19, 1, 2)])
def test_totals_are_compared_with_the_ledger(transactions: int, quantity: int, rows: int, count: int) -> None:
    """A transaction, a quantity or a row too few is a sentence each."""
    version = VERSION
    wanted = MartTotals(rows, version.transactions - 10 + transactions, version.quantity - 20 + quantity, Decimal(1))

    assert len(ledger_differences(MONTHS, version, wanted)) == count


def test_engines_are_compared() -> None:
    """Other files and other totals are named, and the rounding of binary floats is not."""
    ours = MartTotals(2, 10, 20, Decimal("100.0000"))

    assert version_differences(MONTHS, VERSION, VERSION) == []
    assert total_differences(MONTHS, ours, ours) == []
    near = MartTotals(2, 10, 20, Decimal("100.00001"))
    assert total_differences(MONTHS, ours, near, is_exact=False) == []
    assert len(total_differences(MONTHS, ours, near)) == 1
