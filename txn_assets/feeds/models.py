"""Find the row model of a feed: shipped with the platform, in a module of the user's, or built from a configuration."""

from collections.abc import Mapping
from importlib import import_module
from typing import Annotated, Any

from pydantic import Field, create_model

from txn_assets.feeds.refund import Refund
from txn_assets.feeds.transaction import Transaction
from txn_assets.rows.contract import Mark, PartitionKey, Pii, Row, RowId, check_name
from txn_assets.rows.kinds import KINDS, FieldRules

SHIPPED: Mapping[str, type[Row]] = {"transactions": Transaction, "refunds": Refund}
"""Row models of the platform, by the name of their feed."""


class FieldSection(FieldRules):
    """A field of a feed that is described in YAML: its kind, and rules that narrow it."""

    kind: str = Field(description=f"Kind of its values: {', '.join(f'`{kind}`' for kind in KINDS)}.")
    required: bool = Field(default=True, description="Whether a valid row has a value.")
    pii: bool = Field(default=False, description="Whether the value is hashed.")
    row_id: bool = Field(default=False, description="Whether the value identifies the row.")
    partition_key: bool = Field(default=False, description="Whether BigQuery partitions the table by the value.")
    description: str = Field(default="", description="What the field means, for the contract that senders get.")
    values: tuple[str, ...] | None = Field(default=None, description="Valid texts of an enumeration.")
    scale: int | None = Field(default=None, description="Digits after the point, of money and decimals.")
    whole_digits: int | None = Field(default=None, description="Digits before the point, of money and decimals.")

    def annotation(self) -> Any:  # noqa: ANN401 - a type
        """Return the annotation of the field in a row model.

        Raises:
            ValueError: the kind does not exist, or does not have one of the settings.
        """
        if self.kind not in KINDS:
            message = f"{self.kind!r} is not a kind of values: use one of {', '.join(KINDS)}"
            raise ValueError(message)
        options = {"values": self.values, "scale": self.scale, "whole_digits": self.whole_digits}
        given = {name: value for name, value in options.items() if value is not None}
        try:
            kind = KINDS[self.kind](**given)
        except TypeError as error:
            needed = "`values`" if self.kind == "enumeration" else f"other settings than {', '.join(given)}"
            message = f"the kind {self.kind} takes {needed}"
            raise ValueError(message) from error
        rules = FieldRules(min=self.min, max=self.max, max_decimals=self.max_decimals, prefix=self.prefix)
        marks: dict[Mark, bool] = {Pii: self.pii, RowId: self.row_id, PartitionKey: self.partition_key}
        annotation: Any = Annotated[
            kind.python_type, kind.under(rules), *(mark for mark, given in marks.items() if given)
        ]
        return annotation if self.required else annotation | None


def build_model(name: str, fields: Mapping[str, FieldSection]) -> type[Row]:
    """Return a row model with `fields` for the feed `name`.

    Raises:
        ValueError: a field cannot be used; the message names it.
    """
    definitions: dict[str, Any] = {}
    for field, section in fields.items():
        try:
            check_name(field)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if hasattr(Row, field):
            message = f"{field!r} cannot be the name of a field, because it has a meaning in Pydantic: rename it"
            raise ValueError(message)
        try:
            annotation = section.annotation()
        except ValueError as error:
            message = f"{field}: {error}"
            raise ValueError(message) from error
        default: Any = ... if section.required else None
        definitions[field] = (annotation, Field(default=default, description=section.description))
    return create_model(name.title().replace("_", ""), __base__=Row, **definitions)


def find_model(name: str, model: str | None) -> type[Row]:
    """Return the row model that `model` names as `module:Class`, or the shipped model of the feed `name`.

    Raises:
        ValueError: there is no such model.
    """
    if model is None:
        if name not in SHIPPED:
            message = (
                f"the feed needs `model` (module:Class) or `fields`; only {', '.join(SHIPPED)} have a shipped model"
            )
            raise ValueError(message)
        return SHIPPED[name]
    module, _, attribute = model.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"there is no model {model!r} ({error}): write module:Class, for a module that Python can import"
        raise ValueError(message) from error
    except Exception as error:
        # The module is the user's, so its import can fail with anything.
        message = f"the module of the model {model!r} cannot be imported ({type(error).__name__}: {error})"
        raise ValueError(message) from error
    if not (isinstance(found, type) and issubclass(found, Row)):
        message = f"{model!r} is not a row model: derive it from txn_assets.rows.contract.Row"
        raise ValueError(message)  # noqa: TRY004 - reported with the other faults of the configuration
    return found
