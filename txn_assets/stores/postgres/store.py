"""The PostgreSQL store: one table with exactly the rows of the newest loaded version of each file.

This module runs the transaction that replaces a file. `sql.py` has the SQL, `catalog.py` checks
existing tables, and `errors.py` explains errors. See docs/reliability.md.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import psycopg
import pyarrow as pa
from psycopg import sql

from txn_assets.config import PipelineConfig
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.feed import Feed
from txn_assets.files import progress
from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledger import (
    NOTHING,
    Action,
    FileVersion,
    Holding,
    LoadRecord,
    Totals,
    decide,
    describe,
    is_news,
    notes_rejects,
    read_holdings,
)
from txn_assets.files.ledgers import HeldVersion
from txn_assets.files.values import HashedFile
from txn_assets.rows import hashed_rows
from txn_assets.rows.rejects import read_rejects
from txn_assets.rows.schemas import make_schema
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import StoreError
from txn_assets.stores.partition_keys import key_bounds
from txn_assets.stores.postgres import catalog, errors
from txn_assets.stores.postgres import erasure as postgres_erasure
from txn_assets.stores.postgres import sql as statements
from txn_assets.stores.postgres import view as postgres_view
from txn_assets.stores.postgres.copy import pieces
from txn_assets.stores.postgres.sql import Table
from txn_assets.stores.run_files import RunFiles
from txn_assets.stores.store import Store


@dataclass(frozen=True, slots=True)
class SharedIds:
    """Row ids of a file that the table also has under other names.

    Attributes:
        count: how many of the file's `ids` different row ids.
        names: the other files, the one that shares most first.
    """

    count: int
    ids: int
    names: tuple[str, ...]

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[str | None, int]], ids: int) -> Self:
        """Return the ids that a file shares, from its rows of `postgres_sql.shared_ids_query`."""
        in_order = sorted(rows, key=lambda row: (-row[1], row[0] or ""))
        total = next(count for name, count in rows if name is None)
        return cls(total, ids, tuple(name for name, _ in in_order if name is not None))


@dataclass(kw_only=True)
class PostgresStore(Store):
    """One table for all files of a feed, its ledger `<table>_loads`, and why rows were rejected, `<table>_rejects`.

    Attributes:
        neighbors: the tables of all feeds, for the view `file_status`.
    """

    table: Table
    neighbors: tuple[Table, ...]

    def load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
        """Replace each file in its own transaction."""
        with self._connect() as connection:
            inexact = self._prepare(connection).inexact(self.table)
            connection.commit()
            if notice := postgres_view.keep(connection, self.table, self.neighbors):
                self.notices.add(notice)
            connection.commit()
            known = self.refuse_erased(files)
            return {
                file.version.name: self._replace(connection, file, run_id, inexact=inexact, known=known)
                for file in files
            }

    def holdings(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Holding]:
        """Return the generation in the ledger and the totals in the table, by file name."""
        names = [file.version.name for file in files]
        with self._connect() as connection:
            found = catalog.read(connection, self.table)
            held = self._held(connection, names, found)
            is_exact = not found.inexact(self.table)
            return read_holdings(names, held, run_id, partial(self._totals, connection, is_exact=is_exact))

    def held_versions(self) -> dict[str, HeldVersion]:
        """Return the versions in the ledger; empty before the first load."""
        with self._connect() as connection:
            if catalog.read(connection, self.table).ledger is None:
                return {}
            rows = connection.execute(statements.versions_query(self.table)).fetchall()
        return {name: HeldVersion(*version) for name, *version in rows}

    def held(self, name: str) -> LoadRecord | None:
        """Return the newest ledger row of the file `name`, or None before its first load."""
        return self.newest_loads([name]).get(name)

    def newest_loads(self, names: Collection[str]) -> dict[str, LoadRecord]:
        """Return the newest ledger row of each file that has one."""
        with self._connect() as connection:
            return self._held(connection, list(names), catalog.read(connection, self.table))

    def recent_loads(self, limit: int, *, name: str | None = None) -> list[LoadRecord]:
        """Return the last `limit` ledger rows, of the file `name` if it is given; empty before the first load.

        The newest come first.
        """
        with self._connect() as connection:
            columns = self._known(catalog.read(connection, self.table))
            if not columns:
                return []
            rows = connection.execute(statements.recent_query(self.table, columns), [name, name, limit]).fetchall()
        return [LoadRecord.from_row(dict(zip(columns, row, strict=True))) for row in rows]

    def holds_any(self, name: str, ids: Sequence[str]) -> bool:
        """Return whether a row of the file `name` has one of `ids` as its row id."""
        with self._connect() as connection:
            row = connection.execute(statements.any_id_query(self.table), [name, list(ids)]).fetchone()
        return bool(row and row[0])

    def twins(self, versions: Sequence[FileVersion]) -> dict[str, list[str]]:
        """Return the other names under which the bytes of a file are loaded, in the order of their loads, by name."""
        parameters = {
            "names": [version.name for version in versions],
            "sizes": [version.size for version in versions],
            "crc32cs": [version.crc32c for version in versions],
        }
        found = defaultdict(list)
        with self._connect() as connection:
            for name, other in connection.execute(statements.twins_query(self.table), parameters):
                found[name].append(other)
        return dict(found)

    def shared_ids(self, files: Sequence[HashedFile]) -> dict[str, SharedIds]:
        """Return how many row ids of each of `files`, which are loaded, other files have on the same days, by name.

        The ledger says which other files have rows on these days. The rows themselves are read only if there are any,
        and only those of these files and days. If the feed has no row id or no partition key, nothing would limit what
        is read, so there is no answer.
        """
        files = [file for file in files if file.totals.min_date]
        if self.contract.row_id is None or self.contract.partition_key is None or not files:
            return {}
        with self._connect() as connection:
            pairs = connection.execute(statements.overlapping_query(self.table), _days_of(files)).fetchall()
            names = {name for name, _ in pairs}
            if not names:
                return {}
            days = [file.totals for file in files if file.version.name in names]
            first = min(totals.min_date for totals in days if totals.min_date)
            last = max(totals.max_date for totals in days if totals.max_date)
            first_key, last_key = key_bounds(self.contract, first, last)
            within = {
                "names": list(names),
                "others": list({other for _, other in pairs}),
                "first_key": first_key,
                "last_key": last_key,
            }
            shared = connection.execute(statements.shared_ids_query(self.table), within).fetchall()
            sharing = list({name for name, *_ in shared})
            ids = dict(connection.execute(statements.count_ids_query(self.table), [sharing]).fetchall())
        return {name: SharedIds.of_rows([row[1:] for row in shared if row[0] == name], ids[name]) for name in sharing}

    def inexact_columns(self) -> list[str]:
        """Return the columns of decimals that the table stores as binary floating-point numbers."""
        with self._connect() as connection:
            return catalog.read(connection, self.table).inexact(self.table)

    def read_rows(self, names: Sequence[str]) -> pa.Table:
        """Return the rows of the files in `names`."""
        columns = list(self.table.columns)
        with self._connect() as connection:
            rows = connection.execute(statements.rows_query(self.table), [list(names)]).fetchall()
        if not rows:
            # A file may have none, and readers still need the columns.
            return make_schema(self.contract.table_columns).empty_table()
        return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])

    def erase(self, request: ErasureRequest) -> int:
        """Delete the rows of the person in `request`, one file per transaction, and correct the ledger."""
        with self._connect(needs=statements.erasure_grants) as connection:
            # Even before the first load, so that a run that is about to load finds the request.
            inexact = self._prepare(connection).inexact(self.table)
            connection.commit()
            return postgres_erasure.erase(connection, self.table, request, is_exact=not inexact)

    def count_erased_rows(self, request: ErasureRequest) -> int:
        """Return how many rows of the person in `request` the table has."""
        with self._connect() as connection:
            if catalog.read(connection, self.table).data is None:
                return 0
            return postgres_erasure.count(connection, self.table, request)

    def finished_erasures(self) -> frozenset[int] | None:
        """Return the numbers of the requests that the table of erasures has as finished."""
        with self._connect() as connection:
            if catalog.read(connection, self.table).data is None:
                return None
            return postgres_erasure.finished(connection, self.table)

    def address(self, version: FileVersion) -> str:  # noqa: ARG002 - GCS has one object per file
        """Return the name of the table, as psql takes it."""
        return str(self.table)

    def is_transient(self, error: Exception) -> bool:
        """Return whether the connection was lost, another transaction interfered, or the server is restarting."""
        return isinstance(error, psycopg.Error) and errors.is_transient(error)

    def explain(self, error: Exception) -> str:
        """Return what is wrong and what to do, without the row values that an error may quote."""
        if isinstance(error, psycopg.Error):
            return errors.explain(error, self.table)
        return f"PostgreSQL table {self.table} cannot be loaded: {type(error).__name__}, see the log of the run."

    @contextmanager
    def _connect(
        self, needs: Callable[[Table, str], list[sql.Composed]] = statements.grants
    ) -> Iterator[psycopg.Connection[Any]]:
        with self.clients.postgres() as connection:
            try:
                yield connection
            except psycopg.errors.InsufficientPrivilege as error:
                raise StoreError(
                    errors.explain_denial(error, self.table, needs(self.table, connection.info.user))
                ) from error

    def _prepare(self, connection: psycopg.Connection[Any]) -> catalog.Catalog:
        """Create what is missing and return the earlier catalog. If nothing is missing, run no DDL and take no lock."""
        found = self._inspect(connection)
        if not catalog.missing(found, self.table):
            return found
        # If two sessions run CREATE ... IF NOT EXISTS at the same time, one of them fails.
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [str(self.table)])
        found = self._inspect(connection)
        missing = catalog.missing(found, self.table)
        try:
            for statement in missing:
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            role = connection.info.user
            raise StoreError(errors.explain_missing(error, self.table, role, missing)) from error
        return found

    def _inspect(self, connection: psycopg.Connection[Any]) -> catalog.Catalog:
        found = catalog.read(connection, self.table)
        if faults := catalog.faults(found, self.table):
            raise StoreError(catalog.sentence(faults, self.table))
        return found

    def _replace(
        self,
        connection: psycopg.Connection[Any],
        file: HashedFile,
        run_id: str,
        *,
        inexact: Collection[str],
        known: int,
    ) -> Action:
        """Replace `file` in a transaction; it has no person of the erasure requests up to the number `known`."""
        started = time.monotonic()
        name = file.version.name
        file = self.as_held(file, inexact=inexact)
        incoming = file.load_record(run_id)
        # Fetch the rows before the transaction begins, so that it does not sit idle.
        path, rejects = self.run_files.hashed_rows(file), self.run_files.rejects(file)
        with connection.transaction():
            # Loads of the same file take turns; other files are not affected. The lock ends with the transaction.
            lock = statements.lock_name(self.table, name)
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
            if file.totals.rows >= statements.PARALLEL_ROWS:
                connection.execute(statements.PLAN_PARALLEL)
            held = self._held(connection, [name]).get(name)
            in_store = None
            if held and held.same_content(incoming):
                in_store = self._totals(connection, [name], is_exact=not inexact).get(name, NOTHING.totals)
            live = self.live_generation(file.version, held.file.generation if held else None)
            action = decide(incoming, held, in_store, live=live)
            if action is Action.LOAD:
                # Delete even if the file is not in the ledger: the ledger may have been lost while the rows survived.
                connection.execute(statements.delete_statement(self.table), [name])
                self._copy(connection, file, path)
                self._verify(connection, file, inexact=inexact)
                if postgres_erasure.newest_number(connection, self.table) > known:
                    self.refuse_erased([file])
            progress.say("committing")
            if is_news(incoming, held, action):
                if held and held.file.generation > file.version.generation:
                    # The live version may have a smaller generation, so forget the larger ones:
                    # the largest in the ledger counts as the version that the store holds.
                    connection.execute(statements.forget_statement(self.table), [name, file.version.generation])
                if rejects and notes_rejects(incoming, held):
                    with connection.cursor().copy(statements.copy_rejects_statement(self.table)) as copy:
                        for piece in pieces(read_rejects(rejects, run_id), order_by=None):
                            copy.write(piece)
                noted = incoming.replacing(held).timed(time.monotonic() - started)
                connection.execute(statements.note_statement(self.table), noted.to_row())
        return action

    def _copy(self, connection: psycopg.Connection[Any], file: HashedFile, path: Path) -> None:
        progress.say("copying the rows")
        with connection.cursor() as cursor:
            rows = hashed_rows.read([path], self.contract)
            with cursor.copy(statements.copy_statement(self.table)) as copy:
                for piece in pieces(progress.counted(rows), order_by=self.contract.partition_key):
                    copy.write(piece)
            if cursor.rowcount != file.totals.rows:
                message = (
                    f"PostgreSQL table {self.table} accepted {cursor.rowcount} of the {file.totals.rows} rows of "
                    f"{file.version}: a trigger on the table drops rows. Nothing was changed. Let its owner drop or "
                    "disable the trigger (psql lists it with \\d)."
                )
                raise StoreError(message)

    def _verify(self, connection: psycopg.Connection[Any], file: HashedFile, *, inexact: Collection[str]) -> None:
        """Compare every column of every row with the file before the commit.

        Raises:
            StoreError: something differs; the transaction is rolled back.
        """
        progress.say("comparing the rows")
        # Run deferred triggers now, before the comparison.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        name = file.version.name
        found = self._totals(connection, [name], is_exact=not inexact).get(name, NOTHING.totals)
        if differences := file.totals.differences(found, inexact=inexact):
            message = (
                f"PostgreSQL table {self.table} did not keep {file.version} as it was sent: "
                f"{describe(differences)}. Nothing was changed. A trigger or a rule on the table changes rows: let its "
                "owner drop or disable it (psql lists it with \\d)."
            )
            raise StoreError(message)

    def _held(
        self, connection: psycopg.Connection[Any], names: Sequence[str], found: catalog.Catalog | None = None
    ) -> dict[str, LoadRecord]:
        """Return the newest ledger row of each file; before a load, `found` says which columns the ledger has."""
        columns = list(self.table.ledger_columns) if found is None else self._known(found)
        if not columns:
            return {}
        rows = connection.execute(statements.held_query(self.table, columns), [list(names)]).fetchall()
        records = [LoadRecord.from_row(dict(zip(columns, row, strict=True))) for row in rows]
        return {record.file.name: record for record in records}

    def _known(self, found: catalog.Catalog) -> list[str]:
        """Return the columns of the ledger that are there; none before the first load."""
        there = found.ledger.columns if found.ledger else {}
        return [name for name in self.table.ledger_columns if name in there]

    def _totals(
        self,
        connection: psycopg.Connection[Any],
        names: Sequence[str],
        *,
        is_exact: bool,
        has_fingerprint: bool = True,
    ) -> dict[str, Totals]:
        of_one = len(names) == 1
        query = statements.totals_query(self.table, is_exact=is_exact, has_fingerprint=has_fingerprint, of_one=of_one)
        rows = connection.execute(query, names if of_one else [list(names)]).fetchall()
        return {name: Totals.of_row(totals, self.contract.summed) for name, *totals in rows}


def _days_of(files: Sequence[HashedFile]) -> dict[str, list[Any]]:
    """Return the parameters of `sql.overlapping_query`."""
    return {
        "names": [file.version.name for file in files],
        "first_days": [file.totals.min_date for file in files],
        "last_days": [file.totals.max_date for file in files],
        "key_ids": [file.key_id for file in files],
    }


def make_store(config: PipelineConfig, feed: Feed, clients: Clients, run_files: RunFiles) -> PostgresStore:
    """Return the PostgreSQL table of `feed`."""
    tables = {one: Table(config.data_warehouse.postgres.schema_, one) for one in (*feeds_of(config), feed)}
    return PostgresStore(clients=clients, run_files=run_files, table=tables[feed], neighbors=tuple(tables.values()))
