"""The form in which the files of a feed are sent: the `format` section of the configuration.

The default is RFC 4180 in UTF-8. `csv_file.py` and `normalization.py` apply the form. Keep Arrow out of this module,
because the configuration imports it. See docs/formats.md.
"""

import datetime as dt
import itertools
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
"""The delimiters, and what people call them."""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

DIRECTIVES = {
    "d": r"0?[1-9]|[12][0-9]|3[01]",
    "m": r"0?[1-9]|1[0-2]",
    "b": f"(?i:{'|'.join(MONTHS)})",
    "Y": r"[0-9]{4}",
    "y": r"[0-9]{2}",
    "H": r"[01]?[0-9]|2[0-3]",
    "I": r"0?[1-9]|1[0-2]",
    "p": r"(?i:am|pm)",
    "M": r"[0-5][0-9]",
    "S": r"[0-5][0-9]",
    "f": r"[0-9]{1,6}",
    "z": r"Z|[+-][0-9]{2}:?[0-9]{2}",
}
"""What each strptime directive of a date pattern matches, as a regular expression of RE2. Months are English."""

_YEARS, _MONTHS = {"Y", "y"}, {"m", "b"}


def _known_pattern(pattern: str) -> str:
    used = re.findall(r"%(.?)", pattern.replace("%%", ""))
    unknown = [directive for directive in used if directive not in DIRECTIVES]
    if unknown:
        message = f"%{unknown[0]} in a date pattern is not supported, only {', '.join(f'%{d}' for d in DIRECTIVES)} are"
        raise ValueError(message)
    if len(set(used)) < len(used):
        message = f"the date pattern {pattern!r} has a directive twice"
        raise ValueError(message)
    if "d" not in used or len(_YEARS & {*used}) != 1 or len(_MONTHS & {*used}) != 1:
        message = f"the date pattern {pattern!r} needs a day, one month and one year, such as '%d.%m.%Y'"
        raise ValueError(message)
    if ("I" in used) != ("p" in used) or {"I", "H"} <= {*used}:
        message = f"the date pattern {pattern!r} needs either %H, or %I with %p"
        raise ValueError(message)
    if ("M" in used or "z" in used) and not {"I", "H"} & {*used}:
        message = f"the date pattern {pattern!r} has a part of a time without an hour"
        raise ValueError(message)
    if ("S" in used and "M" not in used) or ("f" in used and "S" not in used):
        message = f"the date pattern {pattern!r} leaves out a part of the time between two others"
        raise ValueError(message)
    return pattern


def _date_of(text: str, pattern: str) -> dt.date | None:
    try:
        return dt.datetime.strptime(text, pattern).date()  # noqa: DTZ007 - only the day is looked at
    except ValueError:
        return None


def _named_tab(value: object) -> object:
    return "\t" if value == "tab" else value


type DatePattern = Annotated[str, AfterValidator(_known_pattern)]


class FileFormat(BaseModel):
    """How the files of a feed are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delimiter: Annotated[Literal[",", ";", "\t", "|"], BeforeValidator(_named_tab)] = Field(
        default=",", description="What separates the fields. The word `tab` means a tab."
    )
    encoding: Literal["utf-8", "utf-8-sig", "utf-16", "windows-1252", "iso-8859-1", "iso-8859-15"] = Field(
        default="utf-8",
        description="Encoding of the text. `utf-8-sig` is the same as `utf-8`: byte order marks are skipped. `utf-16` "
        "may have one.",
    )
    quote: Literal['"', "'"] | None = Field(
        default='"', description="What may surround a field, doubled inside it. `null` if quotes have no meaning."
    )
    decimal: Literal[".", ","] = Field(default=".", description="The decimal mark of numbers.")
    thousands: Literal[".", ",", "'", "\u2019", " ", "\u00a0", "\u202f"] | None = Field(
        default=None,
        description="What groups the digits of numbers: a point, a comma, an apostrophe, or a blank, also a no-break "
        "or a narrow one. Grouping is optional in each number, but must be right: `1.49,90` rejects its row. Without "
        "`thousands`, a grouped number rejects its row.",
    )
    dates: tuple[DatePattern, ...] = Field(
        default=(),
        description="strptime patterns of dates and timestamps; the first that fits counts. By default ISO 8601. The "
        "directives are `%Y %y %m %b %d` and `%H %I %p %M %S %f %z`. Days and months may have one digit, `%b` is "
        "English, and a timestamp needs `%z`.",
    )
    skip_lines: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="Number of lines to leave out before the header."
    )
    comment: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,8}$")] | None = Field(
        default=None, description="Beginning of lines to leave out, anywhere between records."
    )
    sep_line: bool = Field(
        default=False, description="Whether the first line may be `sep=` and the delimiter, as Excel writes it."
    )
    header: Literal["exact", "loose", "none"] = Field(
        default="exact",
        description="`loose`: names are compared without case, blanks, underscores and hyphens. `none`: the file has "
        "no header.",
    )
    columns: Mapping[str, str] | tuple[str, ...] = Field(
        default=(),
        description="The field of each header name that differs, `{Order No: order_id}`. Several names may mean one "
        "field, but a file has one of them. With `header: none`, the fields by position; a name that is not a field is "
        "a column that is not loaded.",
    )
    nulls: tuple[str, ...] = Field(
        default=(), description="Spellings of a missing value, in any field. Case counts, blanks around them do not."
    )

    @model_validator(mode="after")
    def _numbers_can_be_read(self) -> Self:
        if self.decimal == self.thousands:
            message = f"format.decimal and format.thousands are both {self.decimal!r}: a number could mean two things"
            raise ValueError(message)
        for name in ("decimal", "thousands"):
            if getattr(self, name) == self.delimiter and self.quote is None:
                message = (
                    f"format.{name} is also the delimiter, and format.quote is null: numbers could not be told from "
                    "fields. Set another delimiter, or a quote."
                )
                raise ValueError(message)
        if self.quote is not None and self.quote == self.thousands:
            message = f"format.thousands and format.quote are both {self.quote!r}: set another quote, or null"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _dates_have_one_meaning(self) -> Self:
        day = dt.datetime(2001, 2, 3)  # noqa: DTZ001 - any day whose numbers may stand for each other
        for first, second in itertools.permutations(self.dates, 2):
            if _date_of(day.strftime(first), second) not in (None, day.date()):
                message = f"format.dates has {first!r} and {second!r}: a date could mean two days. Keep one of them."
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _comments_differ_from_fields(self) -> Self:
        if self.comment and self.comment.startswith((self.delimiter, self.quote or self.delimiter)):
            message = "format.comment begins with the delimiter or the quote: rows would be left out as comments"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _columns_suit_the_header(self) -> Self:
        by_position = not isinstance(self.columns, Mapping)
        if self.columns and by_position != (self.header == "none"):
            form = "a list of fields, one for each position" if self.header == "none" else "a map of header name: field"
            message = f"format.columns must be {form}, because format.header is {self.header!r}"
            raise ValueError(message)
        if self.columns and by_position and len({*self.columns}) < len(self.columns):
            message = "format.columns names a field twice"
            raise ValueError(message)
        if self.sep_line and self.skip_lines:
            message = "format.sep_line is the first line, but format.skip_lines leaves it out: set one of them"
            raise ValueError(message)
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def has_standard_values(self) -> bool:
        """Whether values need no `normalization`: numbers have a point, dates are ISO 8601, nothing means missing."""
        return self.decimal == "." and self.thousands is None and not self.dates and not self.nulls

    def faults(self, fields: Collection[str], *, optional: Collection[str]) -> list[str]:
        """Return what is wrong with `columns` in a feed with `fields`. A file may lack those in `optional`."""
        if not isinstance(self.columns, Mapping):
            missing = [name for name in fields if name not in (*optional, *self.columns)] if self.columns else []
            return [f"format.columns lacks the field {name}, and the files have no header" for name in missing]
        unknown = sorted({field for field in self.columns.values() if field not in fields})
        return [f"format.columns names the unknown field {name!r}: fields are {', '.join(fields)}" for name in unknown]

    def settings(self) -> dict[str, Any]:
        """Return the settings that differ from the default, as they are written in the configuration."""
        return self.model_dump(exclude_defaults=True)


DEFAULT_FORMAT = FileFormat()
"""RFC 4180 in UTF-8, with values in the standard form."""
