"""Reading CSV: what a record is, whatever the block size, and which files are refused."""

import csv
import gzip
import io
import tracemalloc
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from txn_assets.rows.csv_columns import parse
from txn_assets.rows.csv_header import NotATransactionFileError
from txn_assets.rows.csv_reader import RECORD_FIELDS, CsvFile, Sizes
from txn_assets.rows.csv_records import Limits, Unreadable, read_records
from txn_assets.rows.transaction import FIELDS
from txn_assets_tests.unit.rows import HEADER, csv_bytes, hostile_csv, make_row, open_csv, read_all

SMALLEST_FIELD = len(HEADER) + len(",note") + 2
"""Smallest usable limit for fields: the header counts as a field, so no test may set a tighter one."""

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"))
SIZES = st.fixed_dictionaries(
    {},
    optional={
        "block_bytes": st.integers(1, 300),
        "block_lines": st.integers(1, 10),
        "step_bytes": st.sampled_from([1, 10, 100]),
        "field_bytes": st.sampled_from([SMALLEST_FIELD, 60, 200]),
    },
)
"""Block sizes under test; the other sizes exceed any file of the tests."""

ROW = ("T001", "Halal Laptop", "999.99", "2", "2023-10-01")
LINE = ",".join(ROW)


def lines(*records: str, end: str = "\n") -> bytes:
    """Return the header and `records`, each followed by `end`."""
    return "".join(record + end for record in (HEADER, *records)).encode()


def refusal(data: bytes) -> str:
    """Return the reader's message about a file that it refuses."""
    with pytest.raises(NotATransactionFileError) as caught:
        read_all(data)
    return str(caught.value)


class TestRecords:
    """How bytes become records."""

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_every_line_end_ends_a_record(self, end: str) -> None:
        """LF, CRLF and CR each end a record."""
        assert read_all(lines(LINE, LINE, end=end)).texts == [ROW, ROW]

    def test_last_record_needs_no_line_end(self) -> None:
        """The last record does not need a line end."""
        assert read_all(lines(LINE).rstrip()).texts == [ROW]

    def test_byte_order_mark_is_skipped(self) -> None:
        """A byte order mark, as Excel writes it, is not part of the first column's name."""
        assert read_all(b"\xef\xbb\xbf" + lines(LINE)).texts == [ROW]

    def test_blank_lines_are_no_records(self) -> None:
        """Blank lines before the header, between records and at the end are not records."""
        assert read_all(b"\r\n\n" + lines("", LINE, "", "", LINE, "")).texts == [ROW, ROW]

    def test_line_of_blanks_is_a_short_record(self) -> None:
        """A line of blanks is a short record, so that its sender hears about it; only an empty line is skipped."""
        assert read_all(lines("  ", LINE)).records[0] == "too_few_fields"

    def test_quoted_field_may_hold_anything(self) -> None:
        """Commas, line ends and doubled quotes are text inside quotes."""
        data = lines('T001,"a, ""b""\r\nc",999.99,2,2023-10-01')
        assert read_all(data).texts == [("T001", 'a, "b"\r\nc', *ROW[2:])]

    def test_quote_within_a_bare_field_is_text(self) -> None:
        """A quote inside a bare field, such as an inch sign, is text."""
        assert read_all(lines('T001,Monitor 24",999.99,2,2023-10-01')).texts == [("T001", 'Monitor 24"', *ROW[2:])]

    def test_quote_within_a_bare_field_is_counted(self) -> None:
        """Quotes inside bare fields are counted for a warning; rows that quote correctly do not count."""
        data = lines(
            'T001,Pipe 48",1,1,2020-01-01', LINE, 'T002,The "Big" One,1,1,2020-01-01', 'T003,"a",1,1,2020-01-01'
        )
        assert (read_all(data).codes, read_all(data).bare_quotes) == ([], 2)

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
    def test_quote_that_moves_the_fields_is_malformed(self, record: str) -> None:
        """A row that lost the comma before a quoted field is malformed, even if its width happens to be right."""
        assert read_all(lines(LINE, record, LINE)).records[1] == "malformed_quotes"
        assert read_all(lines(LINE, record, 'T1,"a" b,1,1,2020-01-01', LINE)).codes == ["malformed_quotes"] * 2

    def test_blanks_around_quotes_are_skipped(self) -> None:
        """Blanks between a comma and an opening quote, and between a closing quote and a comma, are skipped."""
        data = lines('"T001", "Shelf, oak" ,\t"999.99", 2,"2023-10-01" ')
        assert read_all(data).texts == [("T001", "Shelf, oak", "999.99", " 2", "2023-10-01")]

    @pytest.mark.parametrize("irregular", ["", 'T9,"a" b,1,1,2020-01-01\n'], ids=["regular", "irregular"])
    def test_byte_order_marks_at_the_start_of_records_are_skipped(self, irregular: str) -> None:
        """Files joined with `cat` have a byte order mark each; a record that is only a mark is a blank line."""
        data = lines() + f"\ufeff{LINE}\n\ufeff\n\ufeff\ufeff{LINE}\n{LINE}\n{irregular}".encode()
        assert read_all(data).texts == [ROW, ROW, ROW]
        assert len(read_all(data).records) == 3 + bool(irregular)

    @pytest.mark.parametrize("irregular", ["", 'T9,"a" b,1,1,2020-01-01\n'], ids=["regular", "irregular"])
    def test_records_of_empty_fields_are_blank_lines(self, irregular: str) -> None:
        """Records of empty fields, as spreadsheets write them below the table, are blank lines of any width."""
        data = lines(",,,,", LINE, ",,", '"","",,,', ",,,,,,,", LINE) + irregular.encode()
        assert read_all(data).texts == [ROW, ROW]
        assert len(read_all(data).records) == 2 + bool(irregular)

    def test_record_with_only_an_extra_column_is_a_record(self) -> None:
        """A record with only an extra column is a record, so that its sender hears what is missing."""
        data = f"{HEADER},note\n,,,,,see below\n,,,,,\n{LINE},\n".encode()
        assert read_all(data).texts == [("",) * 5, ROW]

    def test_row_that_ends_in_a_comma_too_many_is_told_so(self) -> None:
        """A row with one trailing comma too many gets a message that says so, on both code paths."""
        file = open_csv(lines(LINE + ",", 'T1,"a" b,1,1,2020-01-01', LINE + ","))
        messages = [record.message for block in file.blocks() for record in parse(block, file.header).unreadable]
        assert (
            messages[0]
            == messages[2]
            == ("The row has 6 fields, the header 5: it ends in a comma that the header does not have")
        )

    def test_short_and_long_rows_cost_themselves(self) -> None:
        """Short and long rows are rejected alone: their neighbors are read, and their position is known."""
        records = read_all(lines(LINE, "T002,x,1,1", LINE, LINE + ",", LINE)).records
        assert [record if isinstance(record, str) else "" for record in records] == [
            "", "too_few_fields", "", "too_many_fields", "",
        ]  # fmt: skip

    def test_rows_of_the_wrong_width_alone(self) -> None:
        """A file can be read even if it has no good row."""
        assert read_all(lines("T002,x,1,1", LINE + ",")).codes == ["too_few_fields", "too_many_fields"]

    @pytest.mark.parametrize("record", [b"\xff", b"\xff,x,1,1", b"\xff,x,1,1,2020-01-01,"])
    def test_row_of_the_wrong_width_that_is_not_utf8_costs_itself(self, record: bytes) -> None:
        """A row of the wrong width that is not UTF-8 does not end the run, although Arrow's own reader fails on it."""
        contents = read_all(lines(LINE) + record + b"\n" + LINE.encode())
        assert (len(contents.codes), contents.texts) == (1, [ROW, ROW])

    def test_bytes_that_are_no_utf8_are_kept_for_the_judge(self) -> None:
        """Non-UTF-8 bytes are passed on, because the reader decodes nothing."""
        assert read_all(lines() + b"T1,\xff\xfe\0,1,1,2020-01-01").records == (
            (b"T1", b"\xff\xfe\0", b"1", b"1", b"2020-01-01"),
        )

    def test_unclosed_quote_costs_one_record(self) -> None:
        """An unclosed quote costs one record, and the lines after it are read."""
        contents = read_all(lines(LINE, 'T002,"x,1,1,2020-01-01', LINE, LINE))
        assert contents.records[1] == "unclosed_quote"
        assert contents.texts == [ROW, ROW, ROW]

    def test_text_behind_a_closing_quote_costs_one_record(self) -> None:
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
    def test_what_python_writes_is_read_back(self, rows: list[list[str]]) -> None:
        """For any text, the fields equal those of Python's own reader."""
        data = csv_bytes(dict(zip(FIELDS, row, strict=True)) for row in rows)
        expected = [tuple(row) for row in csv.reader(io.StringIO(data.decode(), newline=""))][1:]
        assert read_all(data, block_bytes=64).texts == expected


class TestBlocks:
    """The block size affects memory, never the result."""

    @given(hostile_csv(), SIZES, st.sampled_from(["", ",note"]))
    @example(b'a,"b"c,\n' + b"x," * 40 + b"\n", {"block_bytes": 1}, "")
    @example(b'"' + b"x" * 100 + b"\nT1,x,1,1,2020-01-01\n", {"block_bytes": 7}, "")
    @example(b'""T1,x,1,1,2020-01-01\n"', {"block_bytes": 5}, "")
    @settings(max_examples=1000, deadline=None)
    def test_blocks_give_what_reading_record_by_record_gives(
        self, body: bytes, sizes: dict[str, int], extra: str
    ) -> None:
        """Regular runs and irregular records are read the same way, whatever the bytes and wherever they are cut."""
        sizes = {"field_bytes": SMALLEST_FIELD, **sizes}
        found = read_all(f"{HEADER}{extra}\n".encode() + body, **sizes)
        width, field_bytes = len(FIELDS) + bool(extra), sizes["field_bytes"]
        limits = Limits(width, field_bytes, RECORD_FIELDS * field_bytes)
        expected = read_records(body, 0, len(body), final=True, limits=limits)
        records = tuple(
            record.code if isinstance(record, Unreadable) else tuple(record[: len(FIELDS)])
            for record in expected.records
        )
        assert found.records == records
        assert found.bare_quotes == expected.bare_quotes

    def test_blocks_are_as_small_as_asked(self) -> None:
        """Blocks are as small as requested, so memory is bounded by the block instead of the file."""
        assert read_all(lines(*[LINE] * 100), block_bytes=100, field_bytes=100).blocks > 20

    @pytest.mark.parametrize("place", [0, 1, 4])
    @pytest.mark.parametrize("quote", ["", '"'])
    def test_giant_field_costs_its_record(self, place: int, quote: str) -> None:
        """A giant field in any column, quoted or bare, costs its record, and its neighbors are read."""
        giant = list(ROW)
        giant[place] = quote + "x" * 500 + quote
        contents = read_all(lines(LINE, ",".join(giant), LINE), block_bytes=64, field_bytes=100)
        assert (len(contents.codes), contents.texts) == (1, [ROW, ROW])

    @pytest.mark.parametrize("block_bytes", [64, 1 << 20])
    def test_quoted_field_over_the_limit_ends_at_its_quote(self, block_bytes: int) -> None:
        """A quoted field over the limit ends at its quote, and none of its lines is a record, in any block size."""
        ghosts = "T9,Ghost,1,1,2024-01-31\n" * 100
        data = lines(LINE, f'T1,"{ghosts}",1,1,2024-01-31', LINE)
        contents = read_all(data, block_bytes=block_bytes, field_bytes=100)
        assert contents.codes == ["record_too_long"]
        assert contents.texts == [ROW, ROW]

    def test_quote_that_stays_open_for_long_is_taken_as_never_closed(self) -> None:
        """A quote that stays open for too long counts as unclosed; otherwise everything after it would be buffered."""
        rest = [LINE] * (RECORD_FIELDS * 100 // len(LINE) + 1)
        contents = read_all(lines('T1,"x,1,1,2024-01-31', *rest, '"'), field_bytes=100)
        assert contents.codes == ["unclosed_quote", "unclosed_quote"]
        assert contents.texts == [ROW] * len(rest)

    def test_field_of_just_the_limit_is_read(self) -> None:
        """A field of exactly the limit is read, because the limit does not include what surrounds it."""
        product = "x" * 100
        data = lines(f"T001,{product},1,1,2020-01-01", f'T001,"{product}",1,1,2020-01-01')
        assert [text[1] for text in read_all(data, field_bytes=100).texts] == [product, product]

    def test_giant_field_of_an_unknown_column_costs_its_record(self) -> None:
        """A giant field in an unknown column costs its record, because its bytes would have to be held in memory."""
        data = f"{HEADER},note\n{LINE},{'x' * 101}\n{LINE},ok\n".encode()
        assert read_all(data, field_bytes=100).records[0] == "record_too_long"

    @pytest.mark.parametrize("extra", ["", "".join(f",c{number}" for number in range(200))], ids=["5", "205"])
    @pytest.mark.parametrize("filler", [b"x" * 10, b"x,", b'"x",'], ids=["one field", "bare fields", "quoted fields"])
    def test_giant_record_is_not_kept(self, filler: bytes, extra: str) -> None:
        """A single endless line is skipped in steps, however many columns the header has."""
        endless = _Endless(f"{HEADER}{extra}\n".encode(), filler, count=100_000)
        file = CsvFile(endless, Sizes(block_bytes=1000, field_bytes=1000))  # type: ignore[arg-type]  # `read` is enough
        tracemalloc.start()
        try:
            unreadable = [record for block in file.blocks() for record in parse(block, file.header).unreadable]
            assert [record.code for record in unreadable] == ["record_too_long"]
            assert tracemalloc.get_traced_memory()[1] < 200_000
        finally:
            tracemalloc.stop()

    def test_raw_stream_may_return_few_bytes_at_a_time(self) -> None:
        """A raw stream, such as a socket, may return few bytes at a time without ending the file."""

        class Socket(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(min(size or 0, 3))

        file = CsvFile(Socket(lines(LINE, LINE)), Sizes(block_bytes=50, field_bytes=50))
        assert sum(parse(block, file.header).fields.num_rows for block in file.blocks()) == 2


class _Endless:
    """A stream of a header followed by one line of `count` fillers."""

    def __init__(self, start: bytes, filler: bytes, *, count: int) -> None:
        self._start = start
        self._filler = filler
        self._left = count * len(filler)

    def read(self, size: int) -> bytes:
        if self._start:
            start, self._start = self._start[:size], self._start[size:]
            return start
        more = min(size, self._left)
        data = (self._filler * (size // len(self._filler) + 2))[-self._left % len(self._filler) :][:more]
        self._left -= more
        return data


class TestGzip:
    """Compressed files are read as their contents."""

    def test_gzip_is_known_by_its_first_bytes(self) -> None:
        """Gzip is recognized by its first bytes, whatever the name of the object."""
        assert read_all(gzip.compress(lines(LINE)), block_bytes=50).texts == [ROW]

    def test_members_are_read_one_after_another(self) -> None:
        """`cat a.gz b.gz` is a gzip file."""
        assert read_all(gzip.compress(lines(LINE)) + gzip.compress(LINE.encode())).texts == [ROW, ROW]

    def test_gzip_within_gzip_is_refused(self) -> None:
        """Gzip inside gzip is refused as such, not as text in the wrong encoding."""
        message = "it is compressed twice, gzip inside gzip: compress the CSV file once"
        assert refusal(gzip.compress(gzip.compress(lines(LINE)))) == message

    @pytest.mark.parametrize("kept", [5, 30, -4])
    def test_gzip_that_ends_early_is_refused(self, kept: int) -> None:
        """Truncated gzip is refused, because half a file must not pass for a whole one."""
        assert (
            refusal(gzip.compress(lines(LINE))[:kept]) == "the gzip data is damaged or ends early: send the file again"
        )

    def test_gzip_with_wrong_checksum_is_refused(self) -> None:
        """Gzip with a wrong checksum is refused, because the file changed in transit."""
        data = bytearray(gzip.compress(lines(LINE)))
        data[-8:-4] = zlib.crc32(b"another").to_bytes(4, "little")
        assert "damaged" in refusal(bytes(data))

    def test_damage_behind_the_first_block_is_refused(self) -> None:
        """Damage after the first block fails the file, although the rows before it were read."""
        data = gzip.compress(lines(*(f"T{number},x,{number * 7919 % 10_007},1,2020-01-01" for number in range(5000))))
        file = open_csv(data[:-100], block_bytes=1000, field_bytes=1000)
        with pytest.raises(NotATransactionFileError, match="ends early"):
            list(file.blocks())

    def test_workbook_within_gzip_is_refused(self) -> None:
        """A workbook inside gzip is refused too."""
        assert "Excel" in refusal(gzip.compress(b"PK\x03\x04rest"))


class TestHeader:
    """The first record names the columns."""

    def test_header_only_is_a_file_without_records(self) -> None:
        """A file with only a header is read without records; a later stage says that no row is valid."""
        assert read_all(lines()).records == ()

    def test_columns_may_be_in_any_order(self) -> None:
        """Columns may be in any order, because fields are found by name."""
        row = make_row()
        assert read_all(csv_bytes([row], columns=FIELDS[::-1])).texts == [tuple(row[name] for name in FIELDS)]

    def test_names_may_be_quoted_and_have_blanks_around(self) -> None:
        """Names may be quoted and surrounded by blanks, as spreadsheets and people write them."""
        data = b'"transaction_id", product ,price,quantity,"date"\n' + LINE.encode()
        assert read_all(data).texts == [ROW]

    def test_extra_columns_are_named_and_left_out(self) -> None:
        """Extra columns are named and left out, even if two of them share a name."""
        data = f"note,{HEADER},note\nx,{LINE},y\n".encode()
        assert open_csv(data).header.extra == ("note", "note")
        assert read_all(data).texts == [ROW]

    @pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
    def test_empty_file_is_refused(self, data: bytes) -> None:
        """An empty file is refused with the header that it should have."""
        assert refusal(data) == f"it is empty: the first line must name the columns {HEADER}"

    def test_missing_columns_are_named(self) -> None:
        """All missing columns are named at once."""
        assert "lacks the columns price, date" in refusal(b"transaction_id,product,quantity\n")

    @pytest.mark.parametrize(
        ("wrong", "right"), [("Transaction ID", "transaction_id"), ("Quantity", "quantity"), ("prize", "price")]
    )
    def test_column_with_a_near_name_is_to_be_renamed(self, wrong: str, right: str) -> None:
        """The message about a column with a similar name says which column to rename."""
        assert f"rename the column that reads like {right!r}" in refusal(HEADER.replace(right, wrong).encode())

    def test_file_without_a_header_shows_no_value(self) -> None:
        """The message about a missing header shows no value, because the first line is data and may hold an id."""
        message = refusal(f"{LINE}\n{LINE}\n".encode())
        assert "the first line must name the columns" in message
        assert not any(value in message for value in ROW)

    def test_repeated_column_is_refused(self) -> None:
        """A repeated column is refused, because it is ambiguous."""
        assert refusal(f"{HEADER},price\n".encode()) == "the column price stands 2 times in its header: send it once"

    @pytest.mark.parametrize("separator", [";", "\t", "|"])
    def test_other_separator_is_named(self, separator: str) -> None:
        """Another separator is named, because many European spreadsheets write semicolons."""
        assert f"separated by {separator!r}" in refusal(lines(LINE).replace(b",", separator.encode()))

    def test_header_with_a_broken_quote_is_refused(self) -> None:
        """A header with a broken quote is refused, because its columns are unknown."""
        assert refusal(b'"transaction_id,product\n') == "its first line is not a header: a quoted field is not closed"

    @pytest.mark.parametrize(
        ("above", "sentence"),
        [
            ("Sales of May\n\nEUR\n", "line 4 reads like the header, but other text comes first"),
            ("sep=,\n", "line 2 reads like the header, but the line 'sep=', which only Excel knows, comes first"),
            ('"Report, "May"\n', "line 2 reads like the header, but other text comes first"),
        ],
    )
    def test_header_below_other_text_is_found(self, above: str, sentence: str) -> None:
        """A header below other text is found, and the message says on which line."""
        assert sentence in refusal(above.encode() + lines(LINE))

    def test_header_below_another_separator_is_found(self) -> None:
        """A header below other text with another separator gets both faults in one sentence."""
        message = refusal(b"sep=;\n" + lines(LINE).replace(b",", b";"))
        assert "remove everything before line 2; it is separated by ';'" in message

    @pytest.mark.parametrize("header", ['{};"note, remarks"', "{};note, remarks"])
    def test_other_separator_is_named_beside_a_comma(self, header: str) -> None:
        """Another separator is named even if a name contains a comma."""
        assert "it is separated by ';'" in refusal(header.format(HEADER.replace(",", ";")).encode() + b"\n")

    def test_quoted_names_with_another_separator(self) -> None:
        """Quoted names with another separator are reported for the separator, not for the quotes."""
        header = ";".join(f'"{name}"' for name in FIELDS)
        assert "it is separated by ';'" in refusal(f"{header}\n".encode())

    def test_blanks_around_quoted_names_and_several_marks_are_skipped(self) -> None:
        """Blanks around quoted names are accepted, as in any other record."""
        header = ", ".join(f'"{name}"' for name in FIELDS)
        assert read_all(f"\ufeff\ufeff{header}\n{LINE}\n".encode()).texts == [ROW]

    def test_file_without_a_header_is_told_so(self) -> None:
        """The message about a file without a header repeats none of its contents."""
        assert "its first line reads like data, and the first line must name" in refusal(f"{LINE}\n".encode())

    def test_values_glued_to_the_header_are_not_shown(self) -> None:
        """Values glued to the header by a lost line end are not shown."""
        file = open_csv(f"{HEADER},{LINE}\n".encode())
        assert file.header.extra == tuple(f"column {place}" for place in range(6, 11))
        assert not set(ROW) & set(file.header.columns)

    def test_column_without_a_name_is_shown_by_its_place(self) -> None:
        """A column without a name, as after a trailing comma, is shown by its position."""
        assert open_csv(lines(LINE).replace(b"date", b"date,")).header.extra == ("column 6",)

    def test_header_of_any_length_up_to_a_field_is_read(self) -> None:
        """A header may have any length up to the field limit, however many reads that takes."""
        extra = ",".join(f"c{number}" for number in range(5000))
        assert len(open_csv(f"{HEADER},{extra}\n".encode(), block_bytes=1000).header.extra) == 5000
        assert refusal(b"x" * (1 << 20) + b"xx\n") == "its first line is not a header: it is longer than 1 MiB"

    def test_header_that_is_no_utf8_is_refused(self) -> None:
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
    def test_other_formats_are_named(self, data: bytes, kind: str) -> None:
        """Other formats are named by their first bytes."""
        assert refusal(data) == f"it is {kind}: send a CSV file in UTF-8"
