"""Read the figures of the metrics from PostgreSQL's ledgers: a few rows, however long a ledger is.

BigQuery's ledgers are left to `billing_figures.py`, because each query there costs money.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from psycopg import sql

from txn_assets.feeds.feed import Feed
from txn_assets.stores.clients import Clients
from txn_assets.stores.postgres import catalog
from txn_assets.stores.postgres.sql import Table
from txn_assets.watch.metrics import LAG, SECONDS, VERDICTS, Durations, LedgerFigures

if TYPE_CHECKING:
    import psycopg

TIMEOUT_SECONDS = 8
"""How long PostgreSQL may take for a statement."""

WINDOW = "24 hours"

_ADDED = {
    "records": "bigint",
    "rejected": "bigint",
    "erased": "bigint",
    "landed_at": "timestamptz",
    "stage_seconds": "jsonb",
}
"""Columns that the ledger of an earlier release lacks until its next load, and their types."""


def read_figures(clients: Clients, schema: str, feeds: Iterable[Feed]) -> dict[str, LedgerFigures]:
    """Return the figures of each feed, all of one moment; those of a feed without a ledger are zero."""
    with clients.postgres() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(f"SET LOCAL statement_timeout = '{TIMEOUT_SECONDS}s'")
        return {feed.name: _read(connection, Table(schema, feed)) for feed in feeds}


def _read(connection: "psycopg.Connection[Any]", table: Table) -> LedgerFigures:
    found = catalog.read(connection, table).ledger
    if found is None:
        return LedgerFigures()
    ledger = _ledger(table, found.columns)
    totals = connection.execute(
        sql.SQL(
            "SELECT count(*), coalesce(sum(size), 0), coalesce(sum(coalesce(records, row_count)), 0), "
            "extract(epoch FROM max(loaded_at)) FROM {} ledger"
        ).format(ledger)
    ).fetchone()
    assert totals, "an aggregate has a row"
    newest = connection.execute(
        sql.SQL(
            "SELECT coalesce(rejected, 0) > 0, count(*), sum(row_count), sum(coalesce(rejected, 0)), "
            "sum(coalesce(erased, 0)) FROM "
            "(SELECT DISTINCT ON (source_file) row_count, rejected, erased FROM {} ledger "
            "ORDER BY source_file, generation DESC) newest GROUP BY 1"
        ).format(ledger)
    ).fetchall()
    return LedgerFigures(
        loads=totals[0],
        bytes=int(totals[1]),
        records=int(totals[2]),
        last_load=None if totals[3] is None else float(totals[3]),
        files={"partly" if is_partly else "loaded": count for is_partly, count, *_ in newest},
        rows={verdict: int(sum(row[place] for row in newest)) for place, verdict in enumerate(VERDICTS, 2)},
        durations=_durations(connection, ledger),
    )


def _durations(connection: "psycopg.Connection[Any]", ledger: sql.Composed) -> dict[str, Durations]:
    rows = connection.execute(
        sql.SQL(
            "WITH recent AS (SELECT * FROM {} ledger WHERE loaded_at > now() - %(window)s::interval), "
            "taken AS (SELECT key AS stage, value::float8 AS seconds FROM recent, jsonb_each_text(stage_seconds) "
            "UNION ALL SELECT %(lag)s, extract(epoch FROM loaded_at - landed_at)::float8 FROM recent "
            "WHERE landed_at IS NOT NULL) "
            "SELECT stage, (SELECT count(*) FROM unnest(%(bounds)s::float8[]) bound WHERE bound < seconds), "
            "count(*), sum(seconds) FROM taken GROUP BY 1, 2"
        ).format(ledger),
        {"window": WINDOW, "lag": LAG, "bounds": list(SECONDS)},
    ).fetchall()
    counts: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    for stage, bucket, count, total in rows:
        counts.setdefault(stage, [0] * (len(SECONDS) + 1))[bucket] += count
        seconds[stage] = seconds.get(stage, 0.0) + total
    return {stage: Durations(tuple(counts[stage]), seconds[stage]) for stage in sorted(counts)}


def _ledger(table: Table, there: Collection[str]) -> sql.Composed:
    """Return the ledger as a table expression that has all columns."""
    columns = [
        sql.Identifier(name) if name in there else sql.SQL(f"NULL::{kind} AS {name}") for name, kind in _ADDED.items()
    ]
    always = [sql.Identifier(name) for name in ("source_file", "generation", "size", "row_count", "loaded_at")]
    return sql.SQL("(SELECT {} FROM {})").format(sql.SQL(", ").join([*always, *columns]), table.ledger)
