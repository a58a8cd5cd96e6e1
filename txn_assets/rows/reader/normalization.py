"""Rewrite values from the form that a feed is sent in into the standard form, which the row contract judges.

Numbers get a decimal point and no grouping, dates become ISO 8601, and spellings of "missing" become empty. Nothing is
guessed: a value that is not in the configured form becomes one that the contract rejects. `file_format.py` defines the
forms; with the default form no value is rewritten.
"""

import functools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from txn_assets.rows.contract import Column, RowContract
from txn_assets.rows.kinds import DateKind, DecimalKind, Kind, TimestampKind, WholeKind
from txn_assets.rows.reader.file_format import DIRECTIVES, MONTHS, FileFormat

_MISFIT = "?"
"""What a number, date or timestamp becomes that is not in the configured form. None of these kinds accepts it."""

_BLANKS = r"[ \t]*"
_HOURS = pa.array([f"{hour % 12 or 12}{'am' if hour < 12 else 'pm'}" for hour in range(24)])
_WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}
"""How many digits a directive has that is always written in full."""

_ISO_DATE = "0000-00-00"
_ISO_TIME = "0000-00-00T00:00:00"
_ISO_PLACES = {"Y": 0, "m": 5, "d": 8, "H": 11, "M": 14, "S": 17}

type _Texts = pa.StringArray
type _Bytes = np.typing.NDArray[np.uint8]


def normalize(columns: pa.RecordBatch, contract: RowContract, file_format: FileFormat) -> pa.RecordBatch:
    """Return `columns`, text in the form `file_format`, in the standard form."""
    if file_format.has_standard_values:
        return columns
    arrays = [_normalized(columns[name], kind, file_format) for name, kind in contract.kinds.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(contract.names))


def _normalized(texts: _Texts, kind: Kind, file_format: FileFormat) -> _Texts:
    if file_format.nulls:
        is_missing = pc.is_in(pc.ascii_trim_whitespace(texts), pa.array(file_format.nulls))
        texts = pc.if_else(is_missing, "", texts)
    if isinstance(kind, (DecimalKind, WholeKind)):
        return _numbers(texts, file_format.decimal, file_format.thousands)
    if isinstance(kind, (DateKind, TimestampKind)) and file_format.dates:
        return _dates(texts, file_format.dates, has_time=isinstance(kind, TimestampKind))
    return texts


_MISFIT_CODES: Mapping[type[Kind], str] = {
    DecimalKind: "decimal_parsing",
    WholeKind: "int_parsing",
    DateKind: "date_format",
    TimestampKind: "timestamp_format",
}
"""The error code of a value that is not in the configured form."""


@functools.lru_cache(maxsize=8)
def form_messages(contract: RowContract, file_format: FileFormat) -> Mapping[tuple[str, str], str]:
    """Return by field and error code what to say instead of Pydantic, which describes the standard form."""
    return {
        (name, code): f"Input should be {form}"
        for name, kind in contract.kinds.items()
        for of, code in _MISFIT_CODES.items()
        if isinstance(kind, of) and (form := own_form(kind, file_format))
    }


def own_form(kind: Kind, file_format: FileFormat) -> str:
    """Return what a value of `kind` is in `file_format`, for people; '' if it has the standard form."""
    decimal, thousands = file_format.decimal, file_format.thousands
    has_own_numbers = decimal != "." or thousands is not None
    grouping = "without grouping" if thousands is None else f"grouped by {thousands!r} or not at all"
    if isinstance(kind, DecimalKind) and has_own_numbers:
        mark, join = "comma" if decimal == "," else "point", " and" if thousands is None else ","
        return f"a number with a decimal {mark}{join} {grouping}, such as 1{thousands or ''}499{decimal}90"
    if isinstance(kind, WholeKind) and has_own_numbers:
        return f"a whole number, {grouping}, such as 1{thousands or ''}499"
    patterns = " or ".join(file_format.dates)
    if isinstance(kind, DateKind) and patterns:
        return f"a date in the form {patterns}, at midnight if it has a time"
    if isinstance(kind, TimestampKind) and patterns:
        return f"a time with a zone (%z) in the form {patterns}"
    return ""


def own_rule(column: Column, file_format: FileFormat) -> str:
    """Return what `column` is, and what a valid value in `file_format` is, for people."""
    form = own_form(column.kind, file_format)
    if not form:
        return column.rule
    limits = column.kind.rule.removeprefix(column.kind.form)
    return column.described(f"{form},{limits}" if limits.startswith(" ") else f"{form}{limits}")


def _numbers(texts: _Texts, decimal: str, thousands: str | None) -> _Texts:
    if thousands is not None:
        grouped = pc.match_substring(texts, thousands)
        if grouped.true_count:
            texts = pc.replace_with_mask(texts, grouped, _ungrouped(texts.filter(grouped), decimal, thousands))
    if decimal == ".":
        return texts
    # Replace in all values at once. A point that is left has no meaning in this form.
    return _translated(texts, bytes.maketrans(b",.", b"." + _MISFIT.encode()))


def _ungrouped(texts: _Texts, decimal: str, thousands: str) -> _Texts:
    """Return `texts`, which all have a mark between thousands, without it; misplaced marks make a misfit."""
    fits = pc.match_substring_regex(texts, number_pattern(decimal, thousands))
    return pc.if_else(fits, pc.replace_substring(texts, thousands, ""), _MISFIT)


def number_pattern(decimal: str, thousands: str | None) -> str:
    """Return the regular expression of numbers in this form."""
    group = rf"[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|" if thousands else ""
    return rf"^{_BLANKS}[+-]?(?:{group}[0-9]+)(?:{re.escape(decimal)}[0-9]*)?{_BLANKS}$"


def _translated(texts: _Texts, table: bytes) -> _Texts:
    """Return `texts` with each byte replaced by its place in `table`, which replaces ASCII characters only."""
    start, offsets, data = _buffers(texts)
    replaced = data.tobytes().translate(table)
    return pa.StringArray.from_buffers(
        len(texts), pa.py_buffer(np.ascontiguousarray(offsets - start)), pa.py_buffer(replaced)
    )


def _buffers(texts: _Texts) -> tuple[int, "np.typing.NDArray[np.int32]", _Bytes]:
    """Return where the data of `texts` starts in its buffer, all offsets, and the data."""
    assert not texts.null_count
    _, offsets_buffer, data_buffer = texts.buffers()
    # There is one more offset than there are values.
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer or b"", dtype=np.uint8)[offsets[0] : offsets[-1]]
    return int(offsets[0]), offsets, data


def _dates(texts: _Texts, patterns: Sequence[str], *, has_time: bool) -> _Texts:
    """Return dates, or timestamps, in ISO 8601. The first pattern that fits a value counts."""
    if not len(texts):
        return texts
    # Usually all values are in full in the first form.
    fits, dates = _dates_in_full(texts, patterns[0], has_time=has_time)
    if dates is not None and fits.all():
        return dates
    result = pc.if_else(pc.equal(texts, ""), "", _MISFIT)
    left = np.flatnonzero(pc.equal(result, _MISFIT).to_numpy(zero_copy_only=False))
    for pattern in patterns:
        if not len(left):
            break
        rest = texts if len(left) == len(texts) else texts.take(pa.array(left))
        for convert in (_dates_in_full, _dates_by_parts):
            fits, dates = convert(rest, pattern, has_time=has_time)
            if dates is None:
                continue
            mask = np.zeros(len(texts), dtype=bool)
            mask[left[fits]] = True
            result = pc.replace_with_mask(result, pa.array(mask), dates)
            left = left[~fits]
            rest = rest.filter(pa.array(~fits))
            if not len(left):
                break
    return result


def count_dates(texts: _Texts, pattern: str, *, has_time: bool) -> int:
    """Return how many of `texts` are dates, or timestamps, in the form `pattern`."""
    return int(pc.not_equal(_dates(texts, [pattern], has_time=has_time), _MISFIT).true_count)


type _Found = tuple["np.typing.NDArray[np.bool_]", _Texts | None]
"""Which texts fit a pattern, and those in ISO 8601; None if none fits."""


def _dates_in_full(texts: _Texts, pattern: str, *, has_time: bool) -> _Found:
    """Convert the texts that have all digits at their fixed places, as arrays of bytes."""
    no_match = np.zeros(len(texts), dtype=bool), None
    template = _template(pattern)
    if template is None:
        return no_match
    size, digits, literals = template
    start, offsets, data = _buffers(texts)
    starts = offsets[:-1] - start
    fits = offsets[1:] - offsets[:-1] == size
    if not fits.any():
        return no_match
    table = data.reshape(len(texts), size) if fits.all() else data[starts[fits][:, None] + np.arange(size)]
    is_digit = (table[:, np.concatenate([*digits.values()])] - np.uint8(ord("0"))) < 10
    good = is_digit.all(axis=1)
    for place, byte in literals:
        good &= table[:, place] == byte
    for directive, most in (("m", 12), ("d", 31)):
        tens, ones = (table[:, place] - np.uint8(ord("0")) for place in digits[directive])
        # Digits are checked above, so that the sum does not overflow where it counts.
        number = np.uint8(10) * tens + ones
        good &= (number >= 1) & (number <= most)
    if not has_time:
        for directive in {"H", "M", "S"} & {*digits}:
            good &= (table[:, digits[directive]] == ord("0")).all(axis=1)
    fits[fits] = good
    if not good.any():
        return no_match
    table = table if good.all() else table[good]
    form = _ISO_TIME if has_time else _ISO_DATE
    iso = np.empty((len(table), len(form)), dtype=np.uint8)
    iso[:] = np.frombuffer(form.encode(), dtype=np.uint8)
    for directive, places in digits.items():
        if directive in _ISO_PLACES and _ISO_PLACES[directive] < len(form):
            at = _ISO_PLACES[directive]
            iso[:, at : at + len(places)] = table[:, places]
    ends = np.arange(len(table) + 1, dtype=np.int32) * len(form)
    return fits, pa.StringArray.from_buffers(len(table), pa.py_buffer(ends), pa.py_buffer(iso))


type _Template = tuple[int, Mapping[str, Sequence[int]], Sequence[tuple[int, int]]]
"""The size of a date in full, the places of each directive's digits, and the other characters with their places."""


@functools.cache
def _template(pattern: str) -> _Template | None:
    digits: dict[str, Sequence[int]] = {}
    literals: list[tuple[int, int]] = []
    at = 0
    for directive, literal in _parts(pattern):
        if directive:
            if directive not in _WIDTHS:
                return None
            digits[directive] = range(at, at + _WIDTHS[directive])
            at += _WIDTHS[directive]
        else:
            literals += [(at + place, byte) for place, byte in enumerate(literal.encode())]
            at += len(literal.encode())
    return at, digits, literals


def _parts(pattern: str) -> list[tuple[str, str]]:
    """Split a pattern into directives and the text between them: ("d", "") or ("", ".")."""
    return [
        ("", "%") if percent else (directive, literal)
        for percent, directive, literal in re.findall(r"(%%)|%(.)|([^%]+)", pattern)
    ]


@functools.cache
def _form(pattern: str) -> str:
    parts = (
        f"(?P<{directive}>{DIRECTIVES[directive]})" if directive else re.escape(literal)
        for directive, literal in _parts(pattern)
    )
    return f"^{_BLANKS}{''.join(parts)}{_BLANKS}$"


def _dates_by_parts(texts: _Texts, pattern: str, *, has_time: bool) -> _Found:
    """Convert the texts that match the pattern: days and months may have one digit, and any directive may occur."""
    found = pc.extract_regex(texts, _form(pattern))
    fits = found.is_valid().to_numpy(zero_copy_only=False)
    if not fits.any():
        return fits, None
    found = found.filter(found.is_valid())
    names = [directive for directive, _ in _parts(pattern) if directive]
    parts: dict[str, _Texts] = {name: found.field(name) for name in names}
    day = _joined([_year(parts), _month(parts), _padded(parts["d"])], "-")
    time, zone = _time(parts, len(found)), _zone(parts)
    if has_time:
        return fits, _joined([day, time] if zone is None else [day, pc.binary_join_element_wise(time, zone, "")], "T")
    is_midnight = pc.match_substring_regex(time, r"^00:00:00(?:\.0*)?$").to_numpy(zero_copy_only=False)
    fits[fits] = is_midnight
    return fits, day.filter(pa.array(is_midnight))


def _joined(parts: Sequence[_Texts], between: str) -> _Texts:
    return pc.binary_join_element_wise(*parts, between)


def _padded(numbers: _Texts) -> _Texts:
    return pc.ascii_lpad(numbers, 2, "0")


def _year(parts: Mapping[str, _Texts]) -> _Texts:
    if "Y" in parts:
        return parts["Y"]
    # As strptime does: 69 to 99 are years of the twentieth century.
    century = pc.if_else(pc.greater_equal(parts["y"], "69"), "19", "20")
    return pc.binary_join_element_wise(century, parts["y"], "")


def _month(parts: Mapping[str, _Texts]) -> _Texts:
    if "m" in parts:
        return _padded(parts["m"])
    number = pc.add(pc.index_in(pc.ascii_lower(parts["b"]), pa.array(MONTHS)), 1)
    return _padded(number.cast(pa.string()))


def _time(parts: Mapping[str, _Texts], rows: int) -> _Texts:
    if "I" in parts:
        hour = pc.binary_join_element_wise(pc.ascii_ltrim(parts["I"], "0"), pc.ascii_lower(parts["p"]), "")
        hour = pc.index_in(hour, _HOURS).cast(pa.string())
    else:
        hour = parts.get("H", _repeated("0", rows))
    others = (parts.get(directive, _repeated("0", rows)) for directive in "MS")
    time = _joined([_padded(hour), *map(_padded, others)], ":")
    return _joined([time, parts["f"]], ".") if "f" in parts else time


def _zone(parts: Mapping[str, _Texts]) -> _Texts | None:
    if "z" not in parts:
        return None
    return pc.replace_substring_regex(parts["z"], r"^([+-][0-9]{2})([0-9]{2})$", r"\1:\2")


def _repeated(text: str, rows: int) -> _Texts:
    return pa.repeat(pa.scalar(text), rows)
