"""Enumerations: text out of a fixed list."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic_core import CoreSchema, core_schema

from txn_assets.rows.kinds.kind import Kind
from txn_assets.rows.kinds.text import TEXT_FINGERPRINT

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class EnumerationKind(Kind):
    """One of several texts, spelled exactly; blanks around it are stripped.

    Attributes:
        values: the valid texts.
    """

    name: ClassVar[str] = "enumeration"
    python_type = str
    duckdb = "VARCHAR"
    postgres = "text"
    bigquery = "STRING"
    bigquery_fits: ClassVar = frozenset({"STRING"})

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a list that is empty, or has a value that no text equals.

        Raises:
            ValueError: there is no value, or one has a blank at its start or end, or a NUL.
        """
        if not self.values or any(value != value.strip() or not value or "\0" in value for value in self.values):
            message = "an enumeration needs at least one value, and its values have no blank at the ends and no NUL"
            raise ValueError(message)

    def arrow_type(self) -> "pa.DataType":
        """Return `string`."""
        import pyarrow as pa  # noqa: PLC0415 - see kind.py

        return pa.string()

    @property
    def pattern(self) -> str:
        """One of the values."""
        return f"^(?:{'|'.join(map(re.escape, self.values))})$"

    @property
    def rule(self) -> str:
        """The values."""
        return f"one of: {', '.join(self.values)}"

    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""
        return core_schema.no_info_before_validator_function(_stripped, core_schema.literal_schema([*self.values]))

    @property
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """The length and the text."""
        return TEXT_FINGERPRINT


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value
