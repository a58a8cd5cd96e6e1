"""Hashed rows as files: SQL totals equal those of plain Python, and the lake keeps each text unchanged."""

import datetime as dt
import hashlib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.ledger import Totals
from txn_assets.rows.hashed_rows import (
    count_partitions,
    inexact_totals,
    lake_totals,
    malformed_digests,
    read,
    read_lake,
    staged_schema,
    totals,
    write_lake,
)
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.kinds.whole import MAX_WHOLE
from txn_assets_tests.unit.rows import FIELDS

SCHEMA = staged_schema(CONTRACT)
HASHER = Hasher(("transaction_id",), None, "sha256")
PII = HASHER.pii_fields

type Row = dict[str, Any]

TEXT = st.one_of(
    st.sampled_from(
        ['say "hi"', '"', '""', '"quoted"', "a,b", ",", "two\nlines", "a\r\nb", "\r", "\n", " lead", "trail ", "\t",
         "NULL", "\\N", "\\", "'", "#", "حلال", "\U0001f600", "1", "x" * 3000, "\ufeff"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
)  # fmt: skip
ROW = st.fixed_dictionaries(
    {
        "transaction_id": st.none() | st.text(max_size=5).map(HASHER.hexdigest),
        "product": st.none() | TEXT,
        "price": st.none() | st.decimals(0, Decimal("99999999999999.9999"), places=4),
        "quantity": st.none() | st.integers(1, MAX_WHOLE),
        "date": st.none() | st.dates(),
    }
)
ROWS = st.lists(ROW, max_size=12)
LIGHT = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_hashed_row(**overrides: object) -> Row:
    """Return a hashed row with `overrides`."""
    return {
        "transaction_id": HASHER.hexdigest("T001"),
        "product": "Halal Laptop",
        "price": Decimal("999.9900"),
        "quantity": 2,
        "date": dt.date(2023, 10, 1),
    } | overrides


def stored(rows: list[Row], path: Path) -> Path:
    """Write `rows` as a Parquet file of hashed rows."""
    numbered = [{"source_file": "a.csv", "source_row": number, **row} for number, row in enumerate(rows, start=1)]
    pa.parquet.write_table(pa.Table.from_pylist(numbered, schema=SCHEMA), path)
    return path


def in_lake(rows: list[Row], folder: Path, file_format: str = "csv") -> Path:
    """Write `rows` as the file of the lake."""
    target = folder / f"it's.{file_format}"
    write_lake(stored(rows, folder / "hashed.parquet"), target, CONTRACT, file_format=file_format)
    return target


def by_python(rows: list[Row]) -> Totals:
    """Compute the totals of `rows` in Python."""

    def present(name: str) -> list[Any]:
        return [row[name] for row in rows if row[name] is not None]

    dates = present("date")
    return Totals(
        rows=len(rows),
        sums={"price": sum(present("price"), Decimal(0)), "quantity": Decimal(sum(present("quantity")))},
        min_date=min(dates, default=None),
        max_date=max(dates, default=None),
        fingerprint=sum(map(_row_number, rows, range(1, len(rows) + 1))) % 2**60,
    )


def _row_number(row: Row, source_row: int | None) -> int:
    """Compute the number of a row in the fingerprint."""

    def text(value: object) -> str:
        return "" if value is None else str(value)

    def length(name: str) -> int | None:
        return None if row[name] is None else len(row[name])

    price = None if row["price"] is None else f"{row['price'] + Decimal('0.00005'):f}"
    days = None if row["date"] is None else (row["date"] - dt.date(1970, 1, 1)).days
    numbers = [price, row["quantity"], days, *([] if source_row is None else [source_row])]
    texts = [length("transaction_id"), row["transaction_id"], length("product"), row["product"]]
    return int(hashlib.md5("|".join(map(text, [*texts, *numbers])).encode()).hexdigest()[:15], 16)  # noqa: S324 - not a secret


class TestTotals:
    """Totals of a file."""

    @given(ROWS)
    @LIGHT
    def test_totals_equal_a_computation_in_python(self, rows: list[Row]) -> None:
        """Totals are exact, beyond the range of the columns' own types and with nulls."""
        with TemporaryDirectory() as folder:
            found, in_lake = totals(stored(rows, Path(folder) / "rows"), CONTRACT)
            assert found == by_python(rows)
            assert in_lake == sum(_row_number(row, None) for row in rows) % 2**60

    def test_sums_may_exceed_the_columns(self, tmp_path: Path) -> None:
        """Sums may reach a hundred times the largest price and quantity."""
        rows = [make_hashed_row(price=Decimal("99999999999999.9999"), quantity=MAX_WHOLE)] * 100
        found, _ = totals(stored(rows, tmp_path / "rows"), CONTRACT)
        assert found.sums == {"price": Decimal("9999999999999999.9900"), "quantity": Decimal(100 * MAX_WHOLE)}

    def test_fingerprint_does_not_depend_on_the_order(self, tmp_path: Path) -> None:
        """The fingerprint ignores the order, because a store keeps its rows in any order."""
        rows = [make_hashed_row(transaction_id=HASHER.hexdigest(text)) for text in "abc"]
        forth, back = (totals(stored(some, tmp_path / "rows"), CONTRACT)[1] for some in (rows, rows[::-1]))
        assert forth == back

    @pytest.mark.parametrize("file_format", ["csv", "parquet"])
    def test_duplicate_row_changes_the_fingerprint(self, tmp_path: Path, file_format: str) -> None:
        """A duplicated row changes the fingerprint, whereas an XOR would cancel a pair of equal rows."""
        once, thrice = (
            lake_totals(in_lake([make_hashed_row()] * count, tmp_path, file_format), CONTRACT, file_format=file_format)
            for count in (1, 3)
        )
        assert once.fingerprint != thrice.fingerprint

    def test_price_is_left_out_of_an_inexact_table(self, tmp_path: Path) -> None:
        """An inexact table leaves the price out, because a binary float has no exact text; the rest counts."""
        rows = [make_hashed_row(price=price, product=product) for price, product in ((1, "a"), (2, "a"), (1, "b"))]
        one, other_price, other_product = (
            inexact_totals(stored([row], tmp_path / "rows"), CONTRACT).fingerprint for row in rows
        )
        assert one == other_price != other_product


class TestLake:
    """The file of the data lake."""

    @pytest.mark.parametrize("file_format", ["csv", "parquet"])
    @given(rows=ROWS)
    @example(rows=[make_hashed_row(product=None, price=None, quantity=None, date=None, transaction_id=None)] * 2)
    @LIGHT
    def test_csv_has_the_totals_and_texts_of_the_rows(self, file_format: str, rows: list[Row]) -> None:
        """Quotes, commas, line ends, blanks and nulls are read back unchanged."""
        with TemporaryDirectory() as folder:
            path = in_lake(rows, Path(folder), file_format)
            in_lake_number = sum(_row_number(row, None) for row in rows) % 2**60
            expected = replace(by_python(rows), fingerprint=in_lake_number)
            assert lake_totals(path, CONTRACT, file_format=file_format) == expected
            assert read_lake(path.read_bytes(), CONTRACT, file_format=file_format).to_pylist() == rows

    @pytest.mark.parametrize(
        ("price", "text"),
        [
            ("999.9900", "999.99"),
            ("5", "5.00"),
            ("0.1234", "0.1234"),
            ("1.2300", "1.23"),
            ("1.2340", "1.234"),
            ("1.2000", "1.20"),
            ("100", "100.00"),
            ("0", "0.00"),
            ("99999999999999.9999", "99999999999999.9999"),
        ],
    )
    def test_money_is_plain_decimal_text(self, tmp_path: Path, price: str, text: str) -> None:
        """Money is decimal text with two decimals, or more if needed, and never a binary float."""
        lines = in_lake([make_hashed_row(price=Decimal(price))], tmp_path).read_text(encoding="utf-8").splitlines()
        assert lines == [",".join(FIELDS), f"{HASHER.hexdigest('T001')},Halal Laptop,{text},2,2023-10-01"]

    def test_other_columns_may_have_any_name(self) -> None:
        """A column that the feed does not have is left out, whatever its name, which may be meant to be SQL."""
        name = "note': nothing"
        found = read_lake(
            f"{','.join(CONTRACT.names)},{name}\nT1,x,1,2,2024-01-31,y\n".encode(), CONTRACT, file_format="csv"
        )
        assert found.column_names == list(CONTRACT.names)
        assert found["product"].to_pylist() == ["x"]

    def test_file_without_rows_has_its_header(self, tmp_path: Path) -> None:
        """A file without rows still has its header, so that readers find the columns."""
        assert in_lake([], tmp_path).read_text(encoding="utf-8") == ",".join(FIELDS) + "\n"

    def test_parquet_has_the_types_of_the_rows(self, tmp_path: Path) -> None:
        """The Parquet file has the types of the rows, with money as a decimal."""
        schema = pa.parquet.read_schema(in_lake([make_hashed_row()], tmp_path, "parquet"))
        assert [(field.name, field.type) for field in schema] == [(name, SCHEMA.field(name).type) for name in FIELDS]

    @pytest.mark.parametrize("product", ["x" * (1 << 20), '"' * (1 << 20)], ids=["letters", "quotes"])
    def test_field_of_a_mebibyte_can_be_read_back(self, tmp_path: Path, product: str) -> None:
        """The longest field that a landed file may have can be read back, even if each character is escaped."""
        path = in_lake([make_hashed_row(product=product)], tmp_path)
        assert lake_totals(path, CONTRACT, file_format="csv").rows == 1

    def test_order_of_the_file_is_kept(self, tmp_path: Path) -> None:
        """The order of the file is kept, because readers of the original pipeline's file expect it."""
        rows = [make_hashed_row(product=f"p{number}") for number in range(5000)]
        path = in_lake(rows, tmp_path)
        products = read_lake(path.read_bytes(), CONTRACT, file_format="csv")["product"].to_pylist()
        assert products == [row["product"] for row in rows]


class TestMalformedDigests:
    """PII that is neither null nor a hash."""

    @pytest.mark.parametrize("value", ["T001", "", "E78D" * 16, "e78d" * 15, "e78d" * 17, "e78d" * 16 + "\n"])
    def test_anything_else_is_counted(self, tmp_path: Path, value: str) -> None:
        """Anything other than 64 lowercase hex digits is counted."""
        rows = [make_hashed_row(), make_hashed_row(transaction_id=value), make_hashed_row(transaction_id=None)]
        assert malformed_digests(stored(rows, tmp_path / "rows"), pii_fields=PII) == 1

    def test_each_column_counts(self, tmp_path: Path) -> None:
        """Each PII column counts, so a row may count twice."""
        path = stored([make_hashed_row(transaction_id="T001")], tmp_path / "rows")
        assert malformed_digests(path, pii_fields=("transaction_id", "product")) == 2

    def test_without_pii_nothing_is_malformed(self, tmp_path: Path) -> None:
        """Without PII columns nothing is malformed."""
        path = stored([make_hashed_row(transaction_id="T001")], tmp_path / "rows")
        assert malformed_digests(path, pii_fields=()) == 0


def test_several_files_are_read_as_one_stream(tmp_path: Path) -> None:
    """Several files are read as one stream of batches, in order, with the columns that every sink gets."""
    rows = [make_hashed_row(quantity=number) for number in range(1, 11)]
    paths = [stored(rows[:4], tmp_path / "one"), stored(rows[4:], tmp_path / "two")]
    reader = read(paths, CONTRACT, batch_size=3)
    assert reader.schema.names == SCHEMA.names
    batches = list(reader)
    assert max(batch.num_rows for batch in batches) == 3
    assert [number for batch in batches for number in batch["quantity"].to_pylist()] == list(range(1, 11))


@pytest.mark.parametrize(
    ("days", "months", "count_of_days"),
    [
        ([], 0, 0),
        (["2023-10-01", "2023-10-31", "2023-10-31", "2024-10-01"], 2, 3),
        (["2023-10-01", None, None], 2, 2),
    ],
)
def test_partitions_are_counted(tmp_path: Path, days: list[str | None], months: int, count_of_days: int) -> None:
    """Partitions are counted, and rows without a date share one."""
    rows = [make_hashed_row(date=day and dt.date.fromisoformat(day)) for day in days]
    path = stored(rows, tmp_path / "rows")
    assert count_partitions(path, CONTRACT, partition_by="month") == months
    assert count_partitions(path, CONTRACT, partition_by="day") == count_of_days
