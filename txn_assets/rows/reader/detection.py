"""Say what a refused file looks like: the `format` under which the row contract accepts most of its first rows.

Nothing is loaded by a guess. The sentence is for people, who decide whether a feed is really sent that way. It names
settings and columns, never a value of a row.
"""

import difflib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from charset_normalizer import from_bytes

from txn_assets.files.shown import MAX_NAME
from txn_assets.rows.contract import RowContract
from txn_assets.rows.kinds import BooleanKind, DateKind, DecimalKind, Kind, TimestampKind, WholeKind
from txn_assets.rows.reader.columns import parse
from txn_assets.rows.reader.compression import Readable, Unpacked
from txn_assets.rows.reader.csv_file import CsvFile, Sizes
from txn_assets.rows.reader.encodings import in_utf8
from txn_assets.rows.reader.file_format import DELIMITERS, FileFormat
from txn_assets.rows.reader.header import Names, UnreadableFileError, is_utf16, loose_name
from txn_assets.rows.reader.normalization import count_dates, number_pattern
from txn_assets.rows.reading import Reading
from txn_assets.rows.validation import validate

HEAD_BYTES = 1 << 16
"""How much of a file to look at."""

_SEARCHED_LINES = 30
_SEARCHED_ROWS = 1000
_MIN_SHARE = 0.5
"""A suggestion must make more than this share of the rows valid."""

_WESTERN = {"cp1252": "windows-1252", "latin_1": "iso-8859-1", "iso8859_15": "iso-8859-15"}
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

_NUMBER_FORMS: Sequence[tuple[str, str | None]] = (
    (".", None), (",", None), (".", ","), (",", "."), (".", "'"), (",", " "), (".", " "),
    (",", "\u00a0"), (",", "\u202f"), (".", "\u2019"),
)  # fmt: skip
_ISO_DAY, _ISO_MOMENT = "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"
_DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%y",
         "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d %Y", "%Y-%m-%d")  # fmt: skip
_TIMES = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", " %H:%M:%S.%f", "T%H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p")
_DAY_PATTERNS = (_ISO_DAY, *(day + time for time in _TIMES for day in _DAYS if day + time != _ISO_DAY))
_MOMENT_PATTERNS = (
    _ISO_MOMENT,
    *(day + time + zone for zone in ("%z", " %z") for time in _TIMES[1:] for day in _DAYS),
)
_NULLS = frozenset({"NULL", "null", "N/A", "n/a", "NA", "None", "none", "nil", "NaN", "nan", r"\N", "-", "--"})

_DIGIT = re.compile(r"[0-9]")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_MARKS = {",": "commas", ".": "points", "'": "apostrophes", "\u2019": "apostrophes"}
_SEPARATED = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


class Head:
    """A stream that keeps a copy of its first bytes, in `data`."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.data = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return what the stream returns."""
        data = self._stream.read(size)
        if len(self.data) < HEAD_BYTES:
            self.data += data[: HEAD_BYTES - len(self.data)]
        return data


@contextmanager
def described(stream: Readable, reading: Reading) -> Iterator[Head]:
    """Add to the error of a file that is refused what the file looks like.

    Raises:
        UnreadableFileError: the same error, with the sentence if there is one.
    """
    head = Head(stream)
    try:
        yield head
    except UnreadableFileError as error:
        if sentence := looks_like(head.data, reading):
            message = f"{error}. {sentence}"
            raise type(error)(message) from error
        raise


def looks_like(start: bytes, reading: Reading) -> str:
    """Return a sentence about the form of a file from `start`, its first bytes; '' if there is nothing to say."""
    data = _unpacked(start)
    forms = [form for layout in _layouts(data, reading) for form in _completed(data, layout, reading)]
    shares = {form: _share(data, form, reading) for form in forms}
    most = max(shares.values(), default=0)
    # Judging bad rows takes long, so judge them in the form of the feed only if another form is good enough.
    if most <= _MIN_SHARE or most <= _share(data, reading.file_format, reading):
        return ""
    return _sentence([form for form in forms if shares[form] == most])


def _unpacked(start: bytes) -> bytes:
    parts = []
    # What is left of a compressed file usually ends inside its data.
    with suppress(UnreadableFileError):
        stream = Unpacked(io.BytesIO(start))
        size = 0
        while size < HEAD_BYTES and (part := stream.read(1 << 12)):
            parts.append(part)
            size += len(part)
    return b"".join(parts)


def _encoding(data: bytes) -> str | None:
    """Return the encoding of `data`, or None if no format supports it."""
    if data.startswith(_UTF16_MARKS) or is_utf16(data[:64]):
        return "utf-16"
    # The end may be inside a character.
    with suppress(UnicodeDecodeError):
        data[: max(data.rfind(b"\n"), 0)].decode()
        return "utf-8"
    # Text in another encoding, such as those of DOS or a Macintosh, looks too messy in each of these.
    best = from_bytes(data, cp_isolation=[*_WESTERN]).best()
    return _WESTERN[best.encoding] if best else None


def _layouts(data: bytes, reading: Reading) -> Iterator[Mapping[str, Any]]:
    """Yield settings under which `data` has a header with all required columns, or none and as many columns."""
    encoding = _encoding(data)
    if encoding is None:
        return
    columns = reading.file_format.columns
    common: dict[str, Any] = {"encoding": encoding}
    if isinstance(columns, Mapping) and columns:
        common["columns"] = columns
    stream = in_utf8(io.BytesIO(data), encoding)
    text = b"".join(iter(lambda: stream.read(1 << 16), b"")).decode(errors="replace").removeprefix("\ufeff")
    lines = text.splitlines()[:_SEARCHED_LINES]
    for delimiter in DELIMITERS:
        settings = {**common, "delimiter": delimiter}
        for number, line in enumerate(lines):
            named = _named(line, settings, reading.contract)
            if named is not None:
                yield {**settings, **named, **_above(lines[:number], delimiter)}
                break
        else:
            first = next((line for line in lines if line), "")
            if first.count(delimiter) == len(reading.contract.names) - 1 and "columns" not in common:
                yield {**settings, **_by_position(first.split(delimiter), reading.contract)}


def _named(line: str, settings: Mapping[str, Any], contract: RowContract) -> Mapping[str, Any] | None:
    """Return the settings under which `line` is a header with all required columns; None if there are none."""
    for quote in ('"', "'"):
        sent = [name.strip().strip(quote).strip() for name in line.split(settings["delimiter"])]
        quoted = {"quote": quote} if quote == "'" and line.lstrip().startswith(quote) else {}
        for header in ("exact", "loose"):
            form = FileFormat.model_validate({**settings, "header": header})
            names = Names(contract, form)
            if {*names.required} <= {names.field(name) for name in sent}:
                return {"header": header, **quoted}
        near = _near(sent, names)
        if near:
            aliases = {**settings.get("columns", {}), **near}
            return {"header": "exact", "columns": aliases, **quoted}
    return None


def _by_position(first: Sequence[str], contract: RowContract) -> Mapping[str, Any]:
    """Return the settings that name the columns by position: `first` is a row, or a header with other names."""
    sent = [name.strip("\"' \t") for name in first]
    kinds = (DecimalKind, WholeKind, DateKind, TimestampKind)
    of_numbers = [name for name, kind in zip(sent, contract.kinds.values(), strict=True) if isinstance(kind, kinds)]
    # A number or a date has a digit. Text may be a value in a file of text only, so it is no name there.
    is_header = any(of_numbers) and not any(_DIGIT.search(name) for name in of_numbers) and len({*sent}) == len(sent)
    if not is_header or not all(sent):
        return {"header": "none"}
    if any(len(name) > MAX_NAME for name in sent):
        # The sentence would not fit on a screen.
        return {}
    return {"columns": {name: field for name, field in zip(sent, contract.names, strict=True) if name != field}}


def _near(sent: Sequence[str], names: Names) -> Mapping[str, str]:
    """Return the field for each column that is not named exactly but nearly so; empty if one has no column."""
    loose = {loose_name(name): name for name in sent}
    missing = [field for field in names.required if loose_name(field) not in loose]
    if not missing or len(missing) > len(names.required) // 2:
        return {}
    aliases = {}
    for field in names.required:
        close = difflib.get_close_matches(loose_name(field), loose, n=1, cutoff=0.8)
        if not close:
            return {}
        name = loose.pop(close[0])
        if len(name) > MAX_NAME:
            return {}
        if name != field:
            aliases[name] = field
    return aliases


def _above(lines: Sequence[str], delimiter: str) -> Mapping[str, Any]:
    """Return the settings that leave out `lines`, which come before the header."""
    written = [line for line in lines if line.strip()]
    if not written:
        return {}
    if len(written) == 1 and written[0].lower() == f"sep={delimiter}":
        return {"sep_line": True}
    if all(line.startswith("#") for line in written):
        return {"comment": "#"}
    return {"skip_lines": len(lines)}


def _completed(data: bytes, layout: Mapping[str, Any], reading: Reading) -> list[FileFormat]:
    """Return the formats with this layout under which the numbers and dates of the rows can be read."""
    try:
        columns = _columns(data, FileFormat.model_validate(layout), reading.contract)
    except (UnreadableFileError, ValueError):
        return []
    settings: dict[str, Any] = {**layout}
    contract = reading.contract
    numbers = _texts(columns, contract, DecimalKind, WholeKind)
    days, moments = _texts(columns, contract, DateKind), _texts(columns, contract, TimestampKind)
    # Text may really be "None".
    others = _texts(columns, contract, BooleanKind, DateKind, DecimalKind, TimestampKind, WholeKind)
    spelled = {*others.to_pylist()}
    settings["nulls"] = (*reading.file_format.nulls, *sorted(_NULLS & spelled - {*reading.file_format.nulls}))
    settings["decimal"], settings["thousands"] = _number_form(numbers)
    result = []
    for dates in _date_forms(days, moments):
        # Patterns that contradict each other, or a decimal comma without quotes, are not a form.
        with suppress(ValueError):
            result.append(FileFormat.model_validate({**settings, "dates": dates}))
    return result


def _columns(data: bytes, form: FileFormat, contract: RowContract) -> pa.Table:
    file = CsvFile(io.BytesIO(data), contract, form, sizes=Sizes(block_bytes=HEAD_BYTES))
    batches = [parse(block, file.header).fields for block in file.blocks()]
    if not batches:
        raise UnreadableFileError("it has no rows")
    return pa.Table.from_batches(batches)


def _texts(columns: pa.Table, contract: RowContract, *kinds: type[Kind]) -> pa.StringArray:
    """Return the values of the columns of `kinds`, without empty ones."""
    texts = [
        value.decode(errors="replace").strip()
        for name in contract.of_kind(*kinds)
        for value in columns[name].slice(0, _SEARCHED_ROWS).to_pylist()
    ]
    return pa.array([text for text in texts if text], pa.string())


def _number_form(texts: pa.StringArray) -> tuple[str, str | None]:
    """Return the decimal mark and the mark between thousands; a point and None if the numbers do not tell."""
    fits = {form: pc.match_substring_regex(texts, number_pattern(*form)).true_count for form in _NUMBER_FORMS}
    most = max(fits.values())
    best = [form for form in _NUMBER_FORMS if fits[form] == most]
    # 1,499 may be a number with three decimals, or with a mark between thousands.
    is_clear = len({decimal for decimal, _ in best}) == 1
    return best[0] if is_clear else _NUMBER_FORMS[0]


def _date_forms(days: pa.StringArray, moments: pa.StringArray) -> list[tuple[str, ...]]:
    """Return the patterns that fit the dates and timestamps; several if a day may be a month."""
    of_days = _fitting(days, _DAY_PATTERNS, has_time=False)
    of_moments = _fitting(moments, _MOMENT_PATTERNS, has_time=True)
    if of_days == [_ISO_DAY] and of_moments == [_ISO_MOMENT]:
        return [()]
    return [
        tuple(dict.fromkeys([*([day] if len(days) else []), *([moment] if len(moments) else [])]))
        for day in of_days
        for moment in of_moments
    ]


def _fitting(texts: pa.StringArray, patterns: Sequence[str], *, has_time: bool) -> list[str]:
    """Return the patterns that fit most of `texts`; only the first one if that is among them."""
    if count_dates(texts, patterns[0], has_time=has_time) == len(texts):
        return [patterns[0]]
    fits = {pattern: count_dates(texts, pattern, has_time=has_time) for pattern in patterns}
    most = max(fits.values())
    best = [pattern for pattern in patterns if fits[pattern] == most]
    return best[:1] if best[0] == patterns[0] else best


def _share(data: bytes, form: FileFormat, reading: Reading) -> float:
    """Return the share of valid rows in `data` if it has this form."""
    records = valid = 0
    try:
        file = CsvFile(io.BytesIO(data), reading.contract, form, reading.limits, Sizes(block_bytes=HEAD_BYTES))
        for verdict in validate(file, reading.contract, batch_size=reading.batch_size, threads=1):
            records += verdict.records
            valid += verdict.valid.num_rows
    except UnreadableFileError:
        return 0
    return valid / max(records, 1)


def _sentence(forms: Sequence[FileFormat]) -> str:
    """Return the sentence that suggests the first of `forms`, which are equally good."""
    form = forms[0]
    dates = list(dict.fromkeys(other.dates for other in forms if _without_dates(other) == _without_dates(form)))
    features = _features(form, dates)
    *others, last = features or [""]
    joined = f" with {', '.join(others)}{' and ' if others else ''}{last}" if features else ""
    meant = "" if len(dates) == 1 else ", with the dates that are meant: the first rows do not tell a day from a month"
    encoding = form.encoding.upper() if form.encoding.startswith("utf") else form.encoding
    return (
        f"This looks like {_SEPARATED[form.delimiter]}-separated {encoding}{joined}. "
        f"If that is how this feed is sent, set `format: {_as_yaml(form.settings())}`{meant}"
    )


def _without_dates(form: FileFormat) -> FileFormat:
    return form.model_copy(update={"dates": ()})


def _features(form: FileFormat, dates: Sequence[tuple[str, ...]]) -> list[str]:
    """Return what is special about `form`, which may have any of `dates`."""
    patterns = dict.fromkeys(pattern for one in dates for pattern in one)
    plural = "s" if form.skip_lines > 1 else ""
    said = {
        "decimal commas": form.decimal == ",",
        f"{_MARKS.get(form.thousands or '', 'blanks')} between thousands": form.thousands,
        f"dates as {' or '.join(patterns)}": patterns,
        f"{form.skip_lines} line{plural} above the header": form.skip_lines,
        "a line 'sep='": form.sep_line,
        "comments": form.comment,
        "single quotes around fields": form.quote == "'",
        "another spelling of the column names": form.header == "loose",
        "other column names": form.columns,
        "no header": form.header == "none",
        f"missing values as {', '.join(form.nulls)}": form.nulls,
    }
    return [feature for feature, holds in said.items() if holds]


def _as_yaml(value: Any) -> str:  # noqa: ANN401 - a value of a configuration
    """Return `value` on one line, as it may be pasted into a configuration."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_as_yaml(key)}: {_as_yaml(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_yaml, value))}]"
    if isinstance(value, (bool, int)):
        return str(value).lower()
    if value == "\t":
        return "tab"
    if _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return str(value)
    single, double = f"'{value.replace("'", "''")}'", f'"{"".join(map(_in_double_quotes, value))}"'
    return single if value.isprintable() else double


def _in_double_quotes(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    code = ord(character)
    return character if character.isprintable() else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"
