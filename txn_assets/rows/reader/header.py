"""Read the header of a CSV file, and say what is wrong with a file that has no valid header.

`records.py` defines what a record is. No message carries a value, because the first line may be data.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from txn_assets.errors import ValueFreeError
from txn_assets.files.shown import shown_name
from txn_assets.rows.contract import RowContract
from txn_assets.rows.reader.file_format import DELIMITERS, FileFormat
from txn_assets.rows.reader.limits import HEADER_BYTES, shown_bytes
from txn_assets.rows.reader.records import MARK, STANDARD, Dialect, Record, Unreadable

COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "ZIP", b"\x28\xb5\x2f\xfd": "Zstandard"}
"""The compressions that `compression.py` reads, by the first bytes of a file."""

_MAGIC = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"PK\x05\x06": "an empty ZIP archive",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SEARCHED_BYTES = 1 << 16
_SEARCHED_LINES = 100
_VALUE = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*|[0-9]{4}-[0-9]{2}-[0-9]{2}.*")
_LOOSE = re.compile(r"[\s_-]+")


class UnreadableFileError(ValueFreeError):
    """Raised when a file cannot be read as rows of its feed; the message says why and what to send instead."""


class OtherFormatError(UnreadableFileError):
    """Raised when a file is not CSV at all, such as a workbook."""


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a file, and how its records are written.

    Attributes:
        columns: the columns in file order: a field of the contract under its own name, another column as it is named
            in the first record, or by position if the names may be values.
        fields: all fields of the contract, in its order; `columns` may lack optional ones.
        extra: the columns that are not in the contract.
        dialect: what separates and surrounds the fields of a record.
    """

    columns: tuple[str, ...]
    fields: tuple[str, ...]
    extra: tuple[str, ...]
    dialect: Dialect = STANDARD

    @property
    def positions(self) -> tuple[int | None, ...]:
        """The position of each of `fields` in a record; None for an optional field that the file lacks."""
        return tuple(self.columns.index(name) if name in self.columns else None for name in self.fields)

    @property
    def found(self) -> tuple[int, ...]:
        """The positions of the fields that the file has, in the order of `fields`."""
        return tuple(position for position in self.positions if position is not None)


class Names:
    """The names that a header may use for the fields of `contract` in files of the form `file_format`."""

    def __init__(self, contract: RowContract, file_format: FileFormat) -> None:
        aliases = file_format.columns if isinstance(file_format.columns, Mapping) else {}
        # The sender may use the name of one field for another one.
        self._fields = {name: name for name in contract.names} | {**aliases}
        is_loose = file_format.header == "loose"
        self._loose = {loose_name(name): field for name, field in self._fields.items()} if is_loose else {}
        self.required = tuple(name for name in contract.names if name not in contract.optional)
        self.delimiter = file_format.delimiter

    def field(self, name: str) -> str | None:
        """Return the field that a header calls `name`, or None if it is not one of the contract."""
        return self._fields.get(name) or self._loose.get(loose_name(name))


def loose_name(name: str) -> str:
    """Return `name` without case, blanks, underscores and hyphens."""
    return _LOOSE.sub("", name).casefold()


def check_format(start: bytes, *, compression: str, encoding: str) -> None:
    """Refuse a file if `start`, its first unpacked bytes, marks a different format.

    Raises:
        UnreadableFileError: the file has a different format, or is compressed twice; the message names it.
    """
    inner = next((name for magic, name in COMPRESSED.items() if start.startswith(magic)), "")
    if compression and inner and (inner, compression) != ("ZIP", "gzip"):
        message = f"it is compressed twice, {inner} inside {compression}: compress the CSV file once"
        raise UnreadableFileError(message)
    kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "")
    if not kind and encoding != "utf-16" and (start.startswith(_UTF16_MARKS) or is_utf16(start[:64])):
        kind = "UTF-16 text"
    if kind:
        message = f"it is {kind}: send a CSV file in {'UTF-8' if encoding.startswith('utf-8') else encoding}"
        raise OtherFormatError(message)


def is_utf16(start: bytes) -> bool:
    """Return whether every other byte is NUL, as in UTF-16 without a byte order mark."""
    low, high = start[1::2], start[0::2]
    return any(2 * nuls.count(0) > len(nuls) and not text.count(0) for nuls, text in ((low, high), (high, low)))


def header_by_position(contract: RowContract, file_format: FileFormat, dialect: Dialect) -> Header:
    """Return the header of a file that has none: the configured columns, or all fields in the contract's order."""
    assert not isinstance(file_format.columns, Mapping)
    columns = file_format.columns or contract.names
    return Header(columns, contract.names, tuple(name for name in columns if name not in contract.names), dialect)


def read_header(
    record: Record, start: bytes, contract: RowContract, file_format: FileFormat, dialect: Dialect = STANDARD
) -> Header:
    """Return the header from `record`, the first record; `start` is the beginning of the file.

    Raises:
        UnreadableFileError: a column is missing or repeated.
    """
    names = Names(contract, file_format)
    if isinstance(record, Unreadable):
        fault = record.message[:1].lower() + record.message[1:]
        if record.code == "record_too_long":
            fault = f"it is longer than {shown_bytes(HEADER_BYTES)}"
        elif elsewhere := _header_elsewhere(start, names, first=""):
            fault = elsewhere
        message = f"its first line is not a header: {fault}"
        raise UnreadableFileError(message)
    try:
        sent = [name.decode().strip() for name in record]
    except UnicodeDecodeError as error:
        message = "its first line is not UTF-8 text: send a CSV file in UTF-8"
        if not file_format.encoding.startswith("utf-8"):
            message = f"its first line is not {file_format.encoding} text, as format.encoding says"
        raise UnreadableFileError(message) from error
    columns = [names.field(name) or name for name in sent]
    missing = [name for name in names.required if name not in columns]
    if missing:
        plural = "columns" if len(missing) > 1 else "column"
        remedy = _header_elsewhere(start, names, first=sent[0]) or _other_remedy(missing, columns, names)
        message = f"its header lacks the {plural} {', '.join(missing)}: {remedy}"
        raise UnreadableFileError(message)
    for name in contract.names:
        if columns.count(name) > 1:
            message = f"its header names the column {name} {columns.count(name)} times: keep one of them"
            raise UnreadableFileError(message)
    shown = _without_values(columns, contract.names)
    return Header(shown, contract.names, tuple(name for name in shown if name not in contract.names), dialect)


def _without_values(columns: Sequence[str], fields: Sequence[str]) -> tuple[str, ...]:
    """Return `columns` for messages, with unknown ones named by position if one of them is a number or a date.

    A number or a date means that a line of data was joined to the header.
    """
    hidden = any(_VALUE.fullmatch(name) for name in columns)
    return tuple(
        f"column {place}" if name not in fields and (hidden or not name) else shown_name(name)
        for place, name in enumerate(columns, start=1)
    )


def _header_elsewhere(start: bytes, names: Names, *, first: str) -> str:
    """Return where the header is instead, and how to fix that; "" if none of the first lines names the columns."""
    texts = start[:_SEARCHED_BYTES].removeprefix(MARK).splitlines()[:_SEARCHED_LINES]
    lines = [(number, text) for number, text in enumerate(texts, start=1) if text]
    found = next(((number, separator) for number, text in lines for separator in _separators(text, names)), None)
    if found is None:
        return ""
    number, separator = found
    separated = ""
    if separator != names.delimiter:
        separated = f"its fields are separated by {separator!r}: separate them with {DELIMITERS[names.delimiter]}s"
    if number == lines[0][0]:
        return separated or "remove the quotes and other marks around the names in its header"
    above = "the line 'sep=', which only Excel understands," if first.lower().startswith("sep=") else "other text"
    sentence = f"line {number} looks like the header, but {above} comes first: remove everything before line {number}"
    return f"{sentence}; {separated}" if separated else sentence


def _other_remedy(missing: Sequence[str], columns: Sequence[str], names: Names) -> str:
    others = [separator for separator in DELIMITERS if separator != names.delimiter]
    if len(columns) == 1 and (separator := next((s for s in others if s in columns[0]), "")):
        return f"its fields seem to be separated by {separator!r}: separate them with {DELIMITERS[names.delimiter]}s"
    unknown = [column.strip("\"'").lower().replace(" ", "_") for column in columns if names.field(column) is None]
    near = [name for name in missing if difflib.get_close_matches(name, unknown, n=1, cutoff=0.8)]
    if near:
        return "; ".join(f"rename the column that looks like {name!r} to exactly that" for name in near)
    # The first line of a file without a header is data, so the message does not repeat it.
    expected = f"the first line must name the columns {','.join(names.required)}"
    is_data = any(_VALUE.fullmatch(column) for column in columns)
    return f"its first line looks like data, and {expected}" if is_data else expected


def _separators(line: bytes, names: Names) -> list[str]:
    """Return the separators that split `line` into fields that include every column name."""
    text = line.decode(errors="replace")
    return [
        separator
        for separator in DELIMITERS
        if {*names.required} <= {names.field(name.strip(" \ufeff\"'")) for name in text.split(separator)}
    ]
