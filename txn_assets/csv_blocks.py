"""From a stream of CSV bytes to columns, block by block, in bounded memory.

Here belong the header, the borders between records, and the parsing of records into columns of bytes. What the bytes
mean does not: `validation.py` decides that. The reading rules are documented in docs/data-contract.md.

A record is what RFC 4180 says. Regular blocks, which is nearly all of them, are parsed by Arrow. A block with quotes in
unusual places is parsed record by record, so that a record that cannot be read costs that record and not the file.
"""

import difflib
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv

from txn_assets.transaction import FIELDS

BLOCK_BYTES = 8 << 20
"""How much is parsed at once. Two blocks in work and one in reading stay far below the memory of a pod."""
MAX_FIELD_BYTES = 1 << 20
"""A longer field is refused, and a quote that does not close within it is taken as one that was never closed."""

_QUOTED = re.compile(rb'"([^"]*+(?:""[^"]*+)*+)"')
_UNQUOTED = re.compile(rb"[^,\r\n]*+")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_GZIP_MAGIC = b"\x1f\x8b"
_NOT_CSV = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"%PDF": "a PDF",
}


class NotATransactionFileError(Exception):
    """The file as a whole cannot be read as transactions; the message says why and what to send."""


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file, as named in its first record.

    `extra` holds the columns that the contract does not know.
    """

    columns: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def positions(self) -> tuple[int, ...]:
        """Where each of `FIELDS` stands in a record."""
        return tuple(self.columns.index(name) for name in FIELDS)


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record that has no fields to judge. `index` counts the records of its block from 0."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ParsedBlock:
    """The records of a block.

    Attributes:
        records: how many records the block has; blank lines are none.
        fields: `FIELDS` as binary columns, a row for each readable record.
        index: int64, the position of each row of `fields` among the block's records, from 0.
        unreadable: the other records.
    """

    records: int
    fields: pa.RecordBatch
    index: pa.Int64Array
    unreadable: tuple[UnreadableRecord, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records of a file: as bytes that Arrow reads right, or already split record by record."""

    data: bytes
    split: "tuple[_Record, ...] | None" = None


type _Bytes = np.typing.NDArray[np.uint8]
type _Positions = np.typing.NDArray[np.intp]
type _Mask = np.typing.NDArray[np.bool_]

_NO_QUOTES: _Positions = np.array([], dtype=np.intp)

_Record = list[bytes] | str
"""The fields of a record, or the code of what is wrong with it."""

_MESSAGES = {
    "unclosed_quote": "A quoted field is not closed",
    "malformed_quotes": "A quoted field goes on after its closing quote",
    "record_too_long": "The row is too long: a field may have 1 MiB",
}


class CsvFile:
    """A CSV file in a stream: its header first, then its blocks, once.

    Gzip is recognised by its first bytes. The stream needs `read` alone.

    Raises:
        NotATransactionFileError: the file has no header, its header lacks or repeats a column, or it is no CSV at all.
    """

    header: Header

    def __init__(
        self, stream: BinaryIO, *, block_bytes: int = BLOCK_BYTES, max_field_bytes: int = MAX_FIELD_BYTES
    ) -> None:
        start = _read_full(stream, len(_GZIP_MAGIC))
        source = cast("BinaryIO", _Prefixed(start, stream))
        self._stream = cast("BinaryIO", gzip.GzipFile(fileobj=source)) if start == _GZIP_MAGIC else source
        self._block_bytes = block_bytes
        self._max_field_bytes = max_field_bytes
        self._data = self._read(max(block_bytes, max_field_bytes))
        self.header = self._take_header()

    def _read(self, size: int) -> bytes:
        try:
            return _read_full(self._stream, size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            message = "the gzip data is damaged or ends early: send the file again"
            raise NotATransactionFileError(message) from error

    def _take_header(self) -> Header:
        data = self._data
        for magic, kind in _NOT_CSV.items():
            if data.startswith(magic):
                message = f"it is {kind}: send a CSV file in UTF-8"
                raise NotATransactionFileError(message)
        if data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
        data = data.lstrip(b"\r\n")
        if not data:
            message = f"it is empty: the first line must name the columns {','.join(FIELDS)}"
            raise NotATransactionFileError(message)
        records = _split(data, final=True, max_field_bytes=self._max_field_bytes, max_record_bytes=len(data))
        first, end = next(records)
        if isinstance(first, str):
            message = f"its first line is no header: {_MESSAGES[first].lower()}"
            raise NotATransactionFileError(message)
        self._data = data[end:]
        return _header(first)

    def blocks(self) -> Iterator[Block]:
        """The records after the header, in order.

        Raises:
            NotATransactionFileError: compressed data is damaged.
        """
        data, final = self._data, False
        self._data = b""
        while data or not final:
            if not final and len(data) < self._block_bytes:
                more = self._read(self._block_bytes)
                final = len(more) < self._block_bytes
                data += more
            block, data = self._cut(data, final=final)
            if block is not None:
                yield block
            elif not final:
                # The record at hand is longer than a block.
                more = self._read(self._block_bytes)
                final = len(more) < self._block_bytes
                data += more

    def _cut(self, data: bytes, *, final: bool) -> tuple[Block | None, bytes]:
        """The whole records at the start of `data`, and what is left; None where more must be read first."""
        end = _regular_end(data, final=final, max_record_bytes=self._max_field_bytes)
        if end is not None:
            return (Block(data[:end]), data[end:]) if end else (None, data)
        max_record_bytes = len(self.header.columns) * (self._max_field_bytes + len('"",'))
        split = list(
            _split(data, final=final, max_field_bytes=self._max_field_bytes, max_record_bytes=max_record_bytes)
        )
        if not split:
            return None, data
        end = split[-1][1]
        return Block(b"", tuple(record for record, _ in split)), self._after_line() if end is None else data[end:]

    def _after_line(self) -> bytes:
        """What follows the line that the stream stands in, reading on without keeping it."""
        while data := self._read(self._block_bytes):
            if end := _LINE_END.search(data):
                return data[end.end() :]
        return b""


def parse(block: Block, header: Header) -> ParsedBlock:
    """The records of `block` in columns."""
    return _parse_regular(block.data, header) if block.split is None else _parse_split(block.split, header)


def _parse_regular(data: bytes, header: Header) -> ParsedBlock:
    bad: list[tuple[int, int]] = []

    def note(row: pa.csv.InvalidRow) -> str:
        bad.append((row.number, row.actual_columns))
        return "skip"

    if not data.strip(b"\r\n"):
        return ParsedBlock(0, _columns([[] for _ in FIELDS]), pa.array([], pa.int64()), ())
    # Positional names, since names of extra columns may repeat.
    names = [f"f{position}" for position in range(len(header.columns))]
    wanted = [names[position] for position in header.positions]
    # pyarrow decodes a row of the wrong width before it hands it over, and fails on one that is not UTF-8.
    handler = note if _is_utf8(data) else None
    try:
        table = pyarrow.csv.read_csv(
            pa.py_buffer(data),
            # One thread and one block, so that the numbers of bad rows are known; blocks run side by side instead.
            read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=handler),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.binary()), include_columns=wanted, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        if handler is not None:
            raise
        # The block has a row of the wrong width as well.
        split = _split(data, final=True, max_field_bytes=len(data), max_record_bytes=len(data))
        return _parse_split([record for record, _ in split], header)
    columns = [table[name].combine_chunks() for name in wanted]
    fields = pa.RecordBatch.from_arrays(columns, names=list(FIELDS))
    records = fields.num_rows + len(bad)
    unreadable = tuple(_wrong_width(number - 1, found, header) for number, found in bad)
    return ParsedBlock(records, fields, _index(records, [u.index for u in unreadable]), unreadable)


def _parse_split(records: Sequence[_Record], header: Header) -> ParsedBlock:
    positions = header.positions
    columns: list[list[bytes]] = [[] for _ in FIELDS]
    unreadable = []
    for index, record in enumerate(records):
        if isinstance(record, str):
            unreadable.append(UnreadableRecord(index, record, _MESSAGES[record]))
        elif len(record) != len(header.columns):
            unreadable.append(_wrong_width(index, len(record), header))
        else:
            for column, position in zip(columns, positions, strict=True):
                column.append(record[position])
    return ParsedBlock(
        len(records), _columns(columns), _index(len(records), [u.index for u in unreadable]), tuple(unreadable)
    )


def _is_utf8(data: bytes) -> bool:
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int32))
    try:
        pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)]).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True


def _wrong_width(index: int, found: int, header: Header) -> UnreadableRecord:
    expected = len(header.columns)
    code = "too_few_fields" if found < expected else "too_many_fields"
    return UnreadableRecord(index, code, f"The row has {found} fields, the header {expected}")


def _columns(columns: Sequence[Sequence[bytes]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(column, pa.binary()) for column in columns], names=list(FIELDS))


def _index(records: int, missing: Sequence[int]) -> pa.Int64Array:
    index = np.arange(records, dtype=np.int64)
    return pa.array(np.delete(index, missing) if missing else index)


def _header(names: Sequence[bytes]) -> Header:
    try:
        columns = tuple(name.decode().strip() for name in names)
    except UnicodeDecodeError as error:
        message = "its first line is not UTF-8 text: send a CSV file in UTF-8"
        raise NotATransactionFileError(message) from error
    missing = [name for name in FIELDS if name not in columns]
    extra = tuple(name for name in columns if name not in FIELDS)
    if missing:
        raise NotATransactionFileError(_missing_columns(missing, columns, extra))
    for name in FIELDS:
        if columns.count(name) > 1:
            message = f"the column {name} stands {columns.count(name)} times in its header: send it once"
            raise NotATransactionFileError(message)
    return Header(columns, extra)


def _missing_columns(missing: Sequence[str], columns: Sequence[str], extra: Sequence[str]) -> str:
    # The first line of a file without a header holds data, so only names near a column's own are repeated.
    wanted = ", ".join(missing)
    if len(columns) == 1 and (separator := next((s for s in ";\t|" if s in columns[0]), None)):
        return f"its header lacks {wanted}: it seems to be separated by {separator!r}; separate the fields by commas"
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name, [column.lower().replace(" ", "_") for column in extra], n=1, cutoff=0.8)
        if near:
            hints.append(f"rename the column that reads like {name!r} to exactly that")
    hint = "; ".join(hints) or f"the first line must name the columns {','.join(FIELDS)}"
    plural = "columns" if len(missing) > 1 else "column"
    return f"its header lacks the {plural} {wanted}: {hint}"


def _regular_end(data: bytes, *, final: bool, max_record_bytes: int) -> int | None:
    """Where the last whole record of `data` ends, if Arrow reads all of it as this module does.

    0 where no whole record is there yet; None where quotes are irregular or a record is long, and `_split` has to look.
    """
    quotes = _NO_QUOTES
    if b'"' in data:
        bytes_ = np.frombuffer(data, dtype=np.uint8)
        found = np.flatnonzero(bytes_ == ord('"'))
        starts_field = _is_delimiter(bytes_, found - 1)
        if starts_field.any():
            if not _pair_up(bytes_, found, starts_field):
                return None
            quotes = found
        # Else every quote stands inside an unquoted field, where it is text.
    if _has_long_record(data, quotes, max_record_bytes):
        return None
    if final:
        return None if len(quotes) % 2 else len(data)
    # A quote at the very end may be the first half of an escaped one; no line end is behind it.
    return _last_record_end(data, 0, len(data), quotes)


def _pair_up(bytes_: _Bytes, quotes: _Positions, starts_field: _Mask) -> bool:
    """Whether each quote opens a field at its start, closes one at its end, or is half of an escaped quote."""
    opening, closing = quotes[0::2], quotes[1::2]
    escaped = np.zeros(len(opening), dtype=bool)
    escaped[1:] = opening[1:] == closing[: len(opening) - 1] + 1
    escapes = np.zeros(len(closing), dtype=bool)
    escapes[: len(opening) - 1] = escaped[1:]
    opens_well = starts_field[0::2] | escaped
    closes_well = _is_delimiter(bytes_, closing + 1) | escapes
    return bool(opens_well.all() and closes_well.all())


def _has_long_record(data: bytes, quotes: _Positions, max_record_bytes: int) -> bool:
    start = 0
    while len(data) - start > max_record_bytes:
        end = _last_record_end(data, start, start + max_record_bytes, quotes)
        if not end:
            return True
        start = end
    return False


def _last_record_end(data: bytes, start: int, before: int, quotes: _Positions) -> int:
    """Behind the last line end between `start` and `before` that stands outside quotes; 0 where there is none."""
    end = _last_line_end(data, start, before)
    while end and (inside := int(np.searchsorted(quotes, end))) % 2 == 1:
        end = _last_line_end(data, start, int(quotes[inside - 1]))
    return end


def _is_delimiter(bytes_: _Bytes, at: _Positions) -> _Mask:
    outside = (at < 0) | (at >= len(bytes_))
    found = bytes_[np.clip(at, 0, len(bytes_) - 1)]
    delimits: _Mask = outside | (found == ord(",")) | (found == ord("\n")) | (found == ord("\r"))
    return delimits


def _last_line_end(data: bytes, start: int, before: int) -> int:
    return max(data.rfind(b"\n", start, before), data.rfind(b"\r", start, before)) + 1


def _split(
    data: bytes, *, final: bool, max_field_bytes: int, max_record_bytes: int
) -> Iterator[tuple[_Record, int | None]]:
    """Each record of `data` with the offset behind it; stops before a record that needs more data.

    A record that cannot be read ends at the end of its first line, so that the lines after it are read. Its offset is
    None, and it is the last, where that line goes on behind `data`.
    """
    start: int | None = 0
    while start is not None and start < len(data):
        if line_end := _LINE_END.match(data, start):
            start = line_end.end()
            continue
        record, end = _record(
            data, start, final=final, max_field_bytes=max_field_bytes, max_record_bytes=max_record_bytes
        )
        if record is None:
            return
        if isinstance(record, str):
            line_end = _LINE_END.search(data, start)
            start = line_end.end() if line_end else None
        else:
            start = end
        yield record, start


def _record(  # noqa: PLR0911 - one for each way a record ends
    data: bytes, start: int, *, final: bool, max_field_bytes: int, max_record_bytes: int
) -> tuple[_Record | None, int]:
    """The record at `start` and the offset behind it; None where it needs more data.

    What it is depends on its own bytes alone, never on how many of them have been read ahead.
    """
    fields: list[bytes] = []
    at = start
    while at - start <= max_record_bytes:
        if data.startswith(b'"', at):
            field = _QUOTED.match(data, at, at + max_field_bytes + 2)
            if field is None:
                if not final and len(data) - at <= max_field_bytes + 2:
                    return None, start
                return "unclosed_quote", start
            if data[field.end() : field.end() + 1] not in (b",", b"\r", b"\n", b""):
                return "malformed_quotes", start
            value = field[1].replace(b'""', b'"')
        else:
            field = _UNQUOTED.match(data, at)
            assert field is not None
            value = field[0]
            if len(value) > max_field_bytes:
                return "record_too_long", start
        fields.append(value)
        at = field.end()
        if at == len(data):
            return (fields, at) if final else (None, start)
        if line_end := _LINE_END.match(data, at):
            return fields, line_end.end()
        at += 1
    return "record_too_long", start


def _read_full(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, or all that are left: a raw stream may return fewer at a time."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Prefixed:
    """A stream that first gives back what was read ahead of it."""

    def __init__(self, prefix: bytes, stream: BinaryIO) -> None:
        self._prefix = prefix
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if self._prefix:
            prefix, self._prefix = self._prefix, b""
            return prefix
        return self._stream.read(size)
