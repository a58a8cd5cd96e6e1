"""Reading a CSV file in blocks, compressed or not."""

import gzip
import io
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from txn_assets.feeds.transaction import CONTRACT
from txn_assets.rows.reader.columns import RegularRun, parse
from txn_assets.rows.reader.csv_file import CsvFile, Sizes
from txn_assets.rows.reader.file_format import FileFormat
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.reader.records import Limits, Unreadable, read_records
from txn_assets_tests.unit.csv_files import LINE, ROW, lines, refusal
from txn_assets_tests.unit.rows import FIELDS, HEADER, RECORD_FIELDS, contents, hostile_csv, limited, open_csv, read_all

SMALLEST_FIELD = len(HEADER) + len(",note") + 2
"""Smallest usable limit for fields: the header counts as a field, so no test may set a tighter one."""

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


FORMATS = st.builds(
    FileFormat,
    delimiter=st.sampled_from([",", ",", ";", "\t", "|"]),
    quote=st.sampled_from(['"', '"', "'", None]),
    comment=st.sampled_from([None, None, "#", "//"]),
)
"""Dialects under test."""


class TestBlocks:
    """The block size affects memory, never the result."""

    @given(hostile_csv(), SIZES, st.sampled_from(["", ",note"]), FORMATS)
    @example(b'a,"b"c,\n' + b"x," * 40 + b"\n", {"block_bytes": 1}, "", FileFormat())
    @example(b'"' + b"x" * 100 + b"\nT1,x,1,1,2020-01-01\n", {"block_bytes": 7}, "", FileFormat())
    @example(b'""T1,x,1,1,2020-01-01\n"', {"block_bytes": 5}, "", FileFormat())
    @example(b'#,"a" b\nT1,x,1,1,2020-01-01\n#', {"block_bytes": 7}, "", FileFormat(comment="#"))
    @settings(max_examples=1000, deadline=None)
    def test_blocks_give_what_reading_record_by_record_gives(
        self, body: bytes, sizes: dict[str, int], extra: str, file_format: FileFormat
    ) -> None:
        """Runs and irregular records are read the same way, whatever the bytes, the dialect and the cuts."""
        sizes = {"field_bytes": SMALLEST_FIELD, **sizes}
        delimiter, quote = file_format.delimiter.encode(), (file_format.quote or "").encode()
        body = body.translate(bytes.maketrans(b',"', delimiter + (quote or b'"')))
        file = open_csv(f"{HEADER}{extra}\n".encode().replace(b",", delimiter) + body, file_format, **sizes)
        width, field_bytes = len(FIELDS) + bool(extra), sizes["field_bytes"]
        limits = Limits(width, field_bytes, RECORD_FIELDS * field_bytes, file.header.dialect)

        found = contents(file)

        expected = read_records(body, 0, len(body), final=True, limits=limits)
        records = tuple(
            record.code if isinstance(record, Unreadable) else tuple(record[: len(FIELDS)])
            for record in expected.records
        )
        assert found.records == records
        assert found.bare_quotes == expected.bare_quotes

    def test_blocks_are_as_small_as_requested(self) -> None:
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

    def test_quote_that_stays_open_for_too_long_counts_as_unclosed(self) -> None:
        """A quote that stays open for too long counts as unclosed; otherwise everything after it would be buffered."""
        rest = [LINE] * (RECORD_FIELDS * 100 // len(LINE) + 1)
        contents = read_all(lines('T1,"x,1,1,2024-01-31', *rest, '"'), field_bytes=100)
        assert contents.codes == ["unclosed_quote", "unclosed_quote"]
        assert contents.texts == [ROW] * len(rest)

    def test_field_of_exactly_the_limit_is_read(self) -> None:
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
        file = CsvFile(endless, CONTRACT, limits=limited(1000), sizes=Sizes(block_bytes=1000))  # type: ignore[arg-type]  # `read` is enough
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

        file = CsvFile(Socket(lines(LINE, LINE)), CONTRACT, limits=limited(50), sizes=Sizes(block_bytes=50))
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


class TestWork:
    """The work grows with the file and no faster. It is counted, because times vary."""

    @pytest.mark.parametrize("filler", [b"", b"x", b"x,", b'"x",'], ids=["no line", "field", "fields", "quoted fields"])
    def test_long_lines_are_not_read_again_for_each_block(self, filler: bytes) -> None:
        """A header of many columns, and a line without an end below it, are examined a few times in all."""
        assert _bytes_examined(10_000, filler) < 3 * _bytes_examined(5000, filler)

    def test_columns_are_not_looked_up_for_each_column(self) -> None:
        """A line of commas below many extra columns compares each name a few times."""
        assert _names_compared(2000) < 3 * _names_compared(1000)

    def test_irregular_record_leaves_the_rest_to_arrow(self) -> None:
        """Few of the records after an irregular one are read one by one; Arrow parses the rest, in a few runs."""
        data = lines(*[LINE] * 3000, 'T1,"a" b,1,1,2020-01-01', *[LINE] * 3000)
        (block,) = open_csv(data, step_bytes=100).blocks()
        runs = [part.data for part in block if isinstance(part, RegularRun)]
        assert sum(map(len, runs)) > 0.99 * len(data)
        assert len(runs) < 15


def _extra_header(columns: int) -> bytes:
    return "".join(f"c{number}," for number in range(columns)).encode() + HEADER.encode() + b"\n"


def _bytes_examined(columns: int, filler: bytes) -> int:
    """Return how much a reader that examines everything again after each read examines."""

    class Counting(io.BytesIO):
        examined = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.examined += self.tell()
            return data

    stream = Counting(_extra_header(columns) + 10 * columns * filler)
    file = CsvFile(stream, CONTRACT, sizes=Sizes(block_bytes=1000))
    for block in file.blocks():
        parse(block, file.header)
    return stream.examined


def _names_compared(columns: int) -> int:
    """Return how often the name of a column is compared with another while a line of commas is parsed."""
    compared = 0

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

    file = open_csv(_extra_header(columns) + b"," * (columns + len(FIELDS) - 1))
    header = replace(file.header, columns=tuple(map(Name, file.header.columns)))
    for block in file.blocks():
        parse(block, header)
    return compared


class TestGzip:
    """Compressed files are read as their contents."""

    def test_gzip_is_recognized_by_its_first_bytes(self) -> None:
        """Gzip is recognized by its first bytes, whatever the name of the object."""
        assert read_all(gzip.compress(lines(LINE)), block_bytes=50).texts == [ROW]

    def test_members_are_read_one_after_another(self) -> None:
        """`cat a.gz b.gz` is a gzip file."""
        assert read_all(gzip.compress(lines(LINE)) + gzip.compress(LINE.encode())).texts == [ROW, ROW]

    def test_gzip_inside_gzip_is_refused(self) -> None:
        """Gzip inside gzip is refused as such, not as text in the wrong encoding."""
        message = "it is compressed twice, gzip inside gzip: compress the CSV file once"
        assert refusal(gzip.compress(gzip.compress(lines(LINE)))) == message

    @pytest.mark.parametrize("kept", [5, 30, -4])
    def test_gzip_that_ends_early_is_refused(self, kept: int) -> None:
        """Truncated gzip is refused, because half a file must not pass for a whole one."""
        assert (
            refusal(gzip.compress(lines(LINE))[:kept]) == "its gzip data is damaged or incomplete: send the file again"
        )

    def test_gzip_with_wrong_checksum_is_refused(self) -> None:
        """Gzip with a wrong checksum is refused, because the file changed in transit."""
        data = bytearray(gzip.compress(lines(LINE)))
        data[-8:-4] = zlib.crc32(b"another").to_bytes(4, "little")
        assert "damaged" in refusal(bytes(data))

    def test_damage_after_the_first_block_is_refused(self) -> None:
        """Damage after the first block fails the file, although the rows before it were read."""
        data = gzip.compress(lines(*(f"T{number},x,{number * 7919 % 10_007},1,2020-01-01" for number in range(5000))))
        file = open_csv(data[:-100], block_bytes=1000, field_bytes=1000)
        with pytest.raises(UnreadableFileError, match="damaged or incomplete"):
            list(file.blocks())

    def test_workbook_inside_gzip_is_refused(self) -> None:
        """A workbook inside gzip is refused too."""
        assert "Excel" in refusal(gzip.compress(b"PK\x03\x04rest"))
