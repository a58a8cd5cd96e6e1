"""The first feed: what a valid transaction is, and the settings in `ingestion.validation` that change it.

See docs/data-contract.md, 'A row'.
"""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from txn_assets.rows.contract import Count, Day, Identifier, Money, PartitionKey, Pii, Row, RowContract, RowId, Text
from txn_assets.rows.kinds import DateKind, FieldRules, MoneyKind
from txn_assets.rows.kinds.date import MIN_DATE
from txn_assets.rows.kinds.whole import MAX_WHOLE


class Transaction(Row):
    """A quantity of one product, sold at a price on a day.

    Blanks around a value are stripped; blanks inside text are kept. A price is an exact decimal with at most 14 digits
    before the point and 4 after it. A quantity is a whole number, at least 1. A date is ISO 8601, `YYYY-MM-DD`, and not
    before 1970.
    """

    transaction_id: Annotated[Identifier, Pii, RowId]
    product: Text
    price: Money
    quantity: Count
    date: Annotated[Day, PartitionKey]


CONTRACT = RowContract.of(Transaction)
AMOUNT = ("price", "quantity")
"""The columns whose product is the amount of a transaction."""

_DIGITS = MoneyKind().digits
_SCALE = MoneyKind().scale

FieldName = Literal[CONTRACT.names]  # type: ignore[name-defined]  # known at run time


class ValidationRules(BaseModel):
    """The `ingestion.validation` settings: how a deployment tightens or loosens the default rules for a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    required_fields: frozenset[FieldName] = Field(
        default=CONTRACT.required, description="Fields that must not be empty."
    )
    # Allow as many digits as in a price, because Arrow cannot compare decimals with more than 38 digits in total.
    min_price: Annotated[Decimal, Field(ge=0, max_digits=_DIGITS)] = Field(
        default=Decimal(0), description="Smallest price."
    )
    max_quantity: Annotated[int, Field(ge=1, le=MAX_WHOLE)] = Field(default=MAX_WHOLE, description="Largest quantity.")
    product_prefix: str = Field(default="", description="What each product begins with.")
    max_decimals: Annotated[int, Field(ge=0, le=_SCALE)] = Field(
        default=_SCALE, description="Maximum number of digits after the point of a price."
    )
    min_date: dt.date = Field(default=MIN_DATE, description="First valid date.")
    max_date: dt.date | None = Field(
        default=None, description="Last valid date. By default, dates up to 366 days after the run are valid."
    )

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

    def narrow(self, contract: RowContract) -> RowContract:
        """Return `contract`, which has the fields of a transaction, under these rules."""
        rules = {name: FieldRules(max_decimals=self.max_decimals) for name in contract.of_kind(MoneyKind)}
        rules |= {name: FieldRules(min=self.min_date, max=self.max_date) for name in contract.of_kind(DateKind)}
        rules["price"] = FieldRules(min=self.min_price, max_decimals=self.max_decimals)
        rules["quantity"] = FieldRules(max=self.max_quantity)
        rules["product"] = FieldRules(prefix=self.product_prefix)
        return contract.under(rules, self.required_fields)
