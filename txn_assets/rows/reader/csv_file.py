"""Split a stream of CSV bytes into a header and blocks of whole records, in bounded memory.

`records.py` defines what a record is, and `columns.py` turns blocks into columns. See docs/data-contract.md for
the reading rules.

Records follow RFC 4180. Nearly all of them are regular, and Arrow parses those. A record with quotes in unusual places
is cut out and read separately, so that one broken record neither spoils the file nor slows down reading.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from txn_assets.rows.contract import RowContract
from txn_assets.rows.reader.columns import Block, RegularRun
from txn_assets.rows.reader.compression import Prefixed, Readable, Unpacked, read_full
from txn_assets.rows.reader.encodings import in_utf8
from txn_assets.rows.reader.file_format import DEFAULT_FORMAT, FileFormat
from txn_assets.rows.reader.header import (
    Header,
    UnreadableFileError,
    check_format,
    header_by_position,
    read_header,
)
from txn_assets.rows.reader.limits import DEFAULT_LIMITS, HEADER_BYTES, FileLimits
from txn_assets.rows.reader.records import (
    MARK,
    Dialect,
    Limits,
    Records,
    after_line,
    read_fields,
    read_records,
    skip_blank,
)
from txn_assets.rows.reader.runs import Runs


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to read and parse at once. Only `header_bytes` changes the result; the others change memory and time.

    Attributes:
        block_bytes: bytes in a block. Two blocks being validated and one being read take far less than a pod's memory.
        block_lines: lines in a block, because each line may be a rejected row and take far more memory than its bytes.
        step_bytes: how many bytes to read record by record, after an irregular record, before looking for regular ones.
        header_bytes: maximum size of the header.
    """

    block_bytes: int = 8 << 20
    block_lines: int = 1 << 18
    step_bytes: int = 1 << 14
    header_bytes: int = HEADER_BYTES


_DEFAULT_SIZES = Sizes()
_SEARCHED_BYTES = 1 << 19


class CsvFile:
    """A CSV file read once from a stream: first its header, then its blocks.

    The first bytes show whether the file is compressed; `file_format` says everything else about its form. The stream
    needs only a `read` method.

    Raises:
        UnreadableFileError: the file has no header, its header lacks or repeats a column, it is not CSV at all, or it
            is larger than `limits` allow.
    """

    header: Header
    file_format: FileFormat
    record_limits: Limits

    def __init__(
        self,
        stream: Readable,
        contract: RowContract,
        file_format: FileFormat = DEFAULT_FORMAT,
        limits: FileLimits = DEFAULT_LIMITS,
        sizes: Sizes = _DEFAULT_SIZES,
    ) -> None:
        self._contract = contract
        self.file_format = file_format
        self._sizes = sizes
        self._dialect = _dialect(file_format)
        self._max_columns = limits.columns
        unpacked = Unpacked(stream, limits)
        start = unpacked.read(sizes.block_bytes)
        check_format(start, compression=unpacked.compression, encoding=file_format.encoding)
        source = Prefixed(start, unpacked)
        self._stream = in_utf8(source, file_format.encoding)
        self._data = self._read(sizes.block_bytes)
        self._skip_lines()
        self.header = self._take_header()
        self.record_limits = Limits(len(self.header.columns), limits.field_bytes, limits.line_bytes, self._dialect)

    @property
    def unread(self) -> bytes:
        """What was read from the stream after the header and is in no block yet, in UTF-8."""
        return self._data

    def _read(self, size: int) -> bytes:
        return read_full(self._stream, size)

    def _skip_lines(self) -> None:
        """Leave out the configured number of lines, and the line `sep=`."""
        for _ in range(self.file_format.skip_lines):
            self._skip_line()
        line = self._data.removeprefix(MARK)[:16].splitlines()[:1]
        if self.file_format.sep_line and line and line[0].lower().startswith(b"sep="):
            if line[0][len("sep=") :] != self._dialect.delimiter:
                message = "its line 'sep=' names another separator than format.delimiter: set the one that it has"
                raise UnreadableFileError(message)
            self._skip_line()

    def _skip_line(self) -> None:
        data = self._data
        while (end := after_line(data, 0)) is None or end == len(data):
            more = self._read(self._sizes.block_bytes)
            if not more:
                break
            # The last byte may be the first half of CRLF.
            data = data[-1:] + more
        self._data = data[end or len(data) :]

    def _take_header(self) -> Header:
        if self.file_format.header == "none":
            return header_by_position(self._contract, self.file_format, self._dialect)
        beginning = data = self._data
        most = self._sizes.header_bytes
        limits = Limits(most, most, most, self._dialect)
        at, final = 0, False
        while True:
            at = skip_blank(data, at, final=final, dialect=self._dialect)
            fields = read_fields(data, at, final=final, limits=limits) if at < len(data) else None
            if fields is None:
                if final:
                    message = f"it is empty: the first line must name the columns {','.join(self._contract.names)}"
                    raise UnreadableFileError(message)
                size = max(self._sizes.block_bytes, len(data) - at)
                more = self._read(size)
                final = len(more) < size
                data, at = data[at:] + more, 0
                continue
            if fields.count > self._max_columns:
                message = (
                    f"its header has {fields.count:,} columns, more than the {self._max_columns:,} of limits.columns: "
                    "send only the columns of the feed"
                )
                raise UnreadableFileError(message)
            record = fields.record(fields.count)
            end = len(data) if fields.end is None else fields.end
            if record is not None:
                self._data = data[end:]
                return read_header(record, beginning, self._contract, self.file_format, self._dialect)
            at = end

    def blocks(self) -> Iterator[Block]:
        """Yield the records after the header, in order.

        Raises:
            UnreadableFileError: compressed data is damaged, or the file is larger than the limits allow.
        """
        data, self._data = self._data, b""
        final = False
        while data or not final:
            if not final and len(data) < self._sizes.block_bytes:
                more = self._read(self._sizes.block_bytes - len(data))
                final = len(more) < self._sizes.block_bytes - len(data)
                data += more
            if not data:
                return
            block, end = self._cut(data, final=final)
            if block:
                yield block
            if end is None:
                data = self._after_line()
            elif end:
                data = data[end:]
            elif not final:
                # The current record is longer than a block. Double the data each time to avoid quadratic time.
                size = max(self._sizes.block_bytes, len(data))
                more = self._read(size)
                final = len(more) < size
                data += more

    def _cut(self, data: bytes, *, final: bool) -> tuple[Block, int | None]:
        """Return the whole records at the start of `data`, and the offset after them.

        The offset is 0 if more must be read first, and None if a skipped line continues after `data`.
        """
        piece = data[: self._piece_end(data)]
        block, end = self._cut_piece(piece, final=final and len(piece) == len(data))
        if end is None:
            return block, after_line(data, len(piece))
        if end or len(piece) == len(data):
            return block, end
        # The first record has more bytes or lines than a block.
        records = self._read_records(data, 0, 1, final=final)
        return ([records] if records.records else []), records.end

    def _piece_end(self, data: bytes) -> int:
        """Return how many bytes of `data` go into one block."""
        size, left = self._sizes.block_bytes, self._sizes.block_lines
        has_returns = b"\r" in data
        # Look at the data in steps, because a block of very short lines ends early.
        for start in range(0, min(size, len(data)), _SEARCHED_BYTES):
            bytes_ = np.frombuffer(data[start : min(start + _SEARCHED_BYTES, size)], dtype=np.uint8)
            line_ends = bytes_ == ord("\n")
            if has_returns:
                line_ends |= bytes_ == ord("\r")
            found = int(np.count_nonzero(line_ends))
            if found > left:
                return start + int(np.flatnonzero(line_ends)[left - 1]) + 1 if left else start
            left -= found
        return size

    def _cut_piece(self, data: bytes, *, final: bool) -> tuple[Block, int | None]:
        block: list[RegularRun | Records] = []
        max_record_bytes = min(self.record_limits.field_bytes, self.record_limits.record_bytes)
        runs = Runs(data, final=final, max_record_bytes=max_record_bytes, dialect=self._dialect)
        at = 0
        ahead = len(data)
        while at < len(data):
            stop = min(at + ahead, len(data))
            run = runs.run(at, stop)
            if run.end > at:
                block.append(RegularRun(data[at : run.end], run.bare_quotes))
                at = run.end
            if run.irregular:
                records = self._read_records(data, at, at + self._sizes.step_bytes, final=final)
                if records.records:
                    block.append(records)
                if records.end is None or records.waiting:
                    return block, records.end
                at = records.end
                ahead = 4 * self._sizes.step_bytes
            elif stop == len(data):
                break
            else:
                ahead *= 2
        return block, at

    def _read_records(self, data: bytes, start: int, stop: int, *, final: bool) -> Records:
        return read_records(data, start, stop, final=final, limits=self.record_limits)

    def _after_line(self) -> bytes:
        """Skip the rest of the stream's current line without keeping it, and return what was read after it."""
        while data := self._read(self._sizes.block_bytes):
            end = after_line(data, 0)
            if end is not None:
                return data[end:]
        return b""


def _dialect(file_format: FileFormat) -> Dialect:
    return Dialect(
        file_format.delimiter.encode(), (file_format.quote or "").encode(), (file_format.comment or "").encode()
    )
