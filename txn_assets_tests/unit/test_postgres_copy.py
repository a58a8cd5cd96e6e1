"""Rows as text for COPY."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from txn_assets.feeds.transaction import CONTRACT
from txn_assets.rows.hashed_rows import staged_schema
from txn_assets.stores.postgres.copy import PIECE_BYTES, pieces

_UNESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def make_batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Return a batch of valid rows with the overrides in each of `rows`."""
    usual = {
        "source_file": "a.csv",
        "source_row": 1,
        "transaction_id": "e7",
        "product": "Halal Laptop",
        "price": Decimal("999.9900"),
        "quantity": 2,
        "date": dt.date(2023, 10, 1),
    }
    return pa.RecordBatch.from_pylist([usual | row for row in rows], schema=staged_schema(CONTRACT))


def read_back(batch: pa.RecordBatch, *, piece_bytes: int = PIECE_BYTES) -> list[tuple[str | None, ...]]:
    """Return the values that PostgreSQL reads from the text, by the rules of its documentation."""
    text = b"".join(pieces([batch], order_by="date", piece_bytes=piece_bytes)).decode()
    assert text == "" or text.endswith("\n")
    return [tuple(map(_value, line.split("\t"))) for line in text.split("\n")[:-1]]


def _value(field: str) -> str | None:
    return None if field == "\\N" else re.sub(r"\\.", lambda found: _UNESCAPED[found[0]], field)


def as_text(row: dict[str, Any]) -> tuple[str | None, ...]:
    """Return a row of a batch as PostgreSQL reads it."""
    return tuple(None if value is None else str(value) for value in row.values())


def test_row_as_text() -> None:
    """A row becomes text with money as plain decimals."""
    assert read_back(make_batch({})) == [("a.csv", "1", "e7", "Halal Laptop", "999.9900", "2", "2023-10-01")]


def test_nothing_is_sent_without_rows() -> None:
    """No rows produce no text, because an empty line would be a row."""
    assert read_back(make_batch()) == []


def test_rows_of_a_batch_are_sorted_by_date() -> None:
    """Rows of a batch are sorted by date, so that PostgreSQL fills the index on date in order."""
    late, early = dt.date(2023, 2, 1), dt.date(2023, 1, 1)
    rows = read_back(make_batch({"date": late}, {"date": early}, {"date": late}))
    assert [row[-1] for row in rows] == ["2023-01-01", "2023-02-01", "2023-02-01"]


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "source_file": st.text(st.characters(codec="utf-8"), min_size=1),
            "product": st.none() | st.text(st.characters(codec="utf-8")),
            "price": st.none() | st.decimals(0, 10**14, places=4, allow_nan=False).map(lambda price: price % 10**14),
            "quantity": st.none() | st.integers(1, 2**63 - 1),
            "date": st.none() | st.dates(),
        }
    ),
    max_size=20,
)


@given(ROWS, st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_any_value_is_read_back(rows: list[dict[str, Any]], piece_bytes: int) -> None:
    """Any value is read back, whatever the text holds and wherever it is cut."""
    batch = make_batch(*({"source_row": number} | row for number, row in enumerate(rows)))
    found = read_back(batch, piece_bytes=piece_bytes)
    assert sorted(found, key=lambda row: int(row[1] or 0)) == [as_text(row) for row in batch.to_pylist()]
