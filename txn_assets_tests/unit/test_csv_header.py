"""The first record of a CSV file names the columns; a file without such a header is refused."""

import pytest

from txn_assets_tests.unit.csv_files import LINE, ROW, lines, refusal
from txn_assets_tests.unit.rows import FIELDS, HEADER, csv_bytes, make_row, open_csv, read_all


def test_header_only_is_a_file_without_records() -> None:
    """A file with only a header is read without records; a later stage says that no row is valid."""
    assert read_all(lines()).records == ()


def test_columns_may_be_in_any_order() -> None:
    """Columns may be in any order, because fields are found by name."""
    row = make_row()
    assert read_all(csv_bytes([row], columns=FIELDS[::-1])).texts == [tuple(row[name] for name in FIELDS)]


def test_names_may_be_quoted_and_surrounded_by_blanks() -> None:
    """Names may be quoted and surrounded by blanks, as spreadsheets and people write them."""
    data = b'"transaction_id", product ,price,quantity,"date"\n' + LINE.encode()
    assert read_all(data).texts == [ROW]


def test_extra_columns_are_named_and_left_out() -> None:
    """Extra columns are named and left out, even if two of them share a name."""
    data = f"note,{HEADER},note\nx,{LINE},y\n".encode()
    assert open_csv(data).header.extra == ("note", "note")
    assert read_all(data).texts == [ROW]


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_empty_file_is_refused(data: bytes) -> None:
    """An empty file is refused with the header that it should have."""
    assert refusal(data) == f"it is empty: the first line must name the columns {HEADER}"


def test_missing_columns_are_named() -> None:
    """All missing columns are named at once."""
    assert "lacks the columns price, date" in refusal(b"transaction_id,product,quantity\n")


@pytest.mark.parametrize(
    ("wrong", "right"), [("Transaction ID", "transaction_id"), ("Quantity", "quantity"), ("prize", "price")]
)
def test_column_with_a_similar_name_is_to_be_renamed(wrong: str, right: str) -> None:
    """The message about a column with a similar name says which column to rename."""
    assert f"rename the column that looks like {right!r}" in refusal(HEADER.replace(right, wrong).encode())


def test_file_without_a_header_shows_no_value() -> None:
    """The message about a missing header shows no value, because the first line is data and may hold an id."""
    message = refusal(f"{LINE}\n{LINE}\n".encode())
    assert "the first line must name the columns" in message
    assert not any(value in message for value in ROW)


def test_repeated_column_is_refused() -> None:
    """A repeated column is refused, because it is ambiguous."""
    assert refusal(f"{HEADER},price\n".encode()) == "its header names the column price 2 times: keep one of them"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separator_is_named(separator: str) -> None:
    """Another separator is named, because many European spreadsheets write semicolons."""
    assert f"separated by {separator!r}" in refusal(lines(LINE).replace(b",", separator.encode()))


def test_header_with_a_broken_quote_is_refused() -> None:
    """A header with a broken quote is refused, because its columns are unknown."""
    assert refusal(b'"transaction_id,product\n') == "its first line is not a header: a quoted field is not closed"


@pytest.mark.parametrize(
    ("above", "sentence"),
    [
        ("Sales of May\n\nEUR\n", "line 4 looks like the header, but other text comes first"),
        ("sep=,\n", "line 2 looks like the header, but the line 'sep=', which only Excel understands, comes first"),
        ('"Report, "May"\n', "line 2 looks like the header, but other text comes first"),
    ],
)
def test_header_below_other_text_is_found(above: str, sentence: str) -> None:
    """A header below other text is found, and the message says on which line."""
    assert sentence in refusal(above.encode() + lines(LINE))


def test_header_below_another_separator_is_found() -> None:
    """A header below other text with another separator gets both faults in one sentence."""
    message = refusal(b"sep=;\n" + lines(LINE).replace(b",", b";"))
    assert "remove everything before line 2; its fields are separated by ';'" in message


@pytest.mark.parametrize("header", ['{};"note, remarks"', "{};note, remarks"])
def test_other_separator_is_named_despite_a_comma(header: str) -> None:
    """Another separator is named even if a name contains a comma."""
    assert "its fields are separated by ';'" in refusal(header.format(HEADER.replace(",", ";")).encode() + b"\n")


def test_quoted_names_with_another_separator() -> None:
    """Quoted names with another separator are reported for the separator, not for the quotes."""
    header = ";".join(f'"{name}"' for name in FIELDS)
    assert "its fields are separated by ';'" in refusal(f"{header}\n".encode())


def test_blanks_around_quoted_names_and_repeated_marks_are_skipped() -> None:
    """Blanks around quoted names are accepted, as in any other record."""
    header = ", ".join(f'"{name}"' for name in FIELDS)
    assert read_all(f"\ufeff\ufeff{header}\n{LINE}\n".encode()).texts == [ROW]


def test_message_about_a_missing_header() -> None:
    """The message about a file without a header repeats none of its contents."""
    assert "its first line looks like data, and the first line must name" in refusal(f"{LINE}\n".encode())


def test_values_glued_to_the_header_are_not_shown() -> None:
    """Values glued to the header by a lost line end are not shown."""
    file = open_csv(f"{HEADER},{LINE}\n".encode())
    assert file.header.extra == tuple(f"column {place}" for place in range(6, 11))
    assert not set(ROW) & set(file.header.columns)


def test_column_without_a_name_is_shown_by_its_position() -> None:
    """A column without a name, as after a trailing comma, is shown by its position."""
    assert open_csv(lines(LINE).replace(b"date", b"date,")).header.extra == ("column 6",)


def test_header_of_any_length_up_to_a_field_is_read() -> None:
    """A header may have any length up to the field limit, however many reads that takes."""
    extra = ",".join(f"c{number}" for number in range(5000))
    assert len(open_csv(f"{HEADER},{extra}\n".encode(), block_bytes=1000).header.extra) == 5000
    assert refusal(b"x" * (1 << 20) + b"xx\n") == "its first line is not a header: it is longer than 1 MiB"


def test_header_that_is_not_utf8_is_refused() -> None:
    """A header that is not UTF-8 is refused with what to send instead."""
    assert "not UTF-8" in refusal(HEADER.encode() + b",caf\xe9\n")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("transaction_id".encode("utf-16"), "UTF-16 text"),
        (b"\xfe\xff" + "transaction_id".encode("utf-16-be"), "UTF-16 text"),
        (HEADER.encode("utf-16-le"), "UTF-16 text"),
        (HEADER.encode("utf-16-be"), "UTF-16 text"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive or an Excel workbook"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_other_formats_are_named(data: bytes, kind: str) -> None:
    """Other formats are named by their first bytes."""
    assert refusal(data) == f"it is {kind}: send a CSV file in UTF-8"
