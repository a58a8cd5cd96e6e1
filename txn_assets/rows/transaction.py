"""The row contract: what a valid transaction is.

This module defines the fields, the rules for each, and the settings that change the rules. The fast screen in
`validation.py` may accept rows before this model sees them, but only rows that this model provably accepts. See
docs/data-contract.md, 'A row'.
"""

import datetime as dt
import functools
import re
import unicodedata
from decimal import Decimal
from inspect import get_annotations
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, create_model, model_validator
from pydantic_core import PydanticCustomError

from txn_assets.rows.kinds import DATE, DECIMAL_PLACES, IDENTIFIER, MONEY, TEXT, WHOLE, WHOLE_DIGITS, Kind

MAX_QUANTITY = 2**63 - 1
"""The largest value of INT64 in BigQuery and bigint in PostgreSQL."""

MIN_DATE = dt.date(1970, 1, 1)
"""The default of `min_date`."""
FUTURE_DAYS = 366
"""The default of `max_date` is this many days after the day of the run."""

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
# Allow at most one zero after the point, because 1.000 may be a thousand in German notation.
_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_NUMBER_LENGTH = 100
"""Maximum length of a number to parse. Longer ones cannot be valid, and parsing takes quadratic time."""


INVISIBLE_LETTERS = "\u115f\u1160\u3164\uffa0"
"""The Hangul fillers: letters by category, but invisible."""
_INVISIBLE = frozenset(f"{INVISIBLE_LETTERS}\u034f\u2800") | frozenset(map(chr, range(0xFE00, 0xFE10)))
"""Invisible characters other than white space, control and format characters; includes variation selectors."""

SHEET_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#SPILL!", "#CALC!"})
"""https://support.microsoft.com/en-us/office/error-type-function-10958677-7c8d-44f7-ae77-b9a9ee6eefaa"""
_FORMULA = re.compile(r'=".*"', re.DOTALL)
_SCIENTIFIC = re.compile(r"[0-9]+(?:[.,][0-9]+)?[Ee]\+[0-9]+")


def _text(value: str) -> str:
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


def _identifier(value: str) -> str:
    value = _text(value)
    if value[0] == "'" and value != "'":
        raise PydanticCustomError("spreadsheet_damage", "Input should not begin with a spreadsheet's text mark")
    if "+" in value and _SCIENTIFIC.fullmatch(value):
        raise PydanticCustomError("spreadsheet_damage", "Input should not be a number in scientific notation")
    return value


def _is_invisible(character: str) -> bool:
    return character.isspace() or character in _INVISIBLE or unicodedata.category(character) in {"Cc", "Cf"}


def _plain_decimal(value: object) -> object:
    # Refuse exponents, digit grouping, NaN and non-ASCII digits. Excel writes 1E+03 after it has lost digits.
    if isinstance(value, str):
        value = value.strip(" \t")
        if len(value) > _MAX_NUMBER_LENGTH or not _DECIMAL.fullmatch(value):
            raise PydanticCustomError("decimal_parsing", "Input should be a plain decimal number such as 999.99")
    return value


def _plain_whole_number(value: object) -> object:
    if isinstance(value, str):
        value = value.strip(" \t")
        if len(value) > _MAX_NUMBER_LENGTH or not _WHOLE.fullmatch(value):
            raise PydanticCustomError("int_parsing", "Input should be a whole number such as 2")
    return value


def _iso_date(value: object) -> object:
    if isinstance(value, str):
        value = value.strip(" \t")
        if not _DATE.fullmatch(value):
            raise PydanticCustomError("date_format", "Input should be a date in the form YYYY-MM-DD")
        try:
            return dt.date.fromisoformat(value)
        except ValueError as error:
            raise PydanticCustomError("date_parsing", "Input should be a day that exists") from error
    return value


def _iso_date_between(first: dt.date, last: dt.date) -> BeforeValidator:
    bounds: dict[str, Any] = {"first": str(first), "last": str(last)}

    def validate(value: object) -> object:
        value = _iso_date(value)
        if isinstance(value, dt.date) and not first <= value <= last:
            raise PydanticCustomError("date_out_of_range", "Input should be a day from {first} to {last}", bounds)
        return value

    return BeforeValidator(validate)


# Keep bounds before the validator. After it, Pydantic checks bounds in Python, which takes twice as long per row.
Identifier = Annotated[str, BeforeValidator(_identifier), IDENTIFIER]
Text = Annotated[str, BeforeValidator(_text), TEXT]
Price = Annotated[
    Decimal,
    Field(ge=0, max_digits=WHOLE_DIGITS + DECIMAL_PLACES, decimal_places=DECIMAL_PLACES),
    BeforeValidator(_plain_decimal),
    MONEY,
]
Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY), BeforeValidator(_plain_whole_number), WHOLE]
IsoDate = Annotated[dt.date, _iso_date_between(MIN_DATE, dt.date.max), DATE]


class Transaction(BaseModel):
    """One valid row.

    Files and stores take their columns from here, in this order. The type of a field is one of those above, with a rule
    and a kind; `Text | None = None` is for text that may be empty.

    Blanks around a value are stripped; blanks inside text are kept. A price is an exact decimal with at most 14 digits
    before the point and 4 after it. A quantity is a whole number, at least 1. A date is ISO 8601, `YYYY-MM-DD`, and not
    before 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    transaction_id: Identifier
    product: Text
    price: Price
    quantity: Quantity
    date: IsoDate


FIELDS = tuple(Transaction.model_fields)
FieldName = Literal[FIELDS]  # type: ignore[valid-type]  # known at run time


def _value_type(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Return the type of a field's values, without None."""
    types = get_args(annotation)
    return types[0] if NoneType in types else annotation


_VALUE_TYPES = {name: _value_type(annotation) for name, annotation in get_annotations(Transaction).items()}

FIELD_KINDS: dict[str, Kind] = {
    name: next(part for part in _VALUE_TYPES[name].__metadata__ if isinstance(part, Kind)) for name in FIELDS
}


def fields_of(*kinds: Kind) -> tuple[str, ...]:
    """Return the fields whose kind is one of `kinds`."""
    return tuple(name for name, kind in FIELD_KINDS.items() if kind in kinds)


TEXT_FIELDS = fields_of(IDENTIFIER, TEXT)
REQUIRED_FIELDS = frozenset(name for name, field in Transaction.model_fields.items() if field.is_required())


class ValidationRules(BaseModel):
    """The `ingestion.validation` settings: how a deployment tightens or loosens the default rules for a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required_fields: frozenset[FieldName] = REQUIRED_FIELDS
    # Allow as many digits as in a price, because Arrow cannot compare decimals with more than 38 digits in total.
    min_price: Annotated[Decimal, Field(ge=0, max_digits=WHOLE_DIGITS + DECIMAL_PLACES)] = Decimal(0)
    max_quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)] = MAX_QUANTITY
    product_prefix: str = ""
    max_decimals: Annotated[int, Field(ge=0, le=DECIMAL_PLACES)] = DECIMAL_PLACES
    min_date: dt.date = MIN_DATE
    max_date: dt.date | None = None

    def on(self, today: dt.date) -> Self:
        """Return the rules for a run on `today`; `today` sets `max_date` unless the configuration does."""
        if self.max_date is not None:
            return self
        return self.model_copy(update={"max_date": today + dt.timedelta(days=FUTURE_DAYS)})

    @model_validator(mode="after")
    def _product_prefix_can_match(self) -> Self:
        if self.product_prefix != self.product_prefix.lstrip():
            message = "ingestion.validation.product_prefix begins with a blank, but blanks are stripped from products"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _dates_are_in_order(self) -> Self:
        if self.max_date is not None and self.max_date < self.min_date:
            message = "ingestion.validation.max_date is before min_date: no row could be valid"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _some_field_is_required(self) -> Self:
        if not self.required_fields:
            message = "ingestion.validation.required_fields is empty: a row needs at least one field"
            raise ValueError(message)
        return self


@functools.cache
def contract(rules: ValidationRules) -> type[Transaction]:
    """Return the model that validates rows under `rules`; with the default rules, `Transaction` itself."""
    if rules == ValidationRules():
        return Transaction
    date = Annotated[dt.date, _iso_date_between(rules.min_date, rules.max_date or dt.date.max)]
    types = _VALUE_TYPES | dict.fromkeys(fields_of(DATE), date)
    types |= dict.fromkeys(fields_of(MONEY), _money(Decimal(0), rules.max_decimals))
    types |= {
        "product": _product(rules.product_prefix),
        "price": _money(rules.min_price, rules.max_decimals),
        "quantity": Annotated[int, Field(ge=1, le=rules.max_quantity), BeforeValidator(_plain_whole_number)],
    }
    fields: dict[str, Any] = {
        name: (kind, ...) if name in rules.required_fields else (kind | None, None) for name, kind in types.items()
    }
    return create_model("Transaction", __base__=Transaction, **fields)


def _money(least: Decimal, max_decimals: int) -> Any:  # noqa: ANN401 - a type
    digits = Field(ge=least, max_digits=WHOLE_DIGITS + max_decimals, decimal_places=max_decimals)
    return Annotated[Decimal, digits, BeforeValidator(_plain_decimal)]


def _product(prefix: str) -> Any:  # noqa: ANN401 - a type
    return Annotated[Text, StringConstraints(pattern="^" + re.escape(prefix))] if prefix else Text
