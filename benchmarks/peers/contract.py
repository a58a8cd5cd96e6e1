"""The row contract as the peers write it: a Pydantic model with plain constraints.

See docs/data-contract.md for what the platform's own contract adds.
"""

import datetime as dt
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field


class Transaction(BaseModel):
    """One valid row."""

    transaction_id: Annotated[str, Field(min_length=1)]
    product: Annotated[str, Field(min_length=1)]
    price: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=4)]
    quantity: Annotated[int, Field(ge=1)]
    date: dt.date
