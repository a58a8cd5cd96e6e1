"""Find regular runs: the parts of a CSV file that Arrow reads just as `records.py` would, usually nearly all of it.

Examine all quotes together, as arrays of positions. Leave anything that is not clearly regular to `records.py`.
"""

from typing import NamedTuple

import numpy as np

from txn_assets.rows.reader.records import MARK, STANDARD, Dialect

type _Bytes = np.typing.NDArray[np.uint8]
type _Positions = np.typing.NDArray[np.intp]
type _Mask = np.typing.NDArray[np.bool_]

_NO_POSITIONS: _Positions = np.array([], dtype=np.intp)


class Run(NamedTuple):
    """A regular run.

    Attributes:
        end: the offset after its last record.
        irregular: whether the next record is irregular; otherwise no whole record is left.
        bare_quotes: how many of its records have one quote, inside an unquoted field.
    """

    end: int
    irregular: bool
    bare_quotes: int


class Runs:
    """Finds the regular runs of `data`. A record longer than `max_record_bytes` is irregular."""

    def __init__(self, data: bytes, *, final: bool, max_record_bytes: int, dialect: Dialect = STANDARD) -> None:
        self._data = data
        self._final = final
        self._max_record_bytes = max_record_bytes
        self._bytes = np.frombuffer(data, dtype=np.uint8)
        quote = dialect.quote
        self._quotes = np.flatnonzero(self._bytes == ord(quote)) if quote and quote in data else _NO_POSITIONS
        self._ends_field = dialect.delimiter + b"\r\n"
        self._blanks = np.frombuffer(dialect.blanks, dtype=np.uint8)
        self._marks = _lines_that_begin_with(MARK, data)
        if dialect.comment:
            comments = _lines_that_begin_with(dialect.comment, data)
            self._marks = np.sort(np.concatenate([self._marks, comments]))

    def run(self, start: int, stop: int) -> Run:
        """Return the longest regular run from `start`, the beginning of a record, to at most `stop`."""
        quotes = self._quotes[np.searchsorted(self._quotes, start) : np.searchsorted(self._quotes, stop)]
        bare = _NO_POSITIONS
        irregular = [int(mark) for mark in self._marks[np.searchsorted(self._marks, start) :][:1] if mark < stop]
        if len(quotes):
            starts_field = self._is_delimiter(quotes - 1)
            if starts_field.any():
                irregular += _first(quotes[0::2], ~self._pair_up(quotes, starts_field))
                if self._final and stop == len(self._data) and len(quotes) % 2:
                    irregular.append(int(quotes[-1]))
            else:
                # All quotes are inside unquoted fields, so they are ordinary characters.
                irregular += _first(quotes, self._ambiguous(quotes, start, stop))
                quotes, bare = _NO_POSITIONS, quotes
        limit = min(irregular, default=stop)
        long_record = self._first_long_record(start, limit, quotes)
        if long_record is not None:
            end = long_record
        elif self._final and limit == len(self._data):
            end = limit
        else:
            # A quote at the very end may be the first half of an escaped one, but no line end follows it.
            end = _last_record_end(self._data, start, limit, quotes) or start
        bare_quotes = int(np.searchsorted(bare, end))
        return Run(end, bool(irregular) or long_record is not None, bare_quotes)

    def _pair_up(self, quotes: _Positions, starts_field: _Mask) -> _Mask:
        """Return for each pair whether its quotes open a field at its start, close one at its end, or are escaped."""
        opening, closing = quotes[0::2], quotes[1::2]
        pairs = len(opening)
        escaped = np.zeros(pairs, dtype=bool)
        escaped[1:] = opening[1:] == closing[: pairs - 1] + 1
        well = starts_field[0::2] | escaped
        escapes = np.zeros(len(closing), dtype=bool)
        escapes[: pairs - 1] = escaped[1:]
        well[: len(closing)] &= self._is_delimiter(closing + 1) | escapes
        return well

    def _ambiguous(self, quotes: _Positions, start: int, stop: int) -> _Mask:
        """Return which quotes inside unquoted fields may start or end a quoted field; `records.py` decides."""
        before = self._bytes[quotes - 1]
        behind = _at(self._bytes, quotes + 1)
        digit = (before >= ord("0")) & (before <= ord("9"))
        ambiguous: _Mask = self._is_blank(before) | (~digit & (self._is_delimiter(quotes + 1) | self._is_blank(behind)))
        piece = self._bytes[start:stop]
        line_ends = np.flatnonzero((piece == ord("\n")) | (piece == ord("\r"))) + start
        lines = np.searchsorted(line_ends, quotes)
        ambiguous[:-1] |= lines[1:] == lines[:-1]
        return ambiguous

    def _is_delimiter(self, at: _Positions) -> _Mask:
        found = _at(self._bytes, at)
        delimits: _Mask = (at < 0) | (at >= len(self._bytes))
        for byte in self._ends_field:
            delimits |= found == byte
        return delimits

    def _is_blank(self, found: _Bytes) -> _Mask:
        blank: _Mask = np.isin(found, self._blanks)
        return blank

    def _first_long_record(self, start: int, stop: int, quotes: _Positions) -> int | None:
        while stop - start > self._max_record_bytes:
            end = _last_record_end(self._data, start, start + self._max_record_bytes, quotes)
            if not end:
                return start
            start = end
        return None


def _lines_that_begin_with(mark: bytes, data: bytes) -> _Positions:
    """Return the offsets of `mark` at the starts of lines."""
    # Searching for one byte is many times faster than searching for three.
    if mark[:1] not in data:
        return _NO_POSITIONS
    marks = []
    at = data.find(mark)
    while at >= 0:
        if at == 0 or data[at - 1] in b"\r\n":
            marks.append(at)
        at = data.find(mark, at + len(mark))
    return np.array(marks, dtype=np.intp)


def _first(positions: _Positions, mask: _Mask) -> list[int]:
    """Return a list with the first of `positions` that `mask` selects, or an empty list."""
    return [int(positions[np.argmax(mask)])] if mask.any() else []


def _last_record_end(data: bytes, start: int, before: int, quotes: _Positions) -> int:
    """Return the offset after the last line end outside quotes between `start` and `before`; 0 if there is none."""
    end = _last_line_end(data, start, before)
    while end and (inside := int(np.searchsorted(quotes, end))) % 2 == 1:
        end = _last_line_end(data, start, int(quotes[inside - 1]))
    return end


def _last_line_end(data: bytes, start: int, before: int) -> int:
    return max(data.rfind(b"\n", start, before), data.rfind(b"\r", start, before)) + 1


def _at(bytes_: _Bytes, at: _Positions) -> _Bytes:
    return bytes_[np.clip(at, 0, len(bytes_) - 1)]
