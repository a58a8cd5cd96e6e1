"""The view `file_status` in PostgreSQL. See status_view.py, and docs/how-to/read-the-ledger.md."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from txn_assets.stores import status_view
from txn_assets.stores.postgres import errors
from txn_assets.stores.postgres import sql as statements
from txn_assets.stores.postgres.sql import Table
from txn_assets.stores.status_view import VIEW

LOCK_SECONDS = 2
"""How long a load waits for readers of the view, before it leaves the view as it is."""

_READ_VIEW = """
SELECT c.relkind = 'v', obj_description(c.oid, 'pg_class')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""

_READ_LEDGERS = """
SELECT c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'records' AND NOT a.attisdropped
WHERE n.nspname = %s AND c.relname = ANY(%s)
"""
"""The ledgers that have the columns of this release."""


def select(table: Table) -> str:
    """Return the SELECT of the view for the files of `table`."""
    second_of = "(stage_seconds->>'{stage}')::double precision"
    columns = status_view.select_list(table.feed, table=str(table), second_of=second_of)
    return (
        # Name each column: PostgreSQL does not let the owner drop one that a view reads.
        f"(SELECT DISTINCT ON (source_file) {columns} FROM {table.ledger.as_string()} "  # noqa: S608 - quoted names
        "ORDER BY source_file, generation DESC)"
    )


def create(schema: str, tables: Sequence[Table], description: str) -> list[sql.Composed]:
    """Return the statements that create or replace the view over the ledgers of `tables`."""
    name = sql.Identifier(schema, VIEW)
    text = " UNION ALL ".join(map(select, tables))
    return [
        sql.SQL("CREATE OR REPLACE VIEW {} AS {}").format(name, sql.SQL(text)),
        sql.SQL("COMMENT ON VIEW {} IS {}").format(name, sql.Literal(description)),
    ]


def keep(connection: "psycopg.Connection[Any]", table: Table, neighbors: Sequence[Table]) -> str | None:
    """Create or replace the view if it does not show `table` as it should; `neighbors` are the tables of all feeds.

    Return a message if that fails, because a load does not need the view.
    """
    feeds = [one.feed for one in neighbors]
    found = connection.execute(_READ_VIEW, [table.schema, VIEW]).fetchone()
    if found and not (found[0] and status_view.is_ours(found[1])):
        remedy = f"Rename it, so that a load can create {VIEW}."
        return status_view.not_kept(f"{table.schema}.{VIEW}", "something else has this name", remedy)
    if found and status_view.is_current(found[1], feeds, select(table)):
        return None
    script: list[sql.Composed] = []
    try:
        with connection.transaction():
            # As for other DDL: two sessions that replace one view at the same time fail.
            lock = f"{table.schema}.{VIEW}"
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [lock])
            ledgers = [one.ledger_name for one in neighbors]
            there = {name for (name,) in connection.execute(_READ_LEDGERS, [table.schema, ledgers])}
            shown = [one for one in neighbors if one.ledger_name in there]
            script = create(table.schema, shown, status_view.describe(feeds, map(select, shown)))
            for statement in script:
                connection.execute(statement)
    except psycopg.Error as error:
        if errors.is_transient(error):
            return None
        remedy = f"The owner of the schema can run: {statements.script(script)}"
        return status_view.not_kept(f"{table.schema}.{VIEW}", str(error.diag.message_primary), remedy)
    return None
