"""Erase a person's rows from the PostgreSQL table of a feed, and keep its ledger exact.

`store.py` connects and retries. Each file is changed in a transaction of its own under the lock that loads take, so
a call that was killed is finished by the next one. See docs/security.md, 'Erasure'.
"""

from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

from txn_assets.files.erasures import ErasureRequest
from txn_assets.rows.fingerprint import POSTGRES, select_fingerprint, select_totals
from txn_assets.stores.errors import StoreError
from txn_assets.stores.ledger_columns import ledger_columns
from txn_assets.stores.postgres import sql as statements
from txn_assets.stores.postgres.sql import Table

if TYPE_CHECKING:
    import psycopg

_LOCK = "pg_advisory_xact_lock{}(hashtextextended(%s, 2))"
"""Loads hold this lock together from their last look at the requests to their commit; a new request waits for them."""


def newest_number(connection: "psycopg.Connection[Any]", table: Table) -> int:
    """Return the number of the newest request that the table knows; no newer one can begin before the commit."""
    connection.execute(sql.SQL("SELECT " + _LOCK.format("_shared")), [str(table)])
    if not _has_erasures(connection, table):
        return 0
    row = connection.execute(sql.SQL("SELECT max(number) FROM {}").format(table.erasures)).fetchone()
    return int(row[0] or 0) if row else 0


def erase(connection: "psycopg.Connection[Any]", table: Table, request: ErasureRequest, *, is_exact: bool) -> int:
    """Delete the rows of the person in `request`, and return how many there were. See `erase` of the store.

    Raises:
        StoreError: rows are still there.
    """
    _note(connection, table, request)
    # Rows of the original pipeline belong to no file.
    found = connection.execute(
        sql.SQL("SELECT DISTINCT source_file FROM {} WHERE {} ORDER BY 1").format(table.data, _is_person(request)),
        _digests(request),
    ).fetchall()
    connection.commit()
    removed = sum(_erase_from(connection, table, request, name, is_exact=is_exact) for (name,) in found)
    if left := count(connection, table, request):
        message = (
            f"PostgreSQL table {table} still has {left} rows of the erasure request {request}: a trigger or a rule on "
            "the table keeps them. Let its owner drop or disable it (psql lists it with \\d), and run this again."
        )
        raise StoreError(message)
    finish = sql.SQL(
        "UPDATE {} SET finished_at = coalesce(finished_at, clock_timestamp()) WHERE request_id = %s"
    ).format(table.erasures)
    connection.execute(finish, [request.id])
    connection.commit()
    return removed


def count(connection: "psycopg.Connection[Any]", table: Table, request: ErasureRequest) -> int:
    """Return how many rows of the person in `request` the table has."""
    query = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(table.data, _is_person(request))
    row = connection.execute(query, _digests(request)).fetchone()
    return int(row[0]) if row else 0


def finished(connection: "psycopg.Connection[Any]", table: Table) -> frozenset[int]:
    """Return the numbers of the requests that are finished."""
    if not _has_erasures(connection, table):
        return frozenset()
    query = sql.SQL("SELECT number FROM {} WHERE finished_at IS NOT NULL").format(table.erasures)
    return frozenset(number for (number,) in connection.execute(query))


def _note(connection: "psycopg.Connection[Any]", table: Table, request: ErasureRequest) -> None:
    """Write the request down, so that no load that does not know it commits after this."""
    if not _has_erasures(connection, table):
        connection.execute(statements.create_erasures(table))
        connection.commit()
    connection.execute(sql.SQL("SELECT " + _LOCK.format("")), [str(table)])
    note = sql.SQL(
        "INSERT INTO {} (request_id, number, field, digests, requested_at, requested_by) "
        "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (request_id) DO UPDATE SET digests = EXCLUDED.digests"
    ).format(table.erasures)
    values = [request.id, request.number, request.field, Jsonb(dict(request.digests))]
    connection.execute(note, [*values, request.requested_at, request.requested_by])
    connection.commit()


def _erase_from(
    connection: "psycopg.Connection[Any]", table: Table, request: ErasureRequest, name: str | None, *, is_exact: bool
) -> int:
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [statements.lock_name(table, name)])
        delete = sql.SQL("DELETE FROM {} WHERE {} AND {}").format(table.data, _of_file(name), _is_person(request))
        removed = connection.execute(delete, {"name": name, **_digests(request)}).rowcount
        if name is not None and removed:
            connection.execute(_correct(table, is_exact=is_exact), {"name": name, "removed": removed})
        count_up = sql.SQL("UPDATE {} SET rows_removed = rows_removed + %s WHERE request_id = %s")
        connection.execute(count_up.format(table.erasures), [removed, request.id])
    return removed


def _of_file(name: str | None) -> sql.SQL:
    return sql.SQL("source_file IS NULL") if name is None else sql.SQL("source_file = %(name)s")


def _correct(table: Table, *, is_exact: bool) -> sql.Composed:
    """Return the statement that gives the newest ledger row of a file the totals of the rows that are left."""
    contract = table.contract
    names = [column.name for column in ledger_columns(contract) if column.is_total]
    totals = [*select_totals(POSTGRES, contract), select_fingerprint(POSTGRES, contract, is_exact=is_exact)]
    days = ("min_date", "max_date")
    values = [total if name in days else f"coalesce({total}, 0)" for name, total in zip(names, totals, strict=True)]
    return sql.SQL(
        "UPDATE {ledger} SET ({names}) = (SELECT {values} FROM {data} WHERE source_file = %(name)s), "
        "erased = coalesce(erased, 0) + %(removed)s WHERE source_file = %(name)s "
        "AND generation = (SELECT max(generation) FROM {ledger} WHERE source_file = %(name)s)"
    ).format(
        ledger=table.ledger,
        names=sql.SQL(", ").join(map(sql.Identifier, names)),
        values=sql.SQL(", ".join(values)),
        data=table.data,
    )


def _is_person(request: ErasureRequest) -> sql.Composed:
    return sql.SQL("{}::text = ANY(%(digests)s)").format(sql.Identifier(request.field))


def _digests(request: ErasureRequest) -> dict[str, list[str]]:
    return {"digests": list(request.digests.values())}


def _has_erasures(connection: "psycopg.Connection[Any]", table: Table) -> bool:
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table.erasures.as_string()]).fetchone()
    return bool(row and row[0])
