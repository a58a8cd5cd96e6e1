"""The row contract of a feed: its columns, and the Pydantic model that decides which rows are valid.

`RowContract.of` reads a row model, a subclass of `Row`. Everything that depends on the columns of a feed takes its
contract: the screen, schemas, DDL, queries, the ledgers, the quarantine. See docs/data-contract.md.
"""

import datetime as dt
import json
import re
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from functools import cached_property
from types import NoneType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.fields import FieldInfo

from txn_assets.rows.kinds import (
    BooleanKind,
    DateKind,
    DecimalKind,
    FieldRules,
    IdentifierKind,
    Kind,
    MoneyKind,
    TextKind,
    TimestampKind,
    WholeKind,
)
from txn_assets.rows.kinds.date import DayBounds


class Mark(Enum):
    """What a column is for. A row model puts marks into the annotation of a field, next to its kind."""

    PII = "pii"
    """The value identifies a person, so it is hashed before it leaves the run."""
    ROW_ID = "row_id"
    """The value identifies the row, so the rows of a file should not share one."""
    PARTITION_KEY = "partition_key"
    """A day or moment of the row, by which BigQuery partitions its table."""


Pii, RowId, PartitionKey = Mark.PII, Mark.ROW_ID, Mark.PARTITION_KEY

Text = Annotated[str, TextKind()]
Identifier = Annotated[str, IdentifierKind()]
Money = Annotated[Decimal, MoneyKind()]
Number = Annotated[Decimal, DecimalKind()]
Whole = Annotated[int, WholeKind()]
Count = Annotated[int, WholeKind(minimum=1)]
Day = Annotated[dt.date, DateKind()]
Timestamp = Annotated[dt.datetime, TimestampKind()]
Flag = Annotated[bool, BooleanKind()]

SOURCE_COLUMNS: Mapping[str, Kind] = {"source_file": TextKind(), "source_row": WholeKind()}
"""Columns that say where a row comes from: the landed file, and the number of its record there, from 1."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,58}")
"""Lower case, because BigQuery ignores case in names. PostgreSQL allows 63 characters, and the name of a sum in the
ledger, sum_<name>, is four longer."""
_TAKEN = {*SOURCE_COLUMNS, "reasons", "tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"}
"""Columns of the platform, and those that every table of PostgreSQL has."""


class Row(BaseModel):
    """Base class of row models. A field has a kind and its marks: `refund_id: Annotated[Identifier, Pii, RowId]`.

    Files and stores take their columns from the fields, in order. A field that may be empty is `Text | None = None`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True)
class Column:
    """A column of a feed.

    Attributes:
        kind: what values it has.
        is_required: whether a valid row has a value.
        may_be_absent: whether a file may lack the column.
        marks: what it is for.
        constraints: what else the model asks of a value, as `Annotated` metadata.
    """

    name: str
    kind: Kind
    is_required: bool = True
    may_be_absent: bool = False
    marks: frozenset[Mark] = frozenset()
    description: str = ""
    constraints: tuple[Any, ...] = ()

    @property
    def rule(self) -> str:
        """What the column is, and what a valid value in the standard form is, for people."""
        return self.described(self.kind.rule)

    def described(self, rule: str) -> str:
        """Return what the column is, and the `rule` of its values."""
        return f"{self.description.rstrip('.')}: {rule}" if self.description else rule

    def field(self) -> tuple[Any, Any]:
        """Return the annotation and the default of the field of a model."""
        values: Any = Annotated[self.kind.python_type, self.kind, *self.constraints]
        return (values, ...) if self.is_required else (values | None, None)


@dataclass(frozen=True)
class RowContract:
    """The columns of a feed, and what a valid row is.

    Attributes:
        source: the row model, whose validators apply.
    """

    source: type[Row]
    columns: tuple[Column, ...]

    def __hash__(self) -> int:
        # What a model asks of a value may not be hashable.
        return hash((self.source, tuple((column.name, column.kind) for column in self.columns)))

    @classmethod
    def of(cls, model: type[Row]) -> Self:
        """Return the contract that `model` defines.

        Raises:
            TypeError: a field has no kind, or the model has more than one row id or partition key.
        """
        hints = typing.get_type_hints(model, include_extras=True)
        contract = cls(model, tuple(_column(name, hints[name], field) for name, field in model.model_fields.items()))
        contract.check()
        return contract

    def check(self) -> None:
        """Refuse columns that the platform cannot use.

        Raises:
            TypeError: see `of`.
        """
        for mark in (RowId, PartitionKey):
            if len(marked := self.marked(mark)) > 1:
                message = f"{self.source.__name__} has more than one {mark.value}: {', '.join(marked)}"
                raise TypeError(message)
        for name in self.names:
            check_name(name)
        if not any(column.is_required for column in self.columns):
            message = f"{self.source.__name__} has no required field: a row needs at least one"
            raise TypeError(message)
        if self.partition_key and not isinstance(self.kinds[self.partition_key], DayBounds):
            message = f"{self.partition_key} cannot be the partition key: only a date or a timestamp can"
            raise TypeError(message)
        for name in self.pii_fields:
            if not self.kinds[name].is_text:
                message = f"{name} cannot be hashed: only text and identifiers can"
                raise TypeError(message)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each column."""
        return {column.name: column.kind for column in self.columns}

    @cached_property
    def required(self) -> frozenset[str]:
        """Columns in which every valid row has a value."""
        return frozenset(column.name for column in self.columns if column.is_required)

    @cached_property
    def optional(self) -> frozenset[str]:
        """Columns that a file may lack."""
        return frozenset(column.name for column in self.columns if column.may_be_absent)

    def of_kind(self, *kinds: type[Kind]) -> tuple[str, ...]:
        """Return the columns whose kind is one of `kinds`, or a subclass."""
        return tuple(name for name, kind in self.kinds.items() if isinstance(kind, kinds))

    @cached_property
    def summed(self) -> tuple[str, ...]:
        """Columns whose sum is in the ledgers."""
        return tuple(name for name, kind in self.kinds.items() if kind.is_summed)

    @cached_property
    def text_fields(self) -> tuple[str, ...]:
        """Columns that can be hashed."""
        return tuple(name for name, kind in self.kinds.items() if kind.is_text)

    def marked(self, mark: Mark) -> tuple[str, ...]:
        """Return the columns with `mark`."""
        return tuple(column.name for column in self.columns if mark in column.marks)

    @cached_property
    def pii_fields(self) -> tuple[str, ...]:
        """Columns that are hashed."""
        return self.marked(Pii)

    @cached_property
    def row_id(self) -> str | None:
        """The column that identifies a row."""
        return next(iter(self.marked(RowId)), None)

    @cached_property
    def partition_key(self) -> str | None:
        """The column by which BigQuery partitions the table."""
        return next(iter(self.marked(PartitionKey)), None)

    @cached_property
    def valid_columns(self) -> dict[str, Kind]:
        """The columns of the valid rows of a file, in order."""
        return {"source_row": SOURCE_COLUMNS["source_row"], **self.kinds}

    @cached_property
    def staged_columns(self) -> dict[str, Kind]:
        """The columns of the staged Parquet files, of load tables and of COPY, in order."""
        return {**SOURCE_COLUMNS, **self.kinds}

    @cached_property
    def table_columns(self) -> dict[str, Kind]:
        """The columns of the PostgreSQL and the BigQuery table, in order."""
        return {**self.kinds, **SOURCE_COLUMNS}

    def with_pii(self, names: Collection[str]) -> Self:
        """Return this contract with exactly the columns in `names` hashed.

        Raises:
            TypeError: a column does not exist or is not text.
        """
        if unknown := [name for name in names if name not in self.text_fields]:
            message = f"{', '.join(unknown)} cannot be hashed, only {', '.join(self.text_fields)} can"
            raise TypeError(message)
        columns = tuple(
            replace(column, marks=column.marks - {Pii} | ({Pii} if column.name in names else set()))
            for column in self.columns
        )
        return replace(self, columns=columns)

    def under(self, rules: Mapping[str, FieldRules], required: Collection[str] | None = None) -> Self:
        """Return this contract narrowed by `rules`, with exactly the columns in `required` required, if given.

        Raises:
            TypeError: no column is required.
            ValueError: a rule does not fit the kind of its column.
        """
        columns = []
        for column in self.columns:
            try:
                kind = column.kind.under(rules[column.name]) if column.name in rules else column.kind
            except ValueError as error:
                message = f"{column.name}: {error}"
                raise ValueError(message) from error
            is_required = column.is_required if required is None else column.name in required
            columns.append(replace(column, kind=kind, is_required=is_required))
        contract = replace(self, columns=tuple(columns))
        contract.check()
        return contract

    def on(self, today: dt.date) -> Self:
        """Return this contract for a run on `today`, which bounds dates and timestamps without a last day."""
        columns = tuple(
            replace(column, kind=column.kind.on(today)) if isinstance(column.kind, DayBounds) else column
            for column in self.columns
        )
        return replace(self, columns=columns)

    @cached_property
    def model(self) -> type[Row]:
        """The Pydantic model that judges a row, given as text; an empty field is left out."""
        fields: dict[str, Any] = {column.name: column.field() for column in self.columns}
        return create_model(self.source.__name__, __base__=self.source, **fields)

    @cached_property
    def can_be_screened(self) -> bool:
        """Whether the kinds alone decide which rows are valid, and the model has no validators of its own."""
        decorators = self.source.__pydantic_decorators__
        own = (
            decorators.validators,
            decorators.field_validators,
            decorators.root_validators,
            decorators.model_validators,
        )
        return not any(own) and not any(column.constraints for column in self.columns)

    def identity(self) -> list[str]:
        """Return texts that are equal for equal contracts, across processes and releases."""
        texts = [
            f"{column.name}: {column.kind.identity()}, "
            f"{'required' if column.is_required else 'optional'}, {sorted(mark.value for mark in column.marks)}"
            f"{''.join(f', {constraint!r}' for constraint in column.constraints)}"
            for column in self.columns
        ]
        if constrained := [column.name for column in self.columns if column.constraints]:
            # A JSON Schema has constraints such as `Field(ge=1)`, but not the code of validators.
            schema = self.model.model_json_schema()["properties"]
            texts += [json.dumps(schema[name] | {"description": ""}, sort_keys=True) for name in constrained]
        return texts


def check_name(name: str) -> None:
    """Refuse the name of a field that the stores cannot use for a column.

    Raises:
        TypeError: see above.
    """
    if not _NAME.fullmatch(name):
        message = (
            f"{name!r} cannot be the name of a field: use a lower-case letter, then lower-case letters, digits and "
            "underscores, at most 59 in all"
        )
        raise TypeError(message)
    if name in _TAKEN:
        message = f"{name!r} cannot be the name of a field, because the platform or PostgreSQL has it: rename it"
        raise TypeError(message)


def _column(name: str, annotation: Any, field: FieldInfo) -> Column:  # noqa: ANN401 - a type
    values = typing.get_args(annotation)
    if values and NoneType in typing.get_args(values[0]):
        # `Annotated[Text | None, Pii]`: Pydantic has what is around the union in the metadata of the field.
        values = typing.get_args(values[0])
    if NoneType in values:
        (annotation,) = (one for one in values if one is not NoneType)
    metadata = [*getattr(annotation, "__metadata__", ()), *(m for m in field.metadata if not isinstance(m, Kind))]
    kind = next((part for part in metadata if isinstance(part, Kind)), None)
    if kind is None:
        message = f"The field {name} has no kind: annotate it with one, such as Text or Money from rows/contract.py"
        raise TypeError(message)
    if not field.is_required() and field.get_default(call_default_factory=False) is not None:
        message = f"The field {name} has a default, but an empty field has no value: make it `| None = None`"
        raise TypeError(message)
    marks = frozenset(part for part in metadata if isinstance(part, Mark))
    # Pydantic takes the constraints out of `Field(...)`, except inside an optional annotation.
    inner = [part for one in metadata if isinstance(one, FieldInfo) for part in one.metadata]
    own = tuple(part for part in [*metadata, *inner] if not isinstance(part, (Kind, Mark, FieldInfo)))
    return Column(
        name,
        kind,
        is_required=field.is_required(),
        may_be_absent=not field.is_required(),
        marks=marks,
        description=field.description or "",
        constraints=tuple(dict.fromkeys(own)),
    )
