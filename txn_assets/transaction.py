"""The row contract: what a valid transaction is.

Here belong the five fields, the rules on each, and the settings that narrow them. Reading files does not: a fast screen
in `validation.py` may accept rows ahead of this model, but only such as this model provably accepts.
The contract is documented in docs/data-contract.md.
"""

import datetime as dt
import functools
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, create_model, model_validator
from pydantic_core import PydanticCustomError

FIELDS = ("transaction_id", "product", "price", "quantity", "date")
"""The columns of a transaction file, in the order in which every store keeps them."""
TEXT_FIELDS = ("transaction_id", "product")

WHOLE_DIGITS = 14
DECIMAL_PLACES = 4
MAX_QUANTITY = 2**63 - 1
"""The largest number that INT64 in BigQuery and bigint in PostgreSQL hold."""

FieldName = Literal["transaction_id", "product", "price", "quantity", "date"]

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_NUMBER_LENGTH = 100
"""Longer digit strings are refused unread: they cannot fit, and parsing them takes quadratic time."""


def _text(value: str) -> str:
    if not value or value.isspace():
        raise PydanticCustomError("blank", "Input should not be blank")
    if "\x00" in value:
        raise PydanticCustomError("nul_character", "Input should not contain the NUL character")
    return value


def _plain_decimal(value: object) -> object:
    # Exponents, digit grouping, NaN and non-ASCII digits are refused: Excel writes 1E+03 after it has lost digits.
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
            raise PydanticCustomError("date_parsing", "Input should be a day that the calendar has") from error
    return value


# Bounds stand before the validator: behind it, Pydantic would check them in Python, at twice the time a row.
Text = Annotated[str, BeforeValidator(_text)]
Price = Annotated[
    Decimal,
    Field(ge=0, max_digits=WHOLE_DIGITS + DECIMAL_PLACES, decimal_places=DECIMAL_PLACES),
    BeforeValidator(_plain_decimal),
]
Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY), BeforeValidator(_plain_whole_number)]
IsoDate = Annotated[dt.date, BeforeValidator(_iso_date)]


class Transaction(BaseModel):
    """One valid row.

    Text is taken as sent. Numbers and dates may have blanks around them. A price is an exact decimal, at most 14 digits
    before the point and 4 after; a quantity is a whole number from 1; a date is ISO 8601, `YYYY-MM-DD`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    transaction_id: Text
    product: Text
    price: Price
    quantity: Quantity
    date: IsoDate


class ValidationRules(BaseModel):
    """`ingestion.validation` of the configuration: what a deployment asks of a row beyond the default, or less."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required_fields: frozenset[FieldName] = frozenset(FIELDS)  # type: ignore[arg-type]  # FIELDS holds the literals
    # As many digits as a price has: Arrow compares columns of numbers with no number of more than 38 digits in all.
    min_price: Annotated[Decimal, Field(ge=0, max_digits=WHOLE_DIGITS + DECIMAL_PLACES)] = Decimal(0)
    max_quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)] = MAX_QUANTITY
    product_prefix: str = ""
    max_decimals: Annotated[int, Field(ge=0, le=DECIMAL_PLACES)] = DECIMAL_PLACES

    @model_validator(mode="after")
    def _some_field_is_required(self) -> Self:
        if not self.required_fields:
            message = "ingestion.validation.required_fields is empty: a row needs at least one field"
            raise ValueError(message)
        return self


@functools.cache
def contract(rules: ValidationRules) -> type[Transaction]:
    """The model that rows are held to under `rules`; with the default rules, `Transaction` itself."""
    if rules == ValidationRules():
        return Transaction
    types: dict[str, Any] = {
        "transaction_id": Text,
        "product": Annotated[Text, StringConstraints(pattern="^" + re.escape(rules.product_prefix))],
        "price": Annotated[
            Decimal,
            Field(ge=rules.min_price, max_digits=WHOLE_DIGITS + rules.max_decimals, decimal_places=rules.max_decimals),
            BeforeValidator(_plain_decimal),
        ],
        "quantity": Annotated[int, Field(ge=1, le=rules.max_quantity), BeforeValidator(_plain_whole_number)],
        "date": IsoDate,
    }
    fields: dict[str, Any] = {
        name: (kind, ...) if name in rules.required_fields else (kind | None, None) for name, kind in types.items()
    }
    return create_model("Transaction", __base__=Transaction, **fields)
