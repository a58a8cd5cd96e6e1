"""The row model of the feed `refunds`, the worked example of a second feed. See docs/tutorial/second-feed.md."""

from decimal import Decimal
from typing import Annotated

from txn_assets.rows.contract import Flag, Identifier, PartitionKey, Pii, Row, RowId, Timestamp
from txn_assets.rows.kinds import EnumerationKind, MoneyKind


class Refund(Row):
    """A refund of a transaction, or of a part of it."""

    refund_id: Annotated[Identifier, Pii, RowId]
    transaction_id: Annotated[Identifier, Pii]
    reason: Annotated[str, EnumerationKind(("damaged", "late", "not_as_described", "other"))]
    amount: Annotated[Decimal, MoneyKind(scale=2)]
    refunded_at: Annotated[Timestamp, PartitionKey]
    partial: Flag | None = None
