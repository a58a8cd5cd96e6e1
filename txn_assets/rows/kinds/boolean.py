"""Booleans."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from txn_assets.rows.kinds.kind import Kind

if TYPE_CHECKING:
    import pyarrow as pa

_SPELLINGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class BooleanKind(Kind):
    """True or false; also yes, no, 1 and 0, in any case."""

    name: ClassVar[str] = "boolean"
    python_type = bool
    duckdb = "BOOLEAN"
    postgres = "boolean"
    bigquery = "BOOL"
    bigquery_fits: ClassVar = frozenset({"BOOL"})

    def arrow_type(self) -> "pa.DataType":
        """Return `bool`."""
        import pyarrow as pa  # noqa: PLC0415 - see kind.py

        return pa.bool_()

    pattern = "^(?:true|false)$"

    rule = "true or false; also yes, no, 1 and 0, in any case"

    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""
        return core_schema.no_info_before_validator_function(_boolean, core_schema.bool_schema())

    @property
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """1 or 0."""
        return {
            "duckdb": ("CAST({} AS INTEGER)",),
            "postgres": ("CAST({} AS integer)",),
            "bigquery": ("CAST({} AS INT64)",),
        }


def _boolean(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _SPELLINGS.get(value.strip(" \t").lower())
    if found is None:
        raise PydanticCustomError("bool_parsing", "Input should be true or false")
    return found
