"""Text, and identifiers: text that a spreadsheet may have damaged."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from txn_assets.rows.kinds.kind import Kind

if TYPE_CHECKING:
    import pyarrow as pa

INVISIBLE_LETTERS = "\u115f\u1160\u3164\uffa0"
"""The Hangul fillers: letters by category, but invisible."""
_INVISIBLE = frozenset(f"{INVISIBLE_LETTERS}\u034f\u2800") | frozenset(map(chr, range(0xFE00, 0xFE10)))
"""Invisible characters other than white space, control and format characters; includes variation selectors."""

SHEET_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#SPILL!", "#CALC!"})
"""https://support.microsoft.com/en-us/office/error-type-function-10958677-7c8d-44f7-ae77-b9a9ee6eefaa"""
_FORMULA = re.compile(r'=".*"', re.DOTALL)
_SCIENTIFIC = re.compile(r"[0-9]+(?:[.,][0-9]+)?[Ee]\+[0-9]+")

# Text that begins with a visible character, does not end with a blank, and does not begin with # or =, as spreadsheet
# damage does.
_LETTER = rf"[^\P{{L}}{INVISIBLE_LETTERS}]"
_REST = r"(?:[^\x00]*[^\pZ\pC])?"

TEXT_FINGERPRINT = {
    "duckdb": ("length({})", "{}"),
    "postgres": ("char_length({})", "{}"),
    "bigquery": ("CHAR_LENGTH({})", "{}"),
}
"""The length marks where a string ends, and distinguishes an empty string from null."""


@dataclass(frozen=True)
class TextKind(Kind):
    """Text with a visible character and without NUL. Blanks around it are stripped; blanks inside are kept.

    Attributes:
        prefix: what the text begins with.
    """

    name: ClassVar[str] = "text"
    python_type = str
    duckdb = "VARCHAR"
    postgres = "text"
    bigquery = "STRING"
    bigquery_fits: ClassVar = frozenset({"STRING"})
    is_text: ClassVar = True

    prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse a prefix that no text has.

        Raises:
            ValueError: the prefix begins with a blank.
        """
        if self.prefix != self.prefix.lstrip():
            message = "the prefix begins with a blank, but blanks are stripped from text"
            raise ValueError(message)

    def arrow_type(self) -> "pa.DataType":
        """Return `string`."""
        import pyarrow as pa  # noqa: PLC0415 - see kind.py

        return pa.string()

    @property
    def pattern(self) -> str:
        """Text that begins and ends with a visible character, and not as a formula or an error value does."""
        return rf"^(?:[!-\"$-<>-~]|{_LETTER}){_REST}$"

    @property
    def starts_with(self) -> str:
        """The prefix."""
        return self.prefix

    @property
    def rule(self) -> str:
        """What the text has, and what a spreadsheet would have damaged."""
        has = f"that begins with {self.prefix!r}" if self.prefix else "with a visible character"
        return f"text {has}, but no {self._damage}"

    _damage = "spreadsheet formula or error value"

    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""
        pattern = f"^{re.escape(self.prefix)}" if self.prefix else None
        return core_schema.no_info_before_validator_function(self._check, core_schema.str_schema(pattern=pattern))

    @property
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """The length and the text."""
        return TEXT_FINGERPRINT

    @classmethod
    def rules(cls) -> Mapping[str, str]:
        """Return the rule `prefix`."""
        return {"prefix": "prefix"}

    def read_rule(self, name: str, value: Any) -> Any:  # noqa: ANN401, ARG002 - see Kind
        """Return the prefix."""
        return value

    @staticmethod
    def _check(value: str) -> str:
        return check_text(value)


@dataclass(frozen=True)
class IdentifierKind(TextKind):
    """Text that identifies something, and that a spreadsheet has not turned into a number or a marked text."""

    name: ClassVar[str] = "identifier"

    _damage = "spreadsheet formula, error value, scientific notation or leading apostrophe"

    @property
    def pattern(self) -> str:
        """As for text, but an id that begins with a digit and has a plus may look like 1.23457E+17."""
        return rf"^(?:(?:[!\"$-&(-/:-<>-~]|{_LETTER}){_REST}|[0-9](?:[^\x00+]*[!-*,-~])?)$"

    @staticmethod
    def _check(value: str) -> str:
        value = check_text(value)
        if value[0] == "'" and value != "'":
            raise PydanticCustomError("spreadsheet_damage", "Input should not begin with a spreadsheet's text mark")
        if "+" in value and _SCIENTIFIC.fullmatch(value):
            raise PydanticCustomError("spreadsheet_damage", "Input should not be a number in scientific notation")
        return value


def check_text(value: str) -> str:
    """Return `value` without blanks around it.

    Raises:
        PydanticCustomError: the text is blank, has a NUL, or is a formula or an error value of a spreadsheet.
    """
    value = value.strip()
    if "\x00" in value:
        raise PydanticCustomError("nul_character", "Input should not contain the NUL character")
    first = value[:1]
    # Most text begins with a visible ASCII character.
    if not "!" <= first <= "~" and all(map(_is_invisible, value)):
        raise PydanticCustomError("blank", "Input should not be blank")
    if first == "=" and _FORMULA.fullmatch(value):
        raise PydanticCustomError("spreadsheet_damage", "Input should not be a spreadsheet formula")
    if first == "#" and value in SHEET_ERRORS:
        raise PydanticCustomError("spreadsheet_damage", "Input should not be a spreadsheet error value")
    return value


def _is_invisible(character: str) -> bool:
    return character.isspace() or character in _INVISIBLE or unicodedata.category(character) in {"Cc", "Cf"}
