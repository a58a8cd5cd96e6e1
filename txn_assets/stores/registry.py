"""The stores that every file is loaded into. To add one, write a module next to this one and add it to `STORES`.

The assets, their checks and I/O managers, the ledgers that the sensor reads and the summary of a run are derived
from this list. Do not import a client here, because the definitions are loaded without clients.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from txn_assets.feeds.feed import Feed
from txn_assets.rows.contract import RowContract


@dataclass(frozen=True, kw_only=True)
class StoreEntry:
    """A store in the definitions.

    Attributes:
        key: the key of its I/O manager for the first feed.
        label: the name of the store in messages.
        asset_name: the asset that loads files into it; `{feed}` is replaced by the name of the feed.
        description: the description of the asset.
        columns_of: return the columns of its rows with their types.
        module: name of the module that defines `make_store(config, feed, clients, run_files)`.
    """

    key: str
    label: str
    asset_name: str
    description: str
    columns_of: Callable[[RowContract], Mapping[str, str]]
    module: str

    def asset(self, feed: Feed) -> str:
        """Return the name of the asset that loads files of `feed`, without its prefix."""
        return self.asset_name.format(feed=feed.name)

    def columns(self, feed: Feed) -> Mapping[str, str]:
        """Return the columns of the rows of `feed` in the store, with their types."""
        return self.columns_of(feed.contract)


STORES = (
    StoreEntry(
        key="gcs",
        label="GCS",
        asset_name="gcs_raw",
        description="The data lake: one object with the columns of the file.",
        columns_of=lambda contract: {name: kind.duckdb for name, kind in contract.kinds.items()},
        module="txn_assets.stores.gcs.store",
    ),
    StoreEntry(
        key="bigquery",
        label="BigQuery",
        asset_name="bigquery_raw_{feed}",
        description="The warehouse table: the file's rows, with source_file and source_row.",
        columns_of=lambda contract: {name: kind.bigquery for name, kind in contract.table_columns.items()},
        module="txn_assets.stores.bigquery.store",
    ),
    StoreEntry(
        key="postgres",
        label="PostgreSQL",
        asset_name="postgres_{feed}",
        description="The PostgreSQL table: the file's rows, with source_file and source_row.",
        columns_of=lambda contract: {name: kind.postgres for name, kind in contract.table_columns.items()},
        module="txn_assets.stores.postgres.store",
    ),
)
"""Stores, in the order in which the UI and the summary show them."""
