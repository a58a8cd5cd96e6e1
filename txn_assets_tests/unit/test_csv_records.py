"""How the bytes of a CSV file become records."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from txn_assets.rows.reader.columns import parse
from txn_assets_tests.unit.csv_files import LINE, ROW, lines
from txn_assets_tests.unit.rows import FIELDS, HEADER, csv_bytes, open_csv, read_all


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_ends_a_record(end: str) -> None:
    """LF, CRLF and CR each end a record."""
    assert read_all(lines(LINE, LINE, end=end)).texts == [ROW, ROW]


def test_last_record_needs_no_line_end() -> None:
    """The last record does not need a line end."""
    assert read_all(lines(LINE).rstrip()).texts == [ROW]


def test_byte_order_mark_is_skipped() -> None:
    """A byte order mark, as Excel writes it, is not part of the first column's name."""
    assert read_all(b"\xef\xbb\xbf" + lines(LINE)).texts == [ROW]


def test_blank_lines_are_not_records() -> None:
    """Blank lines before the header, between records and at the end are not records."""
    assert read_all(b"\r\n\n" + lines("", LINE, "", "", LINE, "")).texts == [ROW, ROW]


def test_line_of_blanks_is_a_short_record() -> None:
    """A line of blanks is a short record, so that its sender hears about it; only an empty line is skipped."""
    assert read_all(lines("  ", LINE)).records[0] == "too_few_fields"


def test_quoted_field_may_hold_anything() -> None:
    """Commas, line ends and doubled quotes are text inside quotes."""
    data = lines('T001,"a, ""b""\r\nc",999.99,2,2023-10-01')
    assert read_all(data).texts == [("T001", 'a, "b"\r\nc', *ROW[2:])]


def test_quote_inside_a_bare_field_is_text() -> None:
    """A quote inside a bare field, such as an inch sign, is text."""
    assert read_all(lines('T001,Monitor 24",999.99,2,2023-10-01')).texts == [("T001", 'Monitor 24"', *ROW[2:])]


def test_quote_inside_a_bare_field_is_counted() -> None:
    """Quotes inside bare fields are counted for a warning; rows that quote correctly do not count."""
    data = lines('T001,Pipe 48",1,1,2020-01-01', LINE, 'T002,The "Big" One,1,1,2020-01-01', 'T003,"a",1,1,2020-01-01')
    assert (read_all(data).codes, read_all(data).bare_quotes) == ([], 2)
    # Without a quoted field, the whole file is a regular run.
    assert read_all(lines(LINE, 'T001,Pipe 48",1,1,2020-01-01', LINE)).bare_quotes == 1


@pytest.mark.parametrize(
    "record",
    [
        'T1"Desk, oak",12.50,1,2024-01-31',
        'T1"Desk 20, 48",12.50,1,2024-01-31',
        'T1,Desk oak",12.50,1,2024-01-31',
        'T1,Desk "large, oak",12.50,1,2024-01-31',
        'T1,48" Desk,1,1',
    ],
    ids=["lost comma", "lost comma and inches", "lost quote", "wider", "narrower"],
)
def test_quote_that_moves_the_fields_is_malformed(record: str) -> None:
    """A row that lost the comma before a quoted field is malformed, even if its width happens to be right."""
    assert read_all(lines(LINE, record, LINE)).records[1] == "malformed_quotes"
    assert read_all(lines(LINE, record, 'T1,"a" b,1,1,2020-01-01', LINE)).codes == ["malformed_quotes"] * 2


def test_blanks_around_quotes_are_skipped() -> None:
    """Blanks between a comma and an opening quote, and between a closing quote and a comma, are skipped."""
    data = lines('"T001", "Shelf, oak" ,\t"999.99", 2,"2023-10-01" ')
    assert read_all(data).texts == [("T001", "Shelf, oak", "999.99", " 2", "2023-10-01")]


@pytest.mark.parametrize("irregular", ["", 'T9,"a" b,1,1,2020-01-01\n'], ids=["regular", "irregular"])
def test_byte_order_marks_at_the_start_of_records_are_skipped(irregular: str) -> None:
    """Files joined with `cat` have a byte order mark each; a record that is only a mark is a blank line."""
    # Arrow skips one mark at the start of a block, and no more.
    data = lines() + f"\ufeff\ufeff{LINE}\n\ufeff\n\ufeff{LINE}\n{LINE}\n{irregular}".encode()
    assert read_all(data).texts == [ROW, ROW, ROW]
    assert len(read_all(data).records) == 3 + bool(irregular)


@pytest.mark.parametrize("irregular", [[], ['T9,"a" b,1,1,2020-01-01']], ids=["regular", "irregular"])
def test_records_of_empty_fields_are_blank_lines(irregular: list[str]) -> None:
    """Records of empty fields, as spreadsheets write them below the table, are blank lines of any width."""
    # What follows an irregular record is read record by record.
    data = lines(*irregular, ",,,,", LINE, ",,", '"","",,,', ",,,,,,,", LINE)
    assert read_all(data).texts == [ROW, ROW]
    assert len(read_all(data).records) == 2 + len(irregular)


def test_record_with_only_an_extra_column_is_a_record() -> None:
    """A record with only an extra column is a record, so that its sender hears what is missing."""
    data = f"{HEADER},note\n,,,,,see below\n,,,,,\n{LINE},\n".encode()
    assert read_all(data).texts == [("",) * 5, ROW]


def test_row_with_a_trailing_comma_gets_its_own_message() -> None:
    """A row with one trailing comma too many gets a message that says so, on both code paths."""
    file = open_csv(lines(LINE + ",", 'T1,"a" b,1,1,2020-01-01', LINE + ","))
    messages = [record.message for block in file.blocks() for record in parse(block, file.header).unreadable]
    assert (
        messages[0]
        == messages[2]
        == ("The row has 6 fields, the header 5: it ends in a comma that the header does not have")
    )


def test_short_and_long_rows_are_rejected_alone() -> None:
    """Short and long rows are rejected alone: their neighbors are read, and their position is known."""
    records = read_all(lines(LINE, "T002,x,1,1", LINE, LINE + ",", LINE)).records
    assert [record if isinstance(record, str) else "" for record in records] == [
        "", "too_few_fields", "", "too_many_fields", "",
    ]  # fmt: skip


def test_file_with_only_rows_of_the_wrong_width() -> None:
    """A file can be read even if it has no good row."""
    assert read_all(lines("T002,x,1,1", LINE + ",")).codes == ["too_few_fields", "too_many_fields"]


@pytest.mark.parametrize("record", [b"\xff", b"\xff,x,1,1", b"\xff,x,1,1,2020-01-01,"])
def test_row_of_the_wrong_width_that_is_not_utf8_is_rejected_alone(record: bytes) -> None:
    """A row of the wrong width that is not UTF-8 does not end the run, although Arrow's own reader fails on it."""
    contents = read_all(lines(LINE) + record + b"\n" + LINE.encode())
    assert (len(contents.codes), contents.texts) == (1, [ROW, ROW])


def test_non_utf8_bytes_are_kept_for_the_judge() -> None:
    """Non-UTF-8 bytes are passed on, because the reader decodes nothing."""
    assert read_all(lines() + b"T1,\xff\xfe\0,1,1,2020-01-01").records == (
        (b"T1", b"\xff\xfe\0", b"1", b"1", b"2020-01-01"),
    )


def test_unclosed_quote_costs_one_record() -> None:
    """An unclosed quote costs one record, and the lines after it are read."""
    contents = read_all(lines(LINE, 'T002,"x,1,1,2020-01-01', LINE, LINE))
    assert contents.records[1] == "unclosed_quote"
    assert contents.texts == [ROW, ROW, ROW]


def test_text_after_a_closing_quote_costs_one_record() -> None:
    """Text after a closing quote costs one record, because it is neither quoted nor bare."""
    contents = read_all(lines(LINE, 'T002,"x"y,1,1,2020-01-01', LINE))
    assert contents.records[1] == "malformed_quotes"
    assert contents.texts == [ROW, ROW]


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\ufeff")), min_size=5, max_size=5).filter(
            any
        ),
        max_size=5,
    )
)
@settings(max_examples=100, deadline=None)
def test_what_python_writes_is_read_back(rows: list[list[str]]) -> None:
    """For any text, the fields equal those of Python's own reader."""
    data = csv_bytes(dict(zip(FIELDS, row, strict=True)) for row in rows)
    expected = [tuple(row) for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]
    assert read_all(data, block_bytes=64).texts == expected
