"""Feeds of tests."""

from typing import Any

from txn_assets.feeds.feed import Feed
from txn_assets.feeds.transaction import Transaction
from txn_assets.rows.contract import Row, RowContract, Text, Whole


class Note(Row):
    """A row without a partition key or an id."""

    note: Text
    size: Whole | None = None


def make_feed(model: type[Row] = Transaction, **overrides: Any) -> Feed:
    """Return a feed with rows of `model`, and a test's overrides."""
    settings: dict[str, Any] = {
        "name": "transactions",
        "contract": RowContract.of(model),
        "landing": "landing",
        "path": "raw",
        "quarantine": "quarantine",
        "staging": "staging",
        "bigquery_table": "raw",
        "postgres_table": "t",
    }
    return Feed(**settings | overrides)
