"""The PostgreSQL sink: one table that holds exactly the rows of the newest loaded version of each file.

Here belong the transaction that replaces a file, and what each fault means. When to load, keep or stand
back is `ledger.decide`. Documented in docs/reliability.md.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql
from pydantic import Field

from txn_assets.io_managers import postgres_sql as statements
from txn_assets.io_managers.postgres_sql import BINARY_FLOATS, COLUMNS, Table
from txn_assets.io_managers.sink import SinkIOManager
from txn_assets.ledger import NOTHING, Action, FileVersion, Holding, LoadRecord, Totals, decide

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

    from txn_assets.staged import HashedFile

_PASSING_STATES = ("08", "40001", "40P01", "53300", "55P03", "57P")
"""SQLSTATE: lost connection, serialisation failure, deadlock, too many connections, lock not to be had, shutdown."""

_REMEDIES = {
    "28": "Check the user in data_warehouse.postgres and the password in TXN_PG_PASSWORD.",
    "3D000": "Create the database, or correct data_warehouse.postgres.dbname.",
    "3F000": "Create the schema, or correct data_warehouse.postgres.schema.",
    "42501": "Grant the user of data_warehouse.postgres the rights on the table.",
    "53100": "Free disk space on the server and run this again.",
    "22003": "The column is too small for the value: give the table the types of the documentation.",
    "42804": "The table has columns of other types: give it the types of the documentation.",
    "22P02": "The table has columns of other types: give it the types of the documentation.",
    "42703": "The table lacks a column: give it the columns of the documentation.",
}
_CONNECT_REMEDIES = {
    "password authentication failed": _REMEDIES["28"],
    "does not exist": "Check dbname and user in data_warehouse.postgres.",
    "no pg_hba.conf entry": "Let the server accept this host, user and database with TLS.",
    "certificate": "Check sslmode in data_warehouse.postgres and the root certificate (PGSSLROOTCERT).",
    "could not translate host name": "Check data_warehouse.postgres.host.",
}
_REFUSALS = re.compile("|".join(_CONNECT_REMEDIES))


class PostgresIOManager(SinkIOManager):
    """Makes the PostgreSQL table equal to a file, and loads a file's rows from it."""

    schema_name: str = Field(description="The schema of the table.")
    table: str = Field(description="The table; its ledger is <table>_loads beside it.")

    @property
    def _table(self) -> Table:
        return Table(self.schema_name, self.table)

    def load(self, files: Sequence["HashedFile"], run_id: str) -> dict[str, Action]:
        """Replaces each file in a transaction of its own."""
        with self.stores.postgres() as connection:
            self._prepare(connection)
            connection.commit()
            is_exact = not self.inexact_columns()
            return {file.version.name: self._replace(connection, file, run_id, is_exact=is_exact) for file in files}

    def holdings(self, files: Sequence["HashedFile"]) -> dict[str, Holding]:
        """From ledger and table."""
        names = [file.version.name for file in files]
        is_exact = not self.inexact_columns()
        with self.stores.postgres() as connection:
            held, totals = self._held(connection, names), self._totals(connection, names, is_exact=is_exact)
        return {
            name: Holding(held[name].file.generation, totals.get(name, NOTHING.totals)) if name in held else NOTHING
            for name in names
        }

    def held_generations(self) -> dict[str, int]:
        """From the ledger; empty before the first load."""
        with self.stores.postgres() as connection:
            self._prepare(connection)
            return dict(connection.execute(statements.generations_query(self._table)).fetchall())

    def held(self, name: str) -> LoadRecord | None:
        """Return the newest ledger row of the file `name`; None before its first load."""
        with self.stores.postgres() as connection:
            self._prepare(connection)
            return self._held(connection, [name]).get(name)

    def holds_any(self, name: str, ids: Sequence[str]) -> bool:
        """Whether a row of the file `name` has one of `ids`."""
        query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE source_file = %s AND transaction_id = ANY(%s))").format(
            self._table.data
        )
        with self.stores.postgres() as connection:
            row = connection.execute(query, [name, list(ids)]).fetchone()
        return bool(row and row[0])

    def inexact_columns(self) -> list[str]:
        """`price`, where the table was made with a binary floating-point column."""
        with self.stores.postgres() as connection:
            row = connection.execute(
                "SELECT data_type FROM information_schema.columns "
                "WHERE table_schema = %s AND table_name = %s AND column_name = 'price'",
                [self.schema_name, self.table],
            ).fetchone()
        return ["price"] if row and row[0] in BINARY_FLOATS else []

    def read_rows(self, names: Sequence[str]) -> "pa.Table":
        """The rows of the files that `names` names."""
        import pyarrow as pa  # noqa: PLC0415 - only a consumer of the table needs it

        columns = list(COLUMNS)
        with self.stores.postgres() as connection:
            query = sql.SQL("SELECT {} FROM {} WHERE source_file = ANY(%s) ORDER BY source_file, source_row").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), self._table.data
            )
            rows = connection.execute(query, [list(names)]).fetchall()
        return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])

    def address(self, file: "HashedFile") -> str:  # noqa: ARG002 - other stores keep files apart
        """The table, as psql names it."""
        return f"{self.schema_name}.{self.table}"

    def is_passing(self, error: Exception) -> bool:
        """A lost or refused connection, a conflict with another transaction, a server that restarts."""
        import psycopg  # noqa: PLC0415 - see resources.py

        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate:
            return error.sqlstate.startswith(_PASSING_STATES)
        # At connect time libpq gives no SQLSTATE.
        return isinstance(error, psycopg.OperationalError) and not _REFUSALS.search(str(error))

    def explain(self, error: Exception) -> str:
        """What is wrong and what to do, without the rows that an error may quote."""
        import psycopg  # noqa: PLC0415 - see resources.py

        if not isinstance(error, psycopg.Error):
            return f"PostgreSQL cannot be loaded: {type(error).__name__}."
        primary = error.diag.message_primary or (str(error).strip().splitlines() or [type(error).__name__])[-1]
        remedy = next((text for state, text in _REMEDIES.items() if (error.sqlstate or "").startswith(state)), "")
        if not error.sqlstate and (refusal := _REFUSALS.search(str(error))):
            remedy = _CONNECT_REMEDIES[refusal[0]]
        return f"PostgreSQL table {self.schema_name}.{self.table} cannot be loaded: {primary}. {remedy}".strip()

    def _prepare(self, connection: "psycopg.Connection[Any]") -> None:
        exists = connection.execute("SELECT to_regclass(%s)", [f'"{self.schema_name}"."{self.table}_loads"']).fetchone()
        if exists and exists[0]:
            # The ledger is made last: with it, all is there. Asking again would lock the table against its readers.
            return
        # CREATE ... IF NOT EXISTS of two sessions at once fails in one of them.
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [f"{self.schema_name}.{self.table}"]
        )
        for statement in statements.create_statements(self._table):
            connection.execute(statement)

    def _replace(
        self, connection: "psycopg.Connection[Any]", file: "HashedFile", run_id: str, *, is_exact: bool
    ) -> Action:
        name = file.version.name
        file = self.as_held(file, is_exact=is_exact)
        incoming = file.load_record(run_id)
        # Fetched before the transaction begins, which must not idle.
        path = self.workspace.hashed_rows(file)
        with connection.transaction():
            # Two loads of one file take turns; loads of other files go on. It ends with the transaction.
            lock = f"{self.schema_name}.{self.table}/{name}"
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
            held = self._held(connection, [name]).get(name)
            in_store = None
            if held and held.same_content(incoming):
                in_store = self._totals(connection, [name], is_exact=is_exact).get(name)
            live = self.live_generation(file.version, held.file.generation if held else None)
            action = decide(incoming, held, in_store, live=live)
            if action is Action.LOAD:
                if held is not None:
                    connection.execute(statements.delete_statement(self._table), [name])
                self._copy(connection, file, path)
            if action is not Action.STAND_BACK:
                # A live version may have a smaller generation; the newest in the ledger is the one that is held.
                connection.execute(statements.forget_statement(self._table), [name, file.version.generation])
                connection.execute(statements.note_statement(self._table), _ledger_row(incoming))
        return action

    def _copy(self, connection: "psycopg.Connection[Any]", file: "HashedFile", path: Path) -> None:
        from txn_assets import hashed_rows  # noqa: PLC0415 - Arrow loads with the first file
        from txn_assets.io_managers.postgres_copy import pieces  # noqa: PLC0415 - likewise

        with connection.cursor() as cursor:
            with cursor.copy(statements.copy_statement(self._table)) as copy:
                for piece in pieces(hashed_rows.read([path])):
                    copy.write(piece)
            if cursor.rowcount != file.totals.rows:
                message = f"{cursor.rowcount} of {file.totals.rows} rows of {file.version} were copied"
                raise RuntimeError(message)

    def _held(self, connection: "psycopg.Connection[Any]", names: Sequence[str]) -> dict[str, LoadRecord]:
        rows = connection.execute(statements.held_query(self._table), [list(names)]).fetchall()
        return {row[0]: record_from_row(row) for row in rows}

    def _totals(
        self, connection: "psycopg.Connection[Any]", names: Sequence[str], *, is_exact: bool
    ) -> dict[str, Totals]:
        rows = connection.execute(statements.totals_query(self._table, is_exact=is_exact), [list(names)]).fetchall()
        return {name: Totals.of_row(tuple(totals)) for name, *totals in rows}


def record_from_row(row: Sequence[Any]) -> LoadRecord:
    """The ledger row that `held_query` selects."""
    name, generation, size, crc32c, run_id, key_id, rules_id, *totals, loaded_at = row
    version = FileVersion(name, generation, size, crc32c)
    return LoadRecord(version, run_id, key_id, rules_id, Totals.of_row(tuple(totals)), loaded_at)


def _ledger_row(record: LoadRecord) -> tuple[Any, ...]:
    version, totals = record.file, record.totals
    return (
        *(version.name, version.generation, version.size, version.crc32c),
        *(record.run_id, record.key_id, record.rules_id),
        *(totals.rows, totals.price, totals.quantity, totals.min_date, totals.max_date, totals.fingerprint),
    )
