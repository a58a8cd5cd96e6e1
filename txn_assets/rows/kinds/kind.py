"""What every kind of values has: its rule, and its type in each engine.

Each module of this folder defines one kind. A row model names the kind of each field in its annotation, and schemas,
DDL, the screen, the fingerprint and the checks of existing tables are derived from it. Import Arrow only inside
`arrow_type`, because Dagster loads the definitions without Arrow.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

if TYPE_CHECKING:
    import pyarrow as pa


EXACT = Context(prec=38)
"""Context for decimals of any column. The default context has fewer digits, and fails or rounds beyond them."""


def _day_as_text(value: object) -> object:
    return str(value) if isinstance(value, dt.date) else value


Bound = Annotated[Any, BeforeValidator(_day_as_text)]
"""A bound in a configuration. YAML reads a day as a date and JSON as text, and both must give equal configurations."""


class FieldRules(BaseModel):
    """How a deployment narrows the rule of one field. Which of the rules a kind has is up to the kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Bound = Field(default=None, description="Smallest value: a number, or a day for dates and timestamps.")
    max: Bound = Field(default=None, description="Largest value: a number, or a day for dates and timestamps.")
    max_decimals: int | None = Field(default=None, ge=0, description="Maximum number of digits after the point.")
    prefix: str | None = Field(default=None, description="What text begins with.")

    def given(self) -> dict[str, Any]:
        """Return the rules that are set, by name."""
        return {name: value for name, value in self if value is not None}


type Bounds = tuple[str | None, str | None]
"""The smallest and the largest value as text; None where there is no bound."""


@dataclass(frozen=True)
class Kind(ABC):
    """A kind of values. Instances are equal if they accept the same values and have the same types.

    Used as `Annotated` metadata: `amount: Annotated[Decimal, MoneyKind(scale=2)]`.

    Attributes:
        python_type: the type of a valid value in Python.
        duckdb, postgres, bigquery: the type of a column.
        bigquery_fits: types that an existing BigQuery column may have.
        is_summed: whether the ledgers have the sum of the column.
        is_text: whether a value is text, so it can be hashed.
        has_sorted_text: whether the texts that `pattern` matches sort like their values.
        fingerprint: by dialect, the parts of a row's fingerprint as SQL; `{}` is replaced by the column.
    """

    name: ClassVar[str]
    python_type: ClassVar[type]
    bigquery_fits: ClassVar[frozenset[str]]
    is_summed: ClassVar[bool] = False
    is_text: ClassVar[bool] = False
    has_sorted_text: ClassVar[bool] = False

    @property
    @abstractmethod
    def duckdb(self) -> str:
        """The type of a column in DuckDB."""

    @property
    @abstractmethod
    def postgres(self) -> str:
        """The type of a column in PostgreSQL."""

    @property
    @abstractmethod
    def bigquery(self) -> str:
        """The type of a column in BigQuery."""

    @abstractmethod
    def arrow_type(self) -> "pa.DataType":
        """Return the type of a column in Arrow."""

    @property
    @abstractmethod
    def pattern(self) -> str:
        """Regular expression of the texts that the judge provably accepts as they are, apart from `bounds`."""

    @property
    def bounds(self) -> Bounds:
        """The bounds that the screen applies to the texts that match `pattern`."""
        return None, None

    @property
    def starts_with(self) -> str:
        """What every valid text begins with; '' for anything."""
        return ""

    form: ClassVar[str] = ""
    """What `rule` begins with, if the form of a file decides it. See `reader/normalization.py`."""

    @property
    @abstractmethod
    def rule(self) -> str:
        """What a valid text is, for people: the end of a sentence that begins with the name of the field."""

    @abstractmethod
    def core_schema(self) -> CoreSchema:
        """Return how Pydantic validates the text of a field."""

    @property
    @abstractmethod
    def fingerprint(self) -> Mapping[str, tuple[str, ...]]:
        """The parts of a row's fingerprint, by dialect."""

    def csv_sql(self, column: str) -> str:
        """Return the DuckDB expression of the text that the data lake has for `column` in CSV."""
        return column

    def stored(self, value: Any) -> Any:  # noqa: ANN401 - a value of any kind
        """Return `value` as its Arrow column holds it."""
        return value

    def under(self, rules: FieldRules) -> Self:
        """Return this kind, narrowed by `rules`.

        Raises:
            ValueError: this kind does not have such a rule, or the rule does not narrow it.
        """
        given = rules.given()
        if unknown := [name for name in given if name not in self.rules()]:
            known = ", ".join(self.rules()) or "none"
            message = f"{unknown[0]!r} is not a rule for {self.name} (its rules: {known})"
            raise ValueError(message)
        return replace(self, **{self.rules()[name]: self.read_rule(name, value) for name, value in given.items()})

    @classmethod
    def rules(cls) -> Mapping[str, str]:
        """Return the attribute that each rule of `FieldRules` sets."""
        return {}

    def read_rule(self, name: str, value: Any) -> Any:  # noqa: ANN401 - depends on the kind
        """Return the `value` of the rule `name` from a configuration, in the type of the attribute.

        Raises:
            ValueError: the value does not have that type.
        """
        raise NotImplementedError

    def identity(self) -> str:
        """Return a text that is equal for equal kinds, across processes and releases."""
        settings = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return f"{self.name} {settings}" if settings else self.name

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - Pydantic's hook
        return self.core_schema()


def _plain(value: object) -> str:
    """Return `value` as text, with equal decimals such as 1.00 and 1 as the same text."""
    return f"{value.normalize(EXACT):f}" if isinstance(value, Decimal) else str(value)
