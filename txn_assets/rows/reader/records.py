"""Read CSV records one at a time: what a record is in each dialect, and which code a broken one gets.

This module defines a record. `runs.py` finds the parts of a file that Arrow reads the same way, and a property
test checks that the two agree. See docs/data-contract.md for the reading rules.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from txn_assets.rows.reader.file_format import DELIMITERS
from txn_assets.rows.reader.limits import shown_bytes

MARK = b"\xef\xbb\xbf"
"""The UTF-8 byte order mark. Some exported files begin with it, so concatenated exports also have it in the middle."""

_BETWEEN = re.compile(rb"(?:[\r\n]|\xef\xbb\xbf)*+")
_LINE_END = re.compile(rb"\r\n|\n|\r")

_MESSAGES = {
    "unclosed_quote": "A quoted field is not closed",
    "malformed_quotes": "A quoted field goes on after its closing quote, or there is a quote inside an unquoted field: "
    "quote the whole field and double the quotes inside it",
    "record_too_long": "The row is too long: a field may have {field} (limits.field_bytes), a row {record} "
    "(limits.line_bytes)",
}


@dataclass(frozen=True)
class Dialect:
    """What separates and surrounds fields, as single ASCII characters, and what begins a comment.

    Attributes:
        delimiter: what separates the fields of a record.
        quote: what may surround a field; b"" if quotes have no meaning.
        comment: the beginning of a line that is not a record; b"" if there are none.
    """

    delimiter: bytes = b","
    quote: bytes = b'"'
    comment: bytes = b""

    @cached_property
    def blanks(self) -> bytes:
        """The characters that may be between a delimiter and a quote."""
        return b" \t".replace(self.delimiter, b"")

    @cached_property
    def unquoted(self) -> re.Pattern[bytes]:
        """A field without quotes around it."""
        return re.compile(rb"[^%b\r\n]*+" % re.escape(self.delimiter))

    @cached_property
    def plain(self) -> re.Pattern[bytes]:
        """What has no quote in it, up to the end of the line."""
        return re.compile(rb"[^%b\r\n]*+" % self.quote)

    @cached_property
    def blank(self) -> re.Pattern[bytes]:
        """The blanks after a quoted field."""
        return re.compile(rb"[%b]*+" % self.blanks)

    @cached_property
    def quoted(self) -> re.Pattern[bytes]:
        """A quoted field."""
        return re.compile(rb"Q([^Q]*+(?:QQ[^Q]*+)*+)Q".replace(b"Q", self.quote))

    @cached_property
    def inches(self) -> re.Pattern[bytes]:
        """The end of a field that is an inch sign."""
        return re.compile(rb"[0-9][%b]*%b\Z" % (self.blanks, self.quote))


STANDARD = Dialect()
"""RFC 4180."""


class Unreadable(NamedTuple):
    """What is wrong with a record that could not be split into fields."""

    code: str
    message: str


type Record = Sequence[bytes] | Unreadable
"""The fields of a record, as many as the header has, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many fields a record has, how long a field and a record may be, and in which dialect they are written.

    A quote that does not close within `record_bytes` counts as never closed.
    """

    width: int
    field_bytes: int
    record_bytes: int
    dialect: Dialect = STANDARD


@dataclass(slots=True)
class Fields:
    """Fields of one record, as read so far.

    Attributes:
        values: the first fields, at most as many as a record should have.
        count: the number of all fields.
        end: the offset after the record; None if its last line continues after the data.
        code: the error code if the record is broken, or "".
        bare: the unquoted fields that contain a quote.
        empty: whether all fields are empty.
        ends_in_delimiter: whether the last field is empty and unquoted.
        limits: how it was read.
    """

    values: list[bytes]
    count: int
    end: int | None
    code: str
    bare: list[bytes]
    empty: bool
    ends_in_delimiter: bool
    limits: Limits

    def record(self, width: int) -> Record | None:
        """Return the record under a header of `width` columns; None if all fields are empty, as in a blank line."""
        if self.code:
            return unreadable(self.code, self.limits)
        dialect = self.limits.dialect
        if self.bare and (self.count != width or _misplaced(self.bare, dialect)):
            return unreadable("malformed_quotes", self.limits)
        if self.empty:
            return None
        if self.count == width:
            return self.values
        return wrong_width(self.count, width, dialect.delimiter if self.ends_in_delimiter else b"")


class Records(NamedTuple):
    """Records read from part of the data.

    Attributes:
        records: the records, without blank lines.
        end: the offset after the last record; None if its line continues after the data.
        waiting: whether reading stopped at a record that needs more data.
        bare_quotes: how many of the readable records have a quote inside an unquoted field.
    """

    records: tuple[Record, ...]
    end: int | None
    waiting: bool
    bare_quotes: int


@functools.lru_cache(maxsize=64)
def unreadable(code: str, limits: Limits) -> Unreadable:
    """Return `code` with its message."""
    field, record = shown_bytes(limits.field_bytes), shown_bytes(limits.record_bytes)
    return Unreadable(code, _MESSAGES[code].format(field=field, record=record))


@functools.lru_cache(maxsize=1024)
def wrong_width(found: int, width: int, last: bytes) -> Unreadable:
    """Return what is wrong with a record of `found` fields under a header of `width` columns.

    `last` is the delimiter if the record ends in one, otherwise b"".
    """
    message = f"The row has {found} fields, the header {width}"
    if found < width:
        return Unreadable("too_few_fields", message)
    hint = ""
    if found == width + 1 and last:
        hint = f": it ends in a {DELIMITERS[last.decode()]} that the header does not have"
    return Unreadable("too_many_fields", message + hint)


def read_records(data: bytes, start: int, stop: int, *, final: bool, limits: Limits) -> Records:
    """Read the records that begin in `data` between `start` and `stop`.

    A record with broken quotes ends with its first line, so that the lines after it are still read.
    """
    records: list[Record] = []
    bare_quotes = 0
    at = start
    while at < stop:
        at = skip_blank(data, at, final=final, dialect=limits.dialect)
        if at == len(data):
            break
        fields = read_fields(data, at, final=final, limits=limits)
        if fields is None:
            return Records(tuple(records), at, True, bare_quotes)  # noqa: FBT003 - a field of a tuple
        record = fields.record(limits.width)
        if record is not None:
            records.append(record)
            bare_quotes += bool(fields.bare) and not isinstance(record, Unreadable)
        if fields.end is None:
            return Records(tuple(records), None, False, bare_quotes)  # noqa: FBT003 - a field of a tuple
        at = fields.end
    return Records(tuple(records), at, False, bare_quotes)  # noqa: FBT003 - a field of a tuple


def skip_blank(data: bytes, at: int, *, final: bool, dialect: Dialect = STANDARD) -> int:
    """Return the offset after the line ends, byte order marks and whole comments at `at`."""
    while True:
        between = _BETWEEN.match(data, at)
        at = between.end() if between else at
        if not dialect.comment or not data.startswith(dialect.comment, at):
            return at
        line_end = after_line(data, at)
        if line_end is None:
            return len(data) if final else at
        at = line_end


def after_line(data: bytes, at: int) -> int | None:
    """Return the offset after the first line end from `at` on, or None if there is none."""
    line_end = _LINE_END.search(data, at)
    return line_end.end() if line_end else None


def read_fields(data: bytes, start: int, *, final: bool, limits: Limits) -> Fields | None:
    """Read the record at `start`, keeping at most `limits.width` fields; return None if the record needs more data.

    The result depends only on the bytes of the record, never on how much of the file has been read.
    """
    dialect = limits.dialect
    delimiter, quote = dialect.delimiter, dialect.quote
    result = Fields([], 0, None, "", [], empty=True, ends_in_delimiter=False, limits=limits)
    size = len(data)
    at = start
    if dialect.comment and data.startswith(dialect.comment, start) and size - start <= limits.record_bytes:
        # `skip_blank` has left a comment whose end is not among the data.
        return None
    while True:
        # Split all fields without quotes at once.
        plain = dialect.plain.match(data, at)
        assert plain is not None
        end = plain.end()
        if quote and data.startswith(quote, end):
            before = data.rfind(delimiter, at, end)
            if before >= 0:
                _add_plain(result, data[at:before], limits)
                at = before + 1
            at = _read_field(data, at, result, final=final, limits=limits)
            if at < 0:
                return None
            if result.code in ("unclosed_quote", "malformed_quotes"):
                result.end = after_line(data, start)
                return result
        else:
            _add_plain(result, plain[0], limits)
            at = end
        if at - start > limits.record_bytes:
            result.code, result.end = "record_too_long", after_line(data, at)
            return result
        if at == size:
            result.end = at
            return result if final else None
        if not data.startswith(delimiter, at):
            result.end = after_line(data, at)
            return result
        at += 1


def _add_plain(result: Fields, text: bytes, limits: Limits) -> None:
    """Add the fields of `text`, which has no quotes. Only count fields beyond the width of the header."""
    delimiter = limits.dialect.delimiter
    wanted = max(limits.width - len(result.values), 0)
    values = text.split(delimiter, wanted)[:wanted]
    if len(text) > limits.field_bytes and any(len(value) > limits.field_bytes for value in values):
        result.code = "record_too_long"
        values = [b""] * len(values)
    result.values += values
    result.count += text.count(delimiter) + 1
    result.empty = result.empty and not text.strip(delimiter)
    result.ends_in_delimiter = not text or text.endswith(delimiter)


def _read_field(data: bytes, at: int, result: Fields, *, final: bool, limits: Limits) -> int:
    """Add the field at `at`, which has a quote, and return the offset after the field, or -1 if it needs more data."""
    dialect = limits.dialect
    quote = data.index(dialect.quote, at)
    if data[at:quote].strip(dialect.blanks):
        unquoted = dialect.unquoted.match(data, at)
        assert unquoted is not None
        value = unquoted[0]
        if len(value) > limits.field_bytes:
            result.code, value = "record_too_long", b""
        _add(result, value, limits)
        result.bare.append(value)
        return unquoted.end()
    field = dialect.quoted.match(data, quote, quote + limits.record_bytes)
    if field is None:
        if not final and len(data) - quote < limits.record_bytes:
            return -1
        result.code = "unclosed_quote"
        return at
    blanks = dialect.blank.match(data, field.end())
    assert blanks is not None
    if data[blanks.end() : blanks.end() + 1] not in (dialect.delimiter, b"\r", b"\n", b""):
        result.code = "malformed_quotes"
    elif field.end() - quote - len('""') > limits.field_bytes:
        result.code = "record_too_long"
        _add(result, b"", limits)
    else:
        _add(result, field[1].replace(2 * dialect.quote, dialect.quote), limits)
    return blanks.end()


def _add(result: Fields, value: bytes, limits: Limits) -> None:
    result.count += 1
    result.empty = result.empty and not value
    result.ends_in_delimiter = False
    if result.count <= limits.width:
        result.values.append(value)


def _misplaced(bare: Sequence[bytes], dialect: Dialect) -> bool:
    """Return whether quotes in the unquoted fields `bare` probably delimit a field: `T1"Desk, oak"` has lost a comma.

    One double quote after a digit at the end of a field is an inch sign, and pairs within one field are text.
    """
    opened = False
    for value in (value.rstrip(dialect.blanks) for value in bare if value.count(dialect.quote) % 2):
        closes = value.endswith(dialect.quote)
        if closes and (opened or not dialect.inches.search(value)):
            return True
        opened = opened or not closes
    return False
