"""The view `file_status` in BigQuery. See status_view.py, and docs/how-to/read-the-ledger.md."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import bigquery

from txn_assets.stores import google_errors, status_view
from txn_assets.stores.bigquery import tables as bigquery_tables
from txn_assets.stores.bigquery.jobs import Jobs
from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.status_view import VIEW


def select(tables: Tables) -> str:
    """Return the SELECT of the view for the files of `tables`."""
    second_of = "CAST(JSON_VALUE(stage_seconds, '$.{stage}') AS FLOAT64)"
    columns = status_view.select_list(tables.feed, table=tables.data_id, second_of=second_of)
    return (
        f"SELECT {columns} FROM (SELECT * FROM {tables.ledger} WHERE source_file != '' "  # noqa: S608 - quoted names
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY source_file ORDER BY generation DESC) = 1)"
    )


def create(tables: Tables, shown: Sequence[Tables], description: str) -> str:
    """Return the statement that creates or replaces the view beside `tables` over the ledgers of `shown`."""
    text = " UNION ALL ".join(map(select, shown))
    return f"CREATE OR REPLACE VIEW {tables.quoted(VIEW)} OPTIONS (description = '{description}') AS {text}"


def mark(tables: Tables, neighbors: Sequence[Tables], day: dt.date) -> str:
    """Return what the lock row of the ledger says if the view showed `tables` as it should on `day`; see `keep`.

    So one load a day looks at the view, and the others need no request for it.
    """
    return f"{VIEW} {status_view.make_marks([one.feed for one in neighbors], select(tables))} {day}"


def keep(jobs: Jobs, tables: Tables, neighbors: Sequence[Tables]) -> tuple[bool, str | None]:
    """Create or replace the view if it does not show `tables` as it should; `neighbors` are the tables of all feeds.

    Return whether it does now, and a message if that failed for good, because a load does not need the view.
    """
    client, no_retry = jobs.client, jobs.no_retry
    place, feeds = tables.id_of(VIEW), [one.feed for one in neighbors]
    try:
        found = client.get_table(place, **no_retry)
    except NotFound:
        found = None
    if found and not (found.table_type == "VIEW" and status_view.is_ours(found.description)):
        remedy = f"Rename it, so that a load can create {VIEW}."
        return False, status_view.not_kept(place, "something else has this name", remedy)
    if found and status_view.is_current(found.description, feeds, select(tables)):
        return True, None
    shown = [one for one in neighbors if one == tables or _has_details(client, one, no_retry)]
    # A statement, because local-bigquery keeps the query of a view whose resource is updated.
    statement = create(tables, shown, status_view.describe(feeds, map(select, shown)))
    try:
        jobs.query(statement)
    except GoogleAPICallError as error:
        if google_errors.is_transient(error):
            return False, None  # The next load looks again.
        remedy = f"The owner of the dataset can run: {statement}"
        return False, status_view.not_kept(place, google_errors.explain(error, place).rstrip("."), remedy)
    return True, None


def _has_details(client: bigquery.Client, tables: Tables, no_retry: Mapping[str, Any]) -> bool:
    """Return whether the feed of `tables` has a ledger with the columns of this release."""
    try:
        return "records" in bigquery_tables.column_types(client.get_table(tables.ledger_id, **no_retry))
    except NotFound:
        return False
