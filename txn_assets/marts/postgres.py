"""The marts in PostgreSQL: the view of the current transactions, and a table for each mart.

`postgres_sql.py` has the SQL. A refresh computes all rows of a mart from one snapshot of the table and its ledger, and
writes those that differ in one transaction. Readers see the old rows until it commits. See docs/marts.md.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from txn_assets.marts import postgres_sql as statements
from txn_assets.marts.mart import (
    CURRENT,
    VERSIONS,
    Between,
    Mart,
    MartRow,
    MartTotals,
    MartVersion,
    Refresh,
    Rules,
    refuse_unknown,
)
from txn_assets.marts.postgres_sql import Names
from txn_assets.stores.errors import StoreError
from txn_assets.stores.postgres.sql import script
from txn_assets.stores.postgres.store import PostgresStore
from txn_assets.stores.retries import Budget, retry_transient

READ_ROWS = 10_000
"""Number of rows to fetch at once."""


@dataclass(kw_only=True)
class PostgresMarts:
    """The marts of the first feed in PostgreSQL.

    Attributes:
        store: the table that the marts are built from.
        rules: which of its rows count.
    """

    store: PostgresStore
    names: Names
    rules: Rules

    def ensure_views(self) -> None:
        """Create the schema, the view `transactions_current` and the table `mart_versions`, or bring them up to date.

        Raises:
            StoreError: the role may not, or something else has one of the names.
        """
        self._retry(self._ensure)

    def refresh(self, mart: Mart, *, force: bool = False) -> Refresh:
        """Compute the rows of `mart` again if the ledger has changed since they were computed, or if `force` says so.

        Raises:
            StoreError: the mart cannot be computed; it keeps its rows.
        """
        refuse_unknown(mart, "postgres")
        start = time.perf_counter()
        version, is_unchanged = self._retry(lambda: self._refresh(mart, force=force))
        return Refresh(mart, version, time.perf_counter() - start, is_unchanged)

    def version(self, mart: Mart) -> MartVersion | None:
        """Return what `mart` was computed from, or None before its first refresh."""
        return self._retry(lambda: self._read(lambda connection: self._noted(connection, mart)))

    def totals(self, mart: Mart) -> MartTotals:
        """Return the totals over the rows of `mart`."""
        refuse_unknown(mart, "postgres")
        query = statements.totals_query(self.names, mart)
        (row,) = self._retry(lambda: self._read(lambda connection: connection.execute(query).fetchall()))
        return MartTotals.of_row(row)

    def rows(
        self, mart: Mart, *, limit: int | None = None, offset: int = 0, filters: Sequence[Between] = ()
    ) -> list[MartRow]:
        """Return rows of `mart` in the order of its key."""
        refuse_unknown(mart, "postgres", filters)
        query, values = statements.rows_query(self.names, mart, filters, limit=limit, offset=offset)
        return self._retry(lambda: self._read(lambda connection: connection.execute(query, values).fetchall()))

    def sums(self, mart: Mart, *, limit: int) -> list[MartRow]:
        """Return the amounts by the first column of the key, for a chart: the largest of names, or the latest days."""
        refuse_unknown(mart, "postgres")
        query = statements.sums_query(self.names, mart)
        return self._retry(lambda: self._read(lambda connection: connection.execute(query, [limit]).fetchall()))

    def stream(self, mart: Mart) -> Iterator[list[MartRow]]:
        """Yield all rows of `mart` in the order of its key, some thousand at a time, from one snapshot."""
        refuse_unknown(mart, "postgres")
        query, values = statements.rows_query(self.names, mart, (), limit=None, offset=0)
        with self._connect() as connection, connection.cursor("rows") as cursor:
            cursor.execute(query, values)
            while rows := cursor.fetchmany(READ_ROWS):
                yield rows

    def explain(self, error: Exception) -> str:
        """Return what is wrong and what to do."""
        if isinstance(error, psycopg.errors.UndefinedTable):
            return f"PostgreSQL schema {self.names.schema} has no such mart yet: refresh the marts first."
        if isinstance(error, psycopg.Error) and error.sqlstate and not error.sqlstate.startswith(("28", "3D")):
            primary = error.diag.message_primary or type(error).__name__
            return f"The marts in the PostgreSQL schema {self.names.schema} cannot be refreshed: {primary}."
        return self.store.explain(error)

    def _retry[T](self, attempt: Callable[[], T]) -> T:
        return retry_transient(
            attempt,
            is_transient=self.store.is_transient,
            explain=self.explain,
            budget=Budget(seconds=self.store.retry_seconds),
        )

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[Any]]:
        with self.store.clients.postgres() as connection:
            try:
                yield connection
            except psycopg.errors.InsufficientPrivilege as error:
                remedy = script(statements.grants(self.names, connection.info.user))
                message = f"{self.explain(error)} The owner of the database can run: {remedy}"
                raise StoreError(message) from error

    def _noted(self, connection: psycopg.Connection[Any], mart: Mart) -> MartVersion | None:
        return self._held(connection, mart) if VERSIONS in self._relations(connection) else None

    def _read[T](self, read: Callable[[psycopg.Connection[Any]], T]) -> T:
        with self._connect() as connection:
            return read(connection)

    def _ensure(self, mart: Mart | None = None) -> tuple[bool, sql.Composed]:
        """Create what is missing for `mart`; return whether its table is new, and the statement that makes the view."""
        # Loading no file creates the tables of the store, so that the view has something to select from.
        self.store.load([], "")
        view = statements.create_view(self.names, self.store.inexact_columns())
        with self._connect() as connection:
            if not self._missing(connection, mart, view):
                return False, view
            # Two sessions that create or replace the same relation at once would fail.
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", [self.names.schema])
            there = self._relations(connection)
            for statement in self._missing(connection, mart, view):
                connection.execute(statement)
        return mart is not None and mart.name not in there, view

    def _relations(self, connection: psycopg.Connection[Any]) -> dict[str, str | None]:
        return dict(connection.execute(statements.relations_query(), [self.names.schema]).fetchall())

    def _missing(
        self, connection: psycopg.Connection[Any], mart: Mart | None, view: sql.Composed
    ) -> list[sql.Composed]:
        names = self.names
        there = self._relations(connection)
        for name in (CURRENT, *([mart.name] if mart else [])):
            if name in there and not (there[name] or "").startswith(statements.MARK):
                message = (
                    f"PostgreSQL relation {names.schema}.{name} was not made by the platform, which would replace its "
                    "rows: drop it or rename it, or name another schema in data_mart.dataset."
                )
                raise StoreError(message)
        missing = [] if VERSIONS in there else [statements.create_versions(names)]
        # A role that may not create schemas is refused even if the schema is there.
        if not there and not connection.execute(statements.schema_query(), [names.schema]).fetchone():
            missing.insert(0, statements.create_schema(names))
        mark = statements.view_mark(view)
        if there.get(CURRENT) != mark:
            missing += [view, statements.comment_on_view(names, mark)]
        if mart and mart.name not in there:
            missing += statements.create_mart(names, mart)
        return missing

    def _refresh(self, mart: Mart, *, force: bool) -> tuple[MartVersion, bool]:
        is_new, view = self._ensure(mart)
        definition = statements.definition(mart, self.rules, view)
        must = force or is_new
        with self._connect() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            wanted, files = self._wanted(connection, definition)
            if not must and (held := self._held(connection, mart)) and held.version == wanted:
                return held, True
            connection.rollback()
            connection.execute(statements.lock_statement(self.names, mart))
            # Another refresh may have committed while this one waited for the lock.
            wanted, files = self._wanted(connection, definition)
            if not must and (held := self._held(connection, mart)) and held.version == wanted:
                return held, True
            if must:
                connection.execute(statements.clear_statement(self.names, mart))
            connection.execute(statements.FORBID_NESTED_LOOPS)
            _, values = statements.conditions(self.rules)
            fill = statements.refresh_statement(self.names, mart, self.rules)
            values |= {"mart": mart.name, "version": wanted, "files": files}
            (row,) = connection.execute(fill, values).fetchall()
        return MartVersion.of_row(row), False

    def _wanted(self, connection: psycopg.Connection[Any], definition: str) -> tuple[str, int]:
        """Return the version that a mart of `definition` has if it is up to date, and the number of its files."""
        ((state, files),) = connection.execute(statements.state_query(self.names)).fetchall()
        return f"{definition}-{state}", files

    def _held(self, connection: psycopg.Connection[Any], mart: Mart) -> MartVersion | None:
        row = connection.execute(statements.version_query(self.names), [mart.name]).fetchone()
        return MartVersion.of_row(row) if row else None
