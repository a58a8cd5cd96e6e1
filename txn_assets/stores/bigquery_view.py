"""The view `file_status` in BigQuery. See status_view.py, and docs/how-to/read-the-ledger.md."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import bigquery

from txn_assets.stores import bigquery_tables, google_errors, status_view
from txn_assets.stores.bigquery_sql import Tables
from txn_assets.stores.status_view import VIEW


def select(tables: Tables) -> str:
    """Return the SELECT of the view for the files of `tables`."""
    second_of = "CAST(JSON_VALUE(stage_seconds, '$.{stage}') AS FLOAT64)"
    columns = status_view.select_list(tables.feed, table=tables.data_id, second_of=second_of)
    return (
        f"SELECT {columns} FROM (SELECT * FROM {tables.ledger} WHERE source_file != '' "  # noqa: S608 - quoted names
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY source_file ORDER BY generation DESC) = 1)"
    )


def keep(
    client: bigquery.Client, tables: Tables, neighbors: Sequence[Tables], no_retry: Mapping[str, Any]
) -> str | None:
    """Create or replace the view if it does not show `tables` as it should; `neighbors` are the tables of all feeds.

    Return a message if that fails for good, because a load does not need the view.
    """
    place, feeds = tables.id_of(VIEW), [one.feed for one in neighbors]
    try:
        found = client.get_table(place, **no_retry)
    except NotFound:
        found = None
    if found and not (found.table_type == "VIEW" and status_view.is_ours(found.description)):
        remedy = f"Rename it, so that a load can create {VIEW}."
        return status_view.not_kept(place, "something else has this name", remedy)
    if found and status_view.is_current(found.description, feeds, select(tables)):
        return None
    shown = [one for one in neighbors if _has_details(client, one, no_retry)]
    view = found or bigquery.Table(place)
    view.view_query = " UNION ALL ".join(map(select, shown))
    view.description = status_view.describe(feeds, map(select, shown))
    try:
        if found:
            client.update_table(view, ["view_query", "description"], **no_retry)
        else:
            client.create_table(view, exists_ok=True, **no_retry)
    except GoogleAPICallError as error:
        # 412: the load of another feed has just replaced the view. The next load looks again.
        if google_errors.is_transient(error) or google_errors.is_precondition_failure(error):
            return None
        remedy = f"Its owner can run: CREATE OR REPLACE VIEW `{place}` AS {view.view_query}"
        return status_view.not_kept(place, google_errors.explain(error, place).rstrip("."), remedy)
    return None


def _has_details(client: bigquery.Client, tables: Tables, no_retry: Mapping[str, Any]) -> bool:
    """Return whether the feed of `tables` has a ledger with the columns of this release."""
    try:
        return "records" in bigquery_tables.column_types(client.get_table(tables.ledger_id, **no_retry))
    except NotFound:
        return False
