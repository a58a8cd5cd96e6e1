"""Read pages of the marts in PostgreSQL, for many clients at once.

A page begins at a key instead of an offset, because PostgreSQL would read the rows of all earlier pages to skip them.
See docs/marts.md.
"""

import base64
import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from txn_assets.marts import postgres_sql as statements
from txn_assets.marts.mart import COLUMN_TYPES, DAY, Between, Mart, MartRow, MartVersion, refuse_unknown
from txn_assets.marts.postgres import PostgresMarts
from txn_assets.marts.postgres_sql import Part
from txn_assets.stores.errors import StoreError, StoreUnavailableError

CONNECTIONS = 8
"""Maximum number of connections of one process. More requests than these wait for one."""

type KeyValue = str | dt.date | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins.

    Attributes:
        key: the key of the last row of the page before.
        skip: how many rows with that key earlier pages had.
    """

    key: tuple[KeyValue, ...]
    skip: int

    @classmethod
    def of_text(cls, text: str, mart: Mart) -> Self:
        """Return the cursor in a link to a page of `mart`.

        Raises:
            ValueError: it is not the text of a cursor of `mart`.
        """
        try:
            skip, *key = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
        except (TypeError, RecursionError) as error:
            raise ValueError from error
        if type(skip) is not int or not 0 < skip < 1 << 63 or len(key) != len(mart.key):
            raise ValueError
        return cls(tuple(_of_json(value, name) for value, name in zip(key, mart.key, strict=True)), skip)

    def __str__(self) -> str:
        """Return the text for a link."""
        content = [self.skip, *(str(value) if isinstance(value, dt.date) else value for value in self.key)]
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _of_json(value: object, column: str) -> KeyValue:
    if value is None:
        return None
    # PostgreSQL has no NUL in text. Half a surrogate pair is a UnicodeEncodeError, which is a ValueError.
    if not isinstance(value, str) or b"\0" in value.encode():
        raise ValueError
    return dt.date.fromisoformat(value) if COLUMN_TYPES[column] is DAY else value


def parts_from(key: Sequence[str], cursor: Cursor | None) -> Iterator[Part]:
    """Yield the parts of a mart that have its rows from `cursor` on, in the order of the rows.

    One condition with OR would not use the index. Nulls come last, as in PostgreSQL.
    """
    if cursor is None:
        yield Part(sql.SQL("true"))
        return
    for size in range(len(key), -1, -1):
        conditions = [
            _compare(name, "IS NULL" if value is None else "= %s")
            for name, value in zip(key[:size], cursor.key[:size], strict=True)
        ]
        values = [value for value in cursor.key[:size] if value is not None]
        if size == len(key):
            yield Part(sql.SQL(" AND ").join(conditions), values, cursor.skip)
        elif (bound := cursor.key[size]) is not None:
            for sign, bounds in (("> %s", [bound]), ("IS NULL", [])):
                yield Part(sql.SQL(" AND ").join([*conditions, _compare(key[size], sign)]), [*values, *bounds])


def _compare(column: str, sign: str) -> sql.Composed:
    return sql.Identifier(column) + sql.SQL(f" {sign}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The marts at one moment."""

    marts: PostgresMarts
    connection: psycopg.Connection[TupleRow]

    def version(self, mart: Mart) -> MartVersion | None:
        """Return what `mart` was computed from, or None before its first refresh."""
        try:
            row = self.connection.execute(statements.version_query(self.marts.names), [mart.name]).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return MartVersion.of_row(row) if row else None

    def page(
        self, mart: Mart, *, limit: int, start: Cursor | None = None, filters: Sequence[Between] = ()
    ) -> tuple[list[MartRow], Cursor | None]:
        """Return `limit` rows from `start` on, and where the next page begins if there is one."""
        refuse_unknown(mart, "postgres", filters)
        rows: list[MartRow] = []
        for part in parts_from(mart.key, start):
            if wanted := limit + 1 - len(rows):
                query, values = statements.page_query(self.marts.names, mart, filters, part, limit=wanted)
                rows += self.connection.execute(query, values).fetchall()
        return rows[:limit], self._next(mart, rows[:limit], start) if len(rows) > limit else None

    def _next(self, mart: Mart, rows: Sequence[MartRow], start: Cursor | None) -> Cursor:
        places = [mart.columns.index(name) for name in mart.key]
        keys = [tuple(row[place] for place in places) for row in rows]
        skip = sum(key == keys[-1] for key in keys)
        if start and start.key == keys[-1]:
            skip += start.skip
        return Cursor(keys[-1], skip)


@dataclass(frozen=True)
class MartPages:
    """Opens snapshots of the marts, on connections that are used again."""

    marts: PostgresMarts
    pool: ConnectionPool[Any]

    @classmethod
    def of(cls, marts: PostgresMarts) -> Self:
        """Return the pages of `marts`. Close them at the end."""
        return cls(marts, marts.store.clients.postgres_pool(CONNECTIONS))

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Yield the marts as they are now.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer in time.
            StoreError: a mart cannot be read.
        """
        try:
            with self.pool.connection() as connection:
                yield Snapshot(self.marts, connection)
        except psycopg.Error as error:
            message = f"A mart cannot be read over HTTP. {self.marts.explain(error)}"
            is_short = isinstance(error, PoolTimeout | psycopg.errors.QueryCanceled)
            raise (StoreUnavailableError if is_short or self.marts.store.is_transient(error) else StoreError)(
                message
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self.pool.close()
