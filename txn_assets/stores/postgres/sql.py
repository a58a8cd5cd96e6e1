"""Build the statements of the PostgreSQL sink, with every identifier quoted and every value bound.

`store.py` decides when to issue each one, and `catalog.py` decides what a table lacks.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from psycopg import sql

from txn_assets.feeds.feed import Feed
from txn_assets.rows.contract import RowContract
from txn_assets.rows.fingerprint import POSTGRES, select_fingerprint, select_totals
from txn_assets.stores.ledger_columns import ledger_columns


@dataclass(frozen=True, slots=True)
class Table:
    """The data table of a feed, its ledger, and its table of rejects."""

    schema: str
    feed: Feed

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def name(self) -> str:
        """The name of the data table."""
        return self.feed.postgres_table

    @property
    def contract(self) -> RowContract:
        """What a row is."""
        return self.feed.contract

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the data table with their types."""
        return {name: kind.postgres for name, kind in self.contract.table_columns.items()}

    @property
    def ledger_columns(self) -> dict[str, str]:
        """The columns of the ledger with their types and constraints."""
        columns = {column.name: column.kind.postgres for column in ledger_columns(self.contract)}
        return columns | {"loaded_at": "timestamptz NOT NULL DEFAULT now()"}

    @property
    def data(self) -> sql.Identifier:
        """The identifier of the data table."""
        return sql.Identifier(self.schema, self.name)

    @property
    def ledger(self) -> sql.Identifier:
        """The identifier of the ledger."""
        return sql.Identifier(self.schema, self.ledger_name)

    @property
    def ledger_name(self) -> str:
        """The name of the ledger, `<table>_loads`."""
        return f"{self.name}_loads"

    @property
    def rejects(self) -> sql.Identifier:
        """The identifier of the table of rejects."""
        return sql.Identifier(self.schema, self.rejects_name)

    @property
    def rejects_name(self) -> str:
        """The name of the table of rejects, `<table>_rejects`."""
        return f"{self.name}_rejects"

    @property
    def erasures(self) -> sql.Identifier:
        """The identifier of the table of erasures, `<table>_erasures`."""
        return sql.Identifier(self.schema, f"{self.name}_erasures")


def lock_name(table: Table, name: str | None) -> str:
    """Return the name of the lock for changing the rows of the file `name`, or those that belong to no file."""
    return f"{table}/{name or ''}"


def create_schema(table: Table) -> sql.Composed:
    """Return the statement that creates the schema."""
    return sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(table.schema))


def create_data(table: Table) -> sql.Composed:
    """Return the statement that creates the data table."""
    columns = [_definition(name, kind) for name, kind in table.columns.items()]
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(table.data, sql.SQL(", ").join(columns))


def create_ledger(table: Table) -> sql.Composed:
    """Return the statement that creates the ledger."""
    columns = [_definition(name, kind) for name, kind in table.ledger_columns.items()]
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (source_file, generation))").format(
        table.ledger, sql.SQL(", ").join(columns)
    )


REJECTS_COLUMNS = {
    "source_file": "text NOT NULL",
    "generation": "bigint NOT NULL",
    "source_row": "bigint NOT NULL",
    "field": "text NOT NULL",
    "code": "text NOT NULL",
    "run_id": "text NOT NULL",
}
"""The columns of the table of rejects that a load fills, with their types and constraints."""


def create_rejects(table: Table) -> list[sql.Composed]:
    """Return the statements that create the table of rejects."""
    columns = REJECTS_COLUMNS | {"noted_at": "timestamp with time zone NOT NULL DEFAULT now()"}
    definitions = [_definition(name, kind) for name, kind in columns.items()]
    return [
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(table.rejects, sql.SQL(", ").join(definitions)),
        sql.SQL("CREATE INDEX ON {} (source_file)").format(table.rejects),
    ]


def create_erasures(table: Table) -> sql.Composed:
    """Return the statement that creates the table of erasures."""
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (request_id text PRIMARY KEY, number bigint NOT NULL, field text NOT NULL, "
        "digests jsonb NOT NULL, requested_at timestamptz NOT NULL, requested_by text NOT NULL, "
        "rows_removed bigint NOT NULL DEFAULT 0, finished_at timestamptz)"
    ).format(table.erasures)


def add_columns(table: sql.Identifier, columns: Mapping[str, str]) -> sql.Composed:
    """Return the statement that adds `columns` to `table`; the rows that are there get null, or the default."""
    additions = [sql.SQL("ADD COLUMN IF NOT EXISTS ") + _definition(name, kind) for name, kind in columns.items()]
    return sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(additions))


def allow_null(table: sql.Identifier, columns: Iterable[str]) -> sql.Composed:
    """Return the statement that lets `columns` of `table` be null."""
    changes = [sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(name)) for name in columns]
    return sql.SQL("ALTER TABLE {} {}").format(table, sql.SQL(", ").join(changes))


def create_index(table: Table, column: str) -> sql.Composed:
    """Return the statement that creates an index on `column` of the data table.

    PostgreSQL chooses a name that is free. With `<table>_<column>_idx`, the column `item_day` of the table `order` and
    the column `day` of the table `order_item` would have indexes of one name, and IF NOT EXISTS would skip the second.
    """
    return sql.SQL("CREATE INDEX ON {} ({})").format(table.data, sql.Identifier(column))


def change_type(table: Table, column: str, kind: str) -> sql.Composed:
    """Return the statement that changes `column` of the data table to `kind` and converts its values."""
    return sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE " + kind + " USING {}::" + kind).format(
        table.data, sql.Identifier(column), sql.Identifier(column)
    )


def grants(table: Table, role: str) -> list[sql.Composed]:
    """Return the statements that give `role` the rights that a load needs, and no more."""
    user = sql.Identifier(role)
    return [
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(table.schema), user),
        sql.SQL("GRANT SELECT, INSERT, DELETE ON {} TO {}").format(table.data, user),
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}").format(table.ledger, user),
        sql.SQL("GRANT INSERT ON {} TO {}").format(table.rejects, user),
        # The first erasure would create it, and each load after that reads it.
        create_erasures(table),
        sql.SQL("GRANT SELECT ON {} TO {}").format(table.erasures, user),
    ]


def erasure_grants(table: Table, role: str) -> list[sql.Composed]:
    """Return the statements that give `role` the rights that an erasure needs, and no more."""
    user = sql.Identifier(role)
    return [
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(table.schema), user),
        sql.SQL("GRANT SELECT, DELETE ON {} TO {}").format(table.data, user),
        sql.SQL("GRANT SELECT, UPDATE ON {} TO {}").format(table.ledger, user),
        create_erasures(table),
        sql.SQL("GRANT SELECT, INSERT, UPDATE ON {} TO {}").format(table.erasures, user),
    ]


def script(statements: Iterable[sql.Composed]) -> str:
    """Return `statements` as text to paste into psql."""
    return " ".join(f"{statement.as_string()};" for statement in statements)


def _definition(name: str, kind: str) -> sql.Composed:
    return sql.SQL("{} " + kind).format(sql.Identifier(name))


def held_query(table: Table, columns: Collection[str]) -> sql.Composed:
    """Return the query for `columns` of the newest ledger row of each file in a list; binds the list of names."""
    return sql.SQL(
        "SELECT DISTINCT ON (source_file) {} FROM {} WHERE source_file = ANY(%s) ORDER BY source_file, generation DESC"
    ).format(_identifiers(columns), table.ledger)


def recent_query(table: Table, columns: Collection[str]) -> sql.Composed:
    """Return the query for `columns` of the last rows of the ledger, newest first.

    Binds the name of a file twice, or null twice for all files, and how many rows.
    """
    return sql.SQL(
        "SELECT {} FROM {} WHERE %s::text IS NULL OR source_file = %s ORDER BY loaded_at DESC, source_file LIMIT %s"
    ).format(_identifiers(columns), table.ledger)


def versions_query(table: Table) -> sql.Composed:
    """Return the query for the newest version of each file in the ledger, with its rules, key and rows."""
    return sql.SQL(
        "SELECT DISTINCT ON (source_file) source_file, generation, rules_id, key_id, row_count FROM {} "
        "ORDER BY source_file, generation DESC"
    ).format(table.ledger)


def rows_query(table: Table) -> sql.Composed:
    """Return the query for the rows of the files in a list; binds the list of names."""
    return sql.SQL("SELECT {} FROM {} WHERE source_file = ANY(%s) ORDER BY source_file, source_row").format(
        _identifiers(table.columns), table.data
    )


def any_id_query(table: Table) -> sql.Composed:
    """Return the query for whether a row of a file has one of some ids; binds source_file and the list of ids."""
    return sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE source_file = %s AND {} = ANY(%s))").format(
        table.data, sql.Identifier(table.contract.row_id or "")
    )


def twins_query(table: Table) -> sql.Composed:
    """Return the query for other names of the bytes of some files; binds the lists names, sizes and crc32cs."""
    return sql.SQL(
        "SELECT file.name, other.source_file "
        "FROM unnest(%(names)s::text[], %(sizes)s::bigint[], %(crc32cs)s::text[]) AS file(name, size, crc32c) "
        "JOIN {} other USING (size, crc32c) WHERE other.source_file <> file.name AND other.row_count > 0 AND {} "
        "ORDER BY other.loaded_at, other.source_file"
    ).format(table.ledger, _is_newest(table))


def overlapping_query(table: Table) -> sql.Composed:
    """Return the query for each pair of a file in a list and another with rows on its days, hashed with the same key.

    Binds the lists names, first_days, last_days and key_ids.
    """
    return sql.SQL(
        "SELECT file.name, other.source_file "
        "FROM unnest(%(names)s::text[], %(first_days)s::date[], %(last_days)s::date[], %(key_ids)s::text[]) "
        "AS file(name, first_day, last_day, key_id) "
        "JOIN {} other ON other.min_date <= file.last_day AND other.max_date >= file.first_day "
        "AND other.key_id = file.key_id AND other.source_file <> file.name WHERE {}"
    ).format(table.ledger, _is_newest(table))


def _is_newest(table: Table) -> sql.Composed:
    return sql.SQL(
        "NOT EXISTS (SELECT FROM {} newer WHERE newer.source_file = other.source_file "
        "AND newer.generation > other.generation)"
    ).format(table.ledger)


def shared_ids_query(table: Table) -> sql.Composed:
    """Return the query for the number of row ids that files share with other files, within some partition keys.

    Binds the lists names and others, and first_key and last_key. A result without another file is for all of them.
    """
    row_id, key = (sql.Identifier(name or "") for name in (table.contract.row_id, table.contract.partition_key))
    return sql.SQL(
        "WITH ids AS (SELECT DISTINCT source_file, {id} AS id FROM {data} WHERE source_file = ANY(%(names)s)) "
        "SELECT ids.source_file, other.source_file, count(DISTINCT ids.id) FROM ids "
        "JOIN {data} other ON other.{id} = ids.id AND other.source_file <> ids.source_file "
        "WHERE other.source_file = ANY(%(others)s) AND other.{key} BETWEEN %(first_key)s AND %(last_key)s "
        "GROUP BY GROUPING SETS ((ids.source_file, other.source_file), (ids.source_file))"
    ).format(id=row_id, key=key, data=table.data)


def count_ids_query(table: Table) -> sql.Composed:
    """Return the query for the number of different row ids of each file in a list; binds the list of names."""
    return sql.SQL("SELECT source_file, count(DISTINCT {}) FROM {} WHERE source_file = ANY(%s) GROUP BY 1").format(
        sql.Identifier(table.contract.row_id or ""), table.data
    )


def totals_query(table: Table, *, is_exact: bool, has_fingerprint: bool = True, of_one: bool = False) -> sql.Composed:
    """Return the query for the totals of each file in a list, or `of_one` file; binds the list of names, or the name.

    With one name the planner knows that there is one group, so it sorts no rows. See `select_fingerprint` for
    `is_exact`. Without `has_fingerprint`, the fingerprint is null and the query takes an eighth of the time.
    """
    contract = table.contract
    fingerprint = select_fingerprint(POSTGRES, contract, is_exact=is_exact) if has_fingerprint else "NULL"
    totals = ", ".join([*select_totals(POSTGRES, contract), fingerprint])
    return sql.SQL("SELECT source_file, {} FROM {} WHERE source_file = {} GROUP BY source_file").format(
        sql.SQL(totals), table.data, sql.SQL("%s" if of_one else "ANY(%s)")
    )


PARALLEL_ROWS = 100_000
"""Rows from which the fingerprint takes longer than starting parallel workers, about a quarter of a second."""

PLAN_PARALLEL = sql.SQL(
    "SELECT set_config(name, '0', true) "
    "FROM unnest(ARRAY['parallel_setup_cost', 'parallel_tuple_cost', 'min_parallel_table_scan_size']) AS name"
)
"""Let the planner use parallel workers until the end of the transaction.

It knows nothing yet about rows that were just copied, and expects too few to be worth it. The server still decides how
many workers there are (`max_parallel_workers_per_gather`).
"""


def forget_statement(table: Table) -> sql.Composed:
    """Return the statement that deletes a file's ledger rows above a generation; binds source_file and generation."""
    return sql.SQL("DELETE FROM {} WHERE source_file = %s AND generation > %s").format(table.ledger)


def delete_statement(table: Table) -> sql.Composed:
    """Return the statement that deletes the rows of a file; binds source_file."""
    return sql.SQL("DELETE FROM {} WHERE source_file = %s").format(table.data)


def copy_statement(table: Table) -> sql.Composed:
    """Return the COPY statement for staged rows as text."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT text)").format(
        table.data, _identifiers(table.contract.staged_columns)
    )


def copy_rejects_statement(table: Table) -> sql.Composed:
    """Return the COPY statement for the rows of `rejects.read_rejects` as text."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT text)").format(table.rejects, _identifiers(REJECTS_COLUMNS))


def note_statement(table: Table) -> sql.Composed:
    """Return the statement that upserts the ledger row of a file version; binds the values of `LoadRecord.to_row`.

    `loaded_at` is the moment of the statement: `now()` would be the begin of the transaction.
    """
    names = [column.name for column in ledger_columns(table.contract)]
    updates = [
        sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name))
        for name in names
        if name not in ("source_file", "generation")
    ]
    return sql.SQL(
        "INSERT INTO {} ({}, loaded_at) VALUES ({}, clock_timestamp()) "
        "ON CONFLICT (source_file, generation) DO UPDATE SET {}, loaded_at = EXCLUDED.loaded_at"
    ).format(
        table.ledger,
        _identifiers(names),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
        sql.SQL(", ").join(updates),
    )


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
