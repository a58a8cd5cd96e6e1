"""Read the header of a CSV file, and say what is wrong with a file that has no valid header.

`csv_records.py` defines what a record is. No message carries a value, because the first line may be data.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from txn_assets.rows.contract import RowContract
from txn_assets.rows.csv_records import MARK, Record, Unreadable

GZIP_MAGIC = b"\x1f\x8b"
_MAGIC = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"%PDF": "a PDF",
}
_SEPARATORS = ";\t|"
_SEARCHED_BYTES = 1 << 16
_SEARCHED_LINES = 100
_VALUE = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*|[0-9]{4}-[0-9]{2}-[0-9]{2}.*")


class NotATransactionFileError(Exception):
    """Raised when a file cannot be read as transactions; the message says why and what to send instead."""


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file, as named in its first record.

    Attributes:
        fields: the columns of the contract.
        extra: the columns that are not in the contract: by name, or by position if the names may be values.
    """

    columns: tuple[str, ...]
    fields: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def positions(self) -> tuple[int, ...]:
        """The position of each of `fields` in a record."""
        return tuple(self.columns.index(name) for name in self.fields)


def check_format(start: bytes, *, compressed: bool) -> None:
    """Refuse a file if `start`, its first bytes, marks a different format.

    Raises:
        NotATransactionFileError: the file has a different format; the message names it.
    """
    if compressed and start.startswith(GZIP_MAGIC):
        message = "it is compressed twice, gzip inside gzip: compress the CSV file once"
        raise NotATransactionFileError(message)
    kinds = (kind for magic, kind in _MAGIC.items() if start.startswith(magic))
    if kind := next(kinds, "UTF-16 text" if _is_utf16(start[:64]) else None):
        message = f"it is {kind}: send a CSV file in UTF-8"
        raise NotATransactionFileError(message)


def _is_utf16(start: bytes) -> bool:
    """Return whether every other byte is NUL, as in UTF-16 without a byte order mark."""
    low, high = start[1::2], start[0::2]
    return any(2 * nuls.count(0) > len(nuls) and not text.count(0) for nuls, text in ((low, high), (high, low)))


def read_header(record: Record, start: bytes, contract: RowContract) -> Header:
    """Return the header from `record`, the first record; `start` is the beginning of the file.

    Raises:
        NotATransactionFileError: a column is missing or repeated.
    """
    fields = contract.names
    if isinstance(record, Unreadable):
        fault = record.message[:1].lower() + record.message[1:]
        if record.code == "record_too_long":
            fault = "it is longer than 1 MiB"
        elif elsewhere := _header_elsewhere(start, fields, first=""):
            fault = elsewhere
        message = f"its first line is not a header: {fault}"
        raise NotATransactionFileError(message)
    try:
        columns = tuple(name.decode().strip() for name in record)
    except UnicodeDecodeError as error:
        message = "its first line is not UTF-8 text: send a CSV file in UTF-8"
        raise NotATransactionFileError(message) from error
    missing = [name for name in fields if name not in columns]
    if missing:
        plural = "columns" if len(missing) > 1 else "column"
        remedy = _header_elsewhere(start, fields, first=columns[0]) or _other_remedy(missing, columns, fields)
        message = f"its header lacks the {plural} {', '.join(missing)}: {remedy}"
        raise NotATransactionFileError(message)
    for name in fields:
        if columns.count(name) > 1:
            message = f"its header names the column {name} {columns.count(name)} times: keep one of them"
            raise NotATransactionFileError(message)
    shown = _without_values(columns, fields)
    return Header(shown, fields, tuple(name for name in shown if name not in fields))


def _without_values(columns: Sequence[str], fields: Sequence[str]) -> tuple[str, ...]:
    """Return `columns`, with unknown ones named by position if one of them is a number or a date.

    A number or a date means that a line of data was joined to the header.
    """
    hidden = any(_VALUE.fullmatch(name) for name in columns)
    return tuple(
        f"column {place}" if name not in fields and (hidden or not name) else name
        for place, name in enumerate(columns, start=1)
    )


def _header_elsewhere(start: bytes, fields: Sequence[str], *, first: str) -> str:
    """Return where the header is instead, and how to fix that; "" if none of the first lines names the columns."""
    texts = start[:_SEARCHED_BYTES].removeprefix(MARK).splitlines()[:_SEARCHED_LINES]
    lines = [(number, text) for number, text in enumerate(texts, start=1) if text]
    found = next(((number, separator) for number, text in lines for separator in _separators(text, fields)), None)
    if found is None:
        return ""
    number, separator = found
    separated = "" if separator == "," else f"its fields are separated by {separator!r}: separate them with commas"
    if number == lines[0][0]:
        return separated or "remove the quotes and other marks around the names in its header"
    above = "the line 'sep=', which only Excel understands," if first.lower().startswith("sep=") else "other text"
    sentence = f"line {number} looks like the header, but {above} comes first: remove everything before line {number}"
    return f"{sentence}; {separated}" if separated else sentence


def _other_remedy(missing: Sequence[str], columns: Sequence[str], fields: Sequence[str]) -> str:
    if len(columns) == 1 and (separator := next((s for s in _SEPARATORS if s in columns[0]), "")):
        return f"its fields seem to be separated by {separator!r}: separate them with commas"
    unknown = [column.strip("\"'").lower().replace(" ", "_") for column in columns if column not in fields]
    near = [name for name in missing if difflib.get_close_matches(name, unknown, n=1, cutoff=0.8)]
    if near:
        return "; ".join(f"rename the column that looks like {name!r} to exactly that" for name in near)
    # The first line of a file without a header is data, so the message does not repeat it.
    expected = f"the first line must name the columns {','.join(fields)}"
    is_data = any(_VALUE.fullmatch(column) for column in columns)
    return f"its first line looks like data, and {expected}" if is_data else expected


def _separators(line: bytes, fields: Sequence[str]) -> list[str]:
    """Return the separators that split `line` into fields that include every column name."""
    text = line.decode(errors="replace")
    return [
        separator
        for separator in "," + _SEPARATORS
        if set(fields) <= {name.strip(" \ufeff\"'") for name in text.split(separator)}
    ]
