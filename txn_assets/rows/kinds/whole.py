"""Whole numbers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from txn_assets.rows.kinds.exact import MAX_NUMBER_LENGTH, describe_bounds
from txn_assets.rows.kinds.kind import Bounds, Kind

if TYPE_CHECKING:
    import pyarrow as pa

MAX_WHOLE = 2**63 - 1
"""The largest value of INT64 in BigQuery and bigint in PostgreSQL."""
MIN_WHOLE = -(2**63)

# Allow at most one zero after the point, because 1.000 may be a thousand in German notation.
_WHOLE = re.compile(r"[+-]?[0-9]+(?:\.0)?")


@dataclass(frozen=True)
class WholeKind(Kind):
    """A whole number.

    Attributes:
        minimum, maximum: bounds of a valid value.
    """

    name: ClassVar[str] = "whole"
    python_type = int
    duckdb = "BIGINT"
    postgres = "bigint"
    bigquery = "INT64"
    bigquery_fits: ClassVar = frozenset({"INT64", "NUMERIC", "BIGNUMERIC"})
    is_summed: ClassVar = True

    minimum: int = MIN_WHOLE
    maximum: int = MAX_WHOLE

    def __post_init__(self) -> None:
        """Refuse bounds that no value is within.

        Raises:
            ValueError: the bounds contradict each other, or are outside 64 bits.
        """
        if not MIN_WHOLE <= self.minimum <= self.maximum <= MAX_WHOLE:
            message = f"the bounds {self.minimum} and {self.maximum} are not in order, or have more than 64 bits"
            raise ValueError(message)

    def arrow_type(self) -> "pa.DataType":
        """Return `int64`."""
        import pyarrow as pa  # noqa: PLC0415 - see kind.py

        return pa.int64()

    @property
    def pattern(self) -> str:
        """A plain whole number of at most 18 digits."""
        if self.minimum > 0:
            return r"^[1-9][0-9]{0,17}$"
        sign = "" if self.minimum == 0 else "-?"
        return rf"^(?:0|{sign}[1-9][0-9]{{0,17}})$"

    @property
    def bounds(self) -> Bounds:
        """The bounds that `pattern` does not have."""
        least = None if self.minimum in (MIN_WHOLE, 0, 1) else str(self.minimum)
        return least, None if self.maximum == MAX_WHOLE else str(self.maximum)

    form: ClassVar = "a whole number"

    @property
    def rule(self) -> str:
        """The bounds, unless they are those of a column."""
        minimum = None if self.minimum == MIN_WHOLE else self.minimum
        maximum = None if self.maximum == MAX_WHOLE else self.maximum
        return f"{self.form}{describe_bounds(minimum, maximum)}"

    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""
        number = core_schema.int_schema(ge=self.minimum, le=self.maximum)
        return core_schema.no_info_before_validator_function(_plain_whole_number, number)

    @property
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """The number itself."""
        return dict.fromkeys(("duckdb", "postgres", "bigquery"), ("{}",))

    @classmethod
    def rules(cls) -> Mapping[str, str]:
        """Return the rules `min` and `max`."""
        return {"min": "minimum", "max": "maximum"}

    def read_rule(self, name: str, value: Any) -> Any:  # noqa: ANN401 - see Kind
        """Return a bound.

        Raises:
            ValueError: the bound is not a whole number.
        """
        if isinstance(value, bool) or not isinstance(value, int):
            message = f"{name} is not a whole number"
            raise ValueError(message)  # noqa: TRY004 - reported with the other faults of the configuration
        return value


def _plain_whole_number(value: object) -> object:
    if isinstance(value, str):
        value = value.strip(" \t")
        if len(value) > MAX_NUMBER_LENGTH or not _WHOLE.fullmatch(value):
            raise PydanticCustomError("int_parsing", "Input should be a whole number such as 2")
    return value
