"""Read from BigQuery's ledgers what their loads had billed. Each reading costs money, so it is done once an hour.

A query bills at least 10 MiB for each table (https://cloud.google.com/bigquery/pricing), so a feed costs 240 MiB a day.
"""

from collections.abc import Iterable

from google.api_core.exceptions import NotFound

from txn_assets.feeds.feed import Feed
from txn_assets.sections.storage import DataWarehouse
from txn_assets.stores.bigquery.jobs import Jobs
from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.clients import Clients

COLUMN = "bytes_billed"


def read_figures(clients: Clients, warehouse: DataWarehouse, feeds: Iterable[Feed]) -> dict[str, int]:
    """Return the bytes billed by feed. A feed without a ledger, or with one of an earlier release, is left out."""
    jobs = Jobs(clients.bigquery, clients.no_retry, warehouse.maximum_bytes_billed)
    found = {feed.name: _billed(jobs, Tables(warehouse.project_id, warehouse.dataset, feed)) for feed in feeds}
    return {feed: billed for feed, billed in found.items() if billed is not None}


def _billed(jobs: Jobs, tables: Tables) -> int | None:
    try:
        ledger = jobs.client.get_table(tables.ledger_id, **jobs.no_retry)
    except NotFound:
        return None
    if COLUMN not in {field.name for field in ledger.schema}:
        return None
    (row,) = jobs.query(f"SELECT IFNULL(SUM({COLUMN}), 0) FROM {tables.ledger}")  # noqa: S608 - quoted by `Tables`
    return int(row[0])
