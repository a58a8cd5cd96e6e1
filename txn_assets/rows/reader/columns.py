"""Parse the records of a block into columns of bytes: regular runs with Arrow, other records field by field.

`validation.py` decides what the bytes mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv

from txn_assets.rows.reader.header import Header
from txn_assets.rows.reader.records import (
    Limits,
    Records,
    Unreadable,
    read_fields,
    read_records,
    skip_blank,
    wrong_width,
)
from txn_assets.rows.reader.runs import Runs

_SMALLEST_PIECE = 1 << 16
_NO_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class RegularRun:
    """Whole records that Arrow reads correctly; `bare_quotes` of them have a quote inside an unquoted field."""

    data: bytes
    bare_quotes: int


type Block = Sequence[RegularRun | Records]
"""Some records of a file, in file order."""


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record that could not be split into fields. `index` counts the records of its block from 0."""

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ParsedBlock:
    """The records of a block.

    Attributes:
        records: how many records the block has; blank lines do not count.
        fields: the contract's fields as binary columns, one row for each readable record; an optional field that the
            header lacks is empty.
        index: int64, the position of each row of `fields` among the block's records, from 0.
        unreadable: the records that could not be read.
        bare_quotes: how many of the readable records have a quote inside an unquoted field.
    """

    records: int
    fields: pa.RecordBatch
    index: pa.Int64Array
    unreadable: tuple[UnreadableRecord, ...]
    bare_quotes: int = 0


def parse(block: Block, header: Header) -> ParsedBlock:
    """Return the records of `block` as columns."""
    parsed = [
        _parse_run(part, header) if isinstance(part, RegularRun) else _parse_records(part, header) for part in block
    ]
    return parsed[0] if len(parsed) == 1 else _joined(parsed, header)


def _joined(parsed: Sequence[ParsedBlock], header: Header) -> ParsedBlock:
    before = 0
    index, unreadable = [], []
    for part in parsed:
        index.append(part.index.to_numpy() + before)
        unreadable += [UnreadableRecord(u.index + before, u.code, u.message) for u in part.unreadable]
        before += part.records
    return ParsedBlock(
        before,
        pa.Table.from_batches([part.fields for part in parsed]).combine_chunks().to_batches()[0]
        if any(part.fields.num_rows for part in parsed)
        else _empty(header),
        pa.array(np.concatenate(index)) if index else pa.array([], pa.int64()),
        tuple(unreadable),
        sum(part.bare_quotes for part in parsed),
    )


def _parse_records(records: Records, header: Header) -> ParsedBlock:
    readable = [record for record in records.records if not isinstance(record, Unreadable)]
    columns = [
        _nothing(len(readable))
        if position is None
        else pa.array([record[position] for record in readable], pa.binary())
        for position in header.positions
    ]
    unreadable = tuple(
        UnreadableRecord(index, *record)
        for index, record in enumerate(records.records)
        if isinstance(record, Unreadable)
    )
    missing = [record.index for record in unreadable]
    index = np.delete(np.arange(len(records.records), dtype=np.int64), missing)
    fields = pa.RecordBatch.from_arrays(columns, names=list(header.fields))
    return ParsedBlock(len(records.records), fields, pa.array(index), unreadable, records.bare_quotes)


def _parse_run(run: RegularRun, header: Header) -> ParsedBlock:
    data = run.data
    if skip_blank(data, 0, final=True) == len(data):
        return ParsedBlock(0, _empty(header), pa.array([], pa.int64()), ())
    # pyarrow decodes a row of the wrong width before it calls the handler, and fails if the row is not UTF-8.
    invalid = _InvalidRows(header) if _is_utf8(data) else None
    try:
        fields = _with_missing(_read_columns(data, header, header.found, invalid), header)
    except pa.ArrowInvalid:
        if invalid is not None:
            raise
        return _parse_pieces(run, header)
    found = invalid.found if invalid else []
    kept = np.ones(fields.num_rows + len(found), dtype=bool)
    kept[[row for row, record in found if record is None]] = False
    # The rows that Arrow returned, without those of the wrong width.
    rows = np.delete(np.arange(len(kept)), [row for row, _ in found])
    blank = _blank_rows(data, header, fields, invalid)
    if blank.any():
        kept[rows[blank]] = False
        fields, rows = fields.filter(pa.array(~blank)), rows[~blank]
    numbers = np.cumsum(kept, dtype=np.int64) - 1
    unreadable = tuple(UnreadableRecord(int(numbers[row]), *record) for row, record in found if record is not None)
    misquoted = sum(record.code == "malformed_quotes" for record in unreadable)
    return ParsedBlock(int(kept.sum()), fields, pa.array(numbers[rows]), unreadable, run.bare_quotes - misquoted)


def _parse_pieces(run: RegularRun, header: Header) -> ParsedBlock:
    """Parse a run with both non-UTF-8 bytes and rows of the wrong width: halve it until no piece has both."""
    data = run.data
    runs = Runs(data, final=True, max_record_bytes=len(data), dialect=header.dialect)
    half = runs.run(0, len(data) // 2)
    if len(data) <= _SMALLEST_PIECE or not half.end:
        records = read_records(data, 0, len(data), final=True, limits=_limits(header))
        return _parse_records(records, header)
    first = RegularRun(data[: half.end], half.bare_quotes)
    second = RegularRun(data[half.end :], run.bare_quotes - half.bare_quotes)
    return _joined([_parse_run(first, header), _parse_run(second, header)], header)


def _limits(header: Header) -> Limits:
    """Return limits that never apply, because the caller's records are already known to be short enough."""
    return Limits(len(header.columns), _NO_LIMIT, _NO_LIMIT, header.dialect)


class _InvalidRows:
    """A handler that collects rows of the wrong width, by row number from 0; None for a row with only empty fields."""

    def __init__(self, header: Header) -> None:
        self._limits = _limits(header)
        self.found: list[tuple[int, Unreadable | None]] = []

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        self.found.append((row.number - 1, self._record(row.text, row.actual_columns)))
        return "skip"

    def _record(self, text: str, columns: int) -> Unreadable | None:
        width, dialect = self._limits.width, self._limits.dialect
        quote, delimiter = dialect.quote.decode(), dialect.delimiter.decode()
        if not quote or quote not in text:
            last = dialect.delimiter if text.endswith(delimiter) else b""
            return wrong_width(columns, width, last) if text.strip(delimiter) else None
        fields = read_fields(text.encode(), 0, final=True, limits=self._limits)
        record = fields.record(width) if fields else None
        assert record is None or isinstance(record, Unreadable)
        return record


def _read_columns(
    data: bytes, header: Header, positions: Sequence[int], invalid: _InvalidRows | None
) -> pa.RecordBatch:
    """Return the columns at `positions` as binary."""
    # Name columns by position, because extra columns may share a name.
    names = [f"f{position}" for position in range(len(header.columns))]
    wanted = [names[position] for position in positions]
    table = pyarrow.csv.read_csv(
        pa.py_buffer(data),
        # Use one thread and one block, so that Arrow numbers bad rows. The caller parses blocks in parallel.
        read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=header.dialect.delimiter.decode(),
            quote_char=header.dialect.quote.decode() or False,
            newlines_in_values=bool(header.dialect.quote),
            invalid_row_handler=invalid,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.binary()), include_columns=wanted, strings_can_be_null=False
        ),
    )
    return pa.RecordBatch.from_arrays([table[name].combine_chunks() for name in wanted], names=wanted)


def _with_missing(found: pa.RecordBatch, header: Header) -> pa.RecordBatch:
    """Return the columns of `header.found` under the names of all fields, with empty ones for those not found."""
    columns = iter(found.columns)
    return pa.RecordBatch.from_arrays(
        [_nothing(found.num_rows) if position is None else next(columns) for position in header.positions],
        names=list(header.fields),
    )


def _nothing(rows: int) -> pa.BinaryArray:
    return pa.repeat(pa.scalar(b"", pa.binary()), rows)


def _blank_rows(
    data: bytes, header: Header, fields: pa.RecordBatch, invalid: _InvalidRows | None
) -> "np.typing.NDArray[np.bool_]":
    """Return which rows are empty in every column."""
    blank = _all_empty(fields.columns)
    if blank.any() and header.extra:
        others = sorted({*range(len(header.columns))} - {*header.found})
        again = _InvalidRows(header) if invalid else None
        blank &= _all_empty(_read_columns(data, header, others, again).columns)
    return blank


def _all_empty(columns: Sequence[pa.Array]) -> "np.typing.NDArray[np.bool_]":
    empty = np.ones(len(columns[0]), dtype=bool)
    for column in columns:
        # There is one more offset than there are values.
        offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)[column.offset : column.offset + len(column) + 1]
        empty &= offsets[1:] == offsets[:-1]
        if not empty.any():
            break
    return empty


def _empty(header: Header) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([_nothing(0)] * len(header.fields), names=list(header.fields))


def _is_utf8(data: bytes) -> bool:
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int32))
    try:
        pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(data)]).cast(pa.string())
    except pa.ArrowInvalid:
        return False
    return True
