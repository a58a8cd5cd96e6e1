"""The quarantine: what a rejected row looks like, and that it reveals no PII."""

import csv
import io
import json
import re

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from txn_assets.files.report import Reason
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.quarantine import ADDED_COLUMNS, QuarantineWriter, formula_safe
from txn_assets_tests.unit.rows import FIELDS, Rejected, make_row, rejected_rows

PLAIN = Hasher(("transaction_id",), None, "sha256")
KEYED = Hasher(("transaction_id", "product"), b"k" * 32, "2026-01")
REASON = Reason("price", "decimal_parsing", "Input should be a plain decimal number such as 999.99")


def make_rejected(*reasons: Reason, source_row: int = 1, **overrides: str) -> Rejected:
    """Return a rejected row that is valid except for `overrides`."""
    return Rejected(source_row, tuple(make_row(**overrides).values()), reasons or (REASON,))


def written(*rows: Rejected, hasher: Hasher = PLAIN) -> str:
    """Return the quarantine file of `rows`."""
    file = io.BytesIO()
    QuarantineWriter(file, FIELDS, hasher).write(rejected_rows(rows))
    return file.getvalue().decode()


def read(text: str) -> list[dict[str, str]]:
    """Read a quarantine file the way a spreadsheet does."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_header_is_written_even_without_rows() -> None:
    """A file without rejected rows still gets a header, which distinguishes it from one that was never written."""
    assert written() == ",".join([*ADDED_COLUMNS, *FIELDS]) + "\n"


def test_row_is_shown_as_sent() -> None:
    """A row is shown as sent, with its record number."""
    (row,) = read(written(make_rejected(source_row=7, price="dear", product="a,\nb")))
    assert (row["source_row"], row["product"], row["price"], row["quantity"]) == ("7", "a,\nb", "dear", "2")


def test_reasons_are_json() -> None:
    """Reasons are JSON, for people and programs."""
    reasons = (REASON, Reason("", "too_few_fields", "The row has 4 fields, the header 5"))
    (row,) = read(written(make_rejected(*reasons)))
    assert json.loads(row["reasons"]) == [
        {"field": reason.field, "code": reason.code, "message": reason.message} for reason in reasons
    ]


@pytest.mark.parametrize("hasher", [PLAIN, KEYED])
def test_pii_is_hashed(hasher: Hasher) -> None:
    """Each configured column is hashed as in the stores, so that a row can be found by its hashed id."""
    text = written(make_rejected(), hasher=hasher)
    (row,) = read(text)
    for name in hasher.pii_fields:
        assert row[name] == hasher.hexdigest(make_row()[name])
        assert make_row()[name] not in text


def test_pii_is_hashed_without_surrounding_blanks() -> None:
    """PII is hashed without surrounding blanks, as in the stores."""
    (row,) = read(written(make_rejected(transaction_id="\u00a0T001 ")))
    assert row["transaction_id"] == PLAIN.hexdigest("T001")


@pytest.mark.parametrize("value", ["", " \t"])
def test_missing_pii_stays_empty(value: str) -> None:
    """Missing PII stays empty, because the hash of nothing would look like an id."""
    (row,) = read(written(make_rejected(transaction_id=value)))
    assert row["transaction_id"] == ""


def test_unreadable_row_shows_no_field() -> None:
    """An unreadable row shows no field, because any part of it may hold PII."""
    (row,) = read(written(Rejected(3, (None,) * 5, (Reason("", "unclosed_quote", "A quoted field is not closed"),))))
    assert [row[name] for name in make_row()] == [""] * 5


@pytest.mark.parametrize(
    "start",
    ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", " =", "\u00a0=", "\0=", "\u200b="],
)
def test_no_cell_runs_as_a_formula(start: str) -> None:
    """A cell that a spreadsheet would run as a formula gets a leading quote."""
    (row,) = read(written(make_rejected(product=f"{start}cmd|' /C calc'!A0", price=f"{start}1")))
    assert (row["product"], row["price"]) == (f"'{start}cmd|' /C calc'!A0", f"'{start}1")


@pytest.mark.parametrize("value", ["", "x", "a=b", "5", "Desk, -10 °C", "a; b", "a\nb", "x - y"])
def test_other_text_is_left_alone(value: str) -> None:
    """Other text is shown as sent."""
    assert formula_safe(pa.array([value])).to_pylist() == [value]


@given(st.lists(st.text(st.sampled_from(";,\t\r\n\"' =+-@\uff1dx\0\u00a0\u200b"), max_size=12), min_size=5, max_size=5))
@example([";=1+1", "a\n=1", "x\t @SUM(A1)", "x;\n=1", '";=1'])
@settings(max_examples=300, deadline=None)
def test_no_cell_is_a_formula_however_cells_are_separated(values: list[str]) -> None:
    """Where the spreadsheet separates with semicolons or tabs, quotes begin no cell and hold nothing together."""
    reason = Reason("price", "value_error", f"refused: {values[0]}")
    text = written(Rejected(1, tuple(values), (reason,)), hasher=Hasher((), None, "sha256"))
    lines = re.split(r"[\r\n]", text)
    cells = [cell for separator in ";\t" for line in lines for cell in line.split(separator)]
    cells += [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    visible = ("".join(one for one in cell if one.isprintable() and one != " ") for cell in cells)
    assert [cell for cell in visible if cell.startswith(("=", "+", "-", "@", "\uff1d"))] == []
    assert json.loads(read(text)[0]["reasons"])[0]["message"].replace("'", "") == reason.message.replace("'", "")


@given(
    st.lists(
        st.fixed_dictionaries(dict.fromkeys(make_row(), st.text(st.characters(codec="utf-8"), max_size=6))), max_size=4
    )
)
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_read_back(rows: list[dict[str, str]]) -> None:
    """Any text can be read back, because quotes, line ends and NULs break no row of the file."""
    rejected = [
        Rejected(number, tuple(row[name] for name in make_row()), (REASON,)) for number, row in enumerate(rows, start=1)
    ]
    shown = read(written(*rejected, hasher=Hasher((), None, "sha256")))
    assert [{name: row[name] for name in make_row()} for row in shown] == [
        {name: formula_safe(pa.array([value])).to_pylist()[0] for name, value in row.items()} for row in rows
    ]
