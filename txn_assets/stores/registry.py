"""The stores that every file is loaded into. To add one, write a module next to this one and add it to `STORES`.

The assets, their checks, pools and I/O managers, the ledgers that the sensor reads and the summary of a run are derived
from this list. Do not import a client here, because the definitions are loaded without clients.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from txn_assets.feeds.compat import FIELD_KINDS, TABLE_COLUMNS


@dataclass(frozen=True, kw_only=True)
class StoreEntry:
    """A store in the definitions.

    Attributes:
        key: the key of its I/O manager, and the name of its pool.
        label: the name of the store in messages.
        asset, description: the asset that loads files into it, and the asset's description.
        columns: the columns of its rows with their types.
        module: name of the module that defines `make_store(config, clients, run_files)`.
    """

    key: str
    label: str
    asset: str
    description: str
    columns: Mapping[str, str]
    module: str


STORES = (
    StoreEntry(
        key="gcs",
        label="GCS",
        asset="gcs_raw",
        description="The data lake: one object with the columns of the file.",
        columns={name: kind.duckdb for name, kind in FIELD_KINDS.items()},
        module="txn_assets.stores.gcs",
    ),
    StoreEntry(
        key="bigquery",
        label="BigQuery",
        asset="bigquery_raw_transactions",
        description="The warehouse table: the file's rows, with source_file and source_row.",
        columns={name: kind.bigquery for name, kind in TABLE_COLUMNS.items()},
        module="txn_assets.stores.bigquery",
    ),
    StoreEntry(
        key="postgres",
        label="PostgreSQL",
        asset="postgres_transactions",
        description="The PostgreSQL table: the file's rows, with source_file and source_row.",
        columns={name: kind.postgres for name, kind in TABLE_COLUMNS.items()},
        module="txn_assets.stores.postgres",
    ),
)
"""Stores, in the order in which the UI and the summary show them."""
