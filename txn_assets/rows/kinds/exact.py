"""Exact decimals: money, and decimal numbers of any sign. Neither is ever a binary float."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from txn_assets.rows.kinds.kind import EXACT, Bounds, Kind

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
MAX_NUMBER_LENGTH = 100
"""Maximum length of a number to parse. Longer ones cannot be valid, and parsing takes quadratic time."""
_MAX_WHOLE_DIGITS = 25
"""Four fewer than NUMERIC of BigQuery has, so that a sum over thousands of rows fits too:
https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types"""
_MAX_SCALE = 9
"""What NUMERIC of BigQuery has."""
_ARROW_DIGITS = 38


@dataclass(frozen=True)
class DecimalKind(Kind):
    """An exact decimal number.

    Attributes:
        whole_digits: maximum number of digits before the point.
        scale: number of digits after the point that columns keep.
        max_decimals: maximum number of digits after the point of a valid value; None for `scale`.
        minimum, maximum: bounds of a valid value; None for any.
    """

    name: ClassVar[str] = "decimal"
    python_type = Decimal
    bigquery = "NUMERIC"
    bigquery_fits: ClassVar = frozenset({"NUMERIC", "BIGNUMERIC", "FLOAT64"})
    """FLOAT64 is inexact, but tables of an original pipeline may have it."""
    is_summed: ClassVar = True

    whole_digits: int = 20
    scale: int = 9
    max_decimals: int | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None

    def __post_init__(self) -> None:
        """Refuse digits that a store cannot hold, and bounds that no value is within.

        Raises:
            ValueError: there are too many digits, or the bounds contradict each other.
        """
        if not 0 <= self.scale <= _MAX_SCALE or not 1 <= self.whole_digits <= _MAX_WHOLE_DIGITS:
            message = (
                f"{self.whole_digits} digits before and {self.scale} after the point: "
                f"use 1 to {_MAX_WHOLE_DIGITS} before it and up to {_MAX_SCALE} after it"
            )
            raise ValueError(message)
        if self.max_decimals is not None and self.max_decimals > self.scale:
            message = f"max_decimals is {self.max_decimals}, but columns keep {self.scale} decimals"
            raise ValueError(message)
        for bound in (self.minimum, self.maximum):
            if bound is not None and not self._can_compare(bound):
                message = f"the bound {bound} has too many digits to compare it with the values of a column"
                raise ValueError(message)
        if self.minimum is not None and self.maximum is not None and self.maximum < self.minimum:
            message = f"the largest value, {self.maximum}, is below the smallest, {self.minimum}: no row could be valid"
            raise ValueError(message)

    def _can_compare(self, bound: Decimal) -> bool:
        """Return whether a type of Arrow holds the digits of both `bound` and any value."""
        _, digits, exponent = bound.as_tuple()
        assert isinstance(exponent, int)
        whole, scale = max(len(digits) + exponent, self.whole_digits), max(-exponent, self.scale)
        return whole + scale <= _ARROW_DIGITS

    @property
    def digits(self) -> int:
        """The number of digits of a column."""
        return self.whole_digits + self.scale

    @property
    def decimals(self) -> int:
        """Maximum number of digits after the point of a valid value."""
        return self.scale if self.max_decimals is None else self.max_decimals

    @property
    def duckdb(self) -> str:
        """The type of a column in DuckDB."""
        return f"DECIMAL({self.digits},{self.scale})"

    @property
    def postgres(self) -> str:
        """The type of a column in PostgreSQL."""
        return f"numeric({self.digits},{self.scale})"

    def arrow_type(self) -> "pa.DataType":
        """Return `decimal128`."""
        import pyarrow as pa  # noqa: PLC0415 - see kind.py

        return pa.decimal128(self.digits, self.scale)

    @property
    def pattern(self) -> str:
        """A plain decimal number with few enough digits."""
        sign = "" if self.minimum is not None and self.minimum >= 0 else "-?"
        decimals = rf"(?:\.[0-9]{{1,{self.decimals}}})?" if self.decimals else ""
        return rf"^{sign}[0-9]{{1,{self.whole_digits}}}{decimals}$"

    @property
    def bounds(self) -> Bounds:
        """The bounds that `pattern` does not have."""
        least = None if self.minimum is None or self.minimum == 0 else f"{self.minimum:f}"
        return least, None if self.maximum is None else f"{self.maximum:f}"

    form: ClassVar = "a plain decimal number"

    @property
    def rule(self) -> str:
        """The digits and the bounds."""
        bounds = describe_bounds(self.minimum, self.maximum)
        decimals = f" and {self.decimals} after" if self.decimals else " and none after"
        return f"{self.form}{bounds}, with at most {self.whole_digits} digits before the point{decimals}"

    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""
        # Keep bounds in the inner schema. As validators of their own, they would be checked in Python.
        number = core_schema.decimal_schema(
            ge=self.minimum,
            le=self.maximum,
            max_digits=self.whole_digits + self.decimals,
            decimal_places=self.decimals,
        )
        return core_schema.no_info_before_validator_function(_plain_decimal, number)

    @property
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """The number plus half a unit of the last decimal, as text without trailing zeros.

        The added digit makes the text end at the same decimal, whatever the scale of the column: with four decimals,
        12.34 becomes 12.34005 everywhere. A number that has a fifth decimal itself gives a different text.
        """
        # NUMERIC of BigQuery has no tenth decimal, so with nine decimals the text is that of the tenfold number.
        number = "{}" if self.scale < _MAX_SCALE else "{} * 10"
        half = f"0.{'0' * min(self.scale, _MAX_SCALE - 1)}5"
        duckdb = number.format(f"CAST({{}} AS DECIMAL({self.digits + 4},{self.scale}))")
        return {
            "duckdb": (f"CAST({duckdb} + {half} AS VARCHAR)",),
            "postgres": (f"rtrim(CAST({number} + {half} AS text), '0')",),
            "bigquery": (f"RTRIM(CAST({number} + NUMERIC '{half}' AS STRING), '0')",),
        }

    def csv_sql(self, column: str) -> str:
        """Return plain decimal text with at least two decimals if the column has them: 999.99, 5.00, 0.1234."""
        if self.scale <= 2:
            return f"{column}::VARCHAR"
        short = f"{column}::DECIMAL({self.digits},2)"
        zeros = "0$" if self.scale == 4 else f"0{{0,{self.scale - 3}}}$"
        return (
            f"CASE WHEN {column} = {short} THEN {short}::VARCHAR "
            f"ELSE regexp_replace({column}::VARCHAR, '{zeros}', '') END"
        )

    def stored(self, value: Decimal | None) -> Decimal | None:
        """Return `value` with the scale of the column; 1.50000 is valid, because its value has one decimal place."""
        return None if value is None else value.quantize(Decimal(1).scaleb(-self.scale), context=EXACT)

    @classmethod
    def rules(cls) -> Mapping[str, str]:
        """Return the rules `min`, `max` and `max_decimals`."""
        return {"min": "minimum", "max": "maximum", "max_decimals": "max_decimals"}

    def read_rule(self, name: str, value: Any) -> Any:  # noqa: ANN401 - see Kind
        """Return a bound as a decimal, or the number of decimals.

        Raises:
            ValueError: a bound is not a number.
        """
        if name == "max_decimals":
            return value
        try:
            number = Decimal(str(value))
        except InvalidOperation as error:
            message = f"{name} is not a number"
            raise ValueError(message) from error
        if not number.is_finite():
            message = f"{name} is not a number"
            raise ValueError(message)
        return number


def describe_bounds(minimum: Decimal | int | None, maximum: Decimal | int | None) -> str:
    """Return the bounds as a part of a sentence; '' if there are none."""
    if minimum is None:
        return "" if maximum is None else f" of at most {maximum}"
    return f" from {minimum}" if maximum is None else f" from {minimum} to {maximum}"


@dataclass(frozen=True)
class MoneyKind(DecimalKind):
    """An amount of money: an exact decimal, not negative unless its bounds allow it."""

    name: ClassVar[str] = "money"

    whole_digits: int = 14
    scale: int = 4
    minimum: Decimal | None = Decimal(0)


def _plain_decimal(value: object) -> object:
    # Refuse exponents, digit grouping, NaN and non-ASCII digits. Excel writes 1E+03 after it has lost digits.
    if isinstance(value, str):
        value = value.strip(" \t")
        if len(value) > MAX_NUMBER_LENGTH or not _DECIMAL.fullmatch(value):
            raise PydanticCustomError("decimal_parsing", "Input should be a plain decimal number such as 999.99")
    return value
