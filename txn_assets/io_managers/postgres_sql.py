"""The statements of the PostgreSQL sink, with every identifier quoted and every value bound.

Builders only: when each is issued is decided in `postgres.py`.
"""

from dataclasses import dataclass

from psycopg import sql

from txn_assets.fingerprint import POSTGRES, select_fingerprint

COLUMNS = {
    "transaction_id": "text",
    "product": "text",
    "price": "numeric(18,4)",
    "quantity": "bigint",
    "date": "date",
    "source_file": "text",
    "source_row": "bigint",
}

LEDGER_COLUMNS = {
    "source_file": "text NOT NULL",
    "generation": "bigint NOT NULL",
    "size": "bigint NOT NULL",
    "crc32c": "text NOT NULL",
    "run_id": "text NOT NULL",
    "key_id": "text NOT NULL",
    "rules_id": "text NOT NULL",
    "row_count": "bigint NOT NULL",
    "sum_price": "numeric(38,4) NOT NULL",
    "sum_quantity": "numeric(38,0) NOT NULL",
    "min_date": "date",
    "max_date": "date",
    "fingerprint": "bigint NOT NULL",
    "loaded_at": "timestamptz NOT NULL DEFAULT now()",
}

BINARY_FLOATS = ("real", "double precision")


@dataclass(frozen=True, slots=True)
class Table:
    """The data table and its ledger beside it."""

    schema: str
    name: str

    @property
    def data(self) -> sql.Identifier:
        """The data table."""
        return sql.Identifier(self.schema, self.name)

    @property
    def ledger(self) -> sql.Identifier:
        """The ledger, `<table>_loads`."""
        return sql.Identifier(self.schema, f"{self.name}_loads")

    def index(self, column: str) -> sql.Identifier:
        """The index on `column`; PostgreSQL puts it into the schema of the table."""
        return sql.Identifier(f"{self.name}_{column}_idx")


def create_statements(table: Table) -> list[sql.Composed]:
    """Makes both tables, or adds to a table of the original pipeline what it lacks; harmless when run again."""
    columns = [sql.SQL("{} " + kind).format(sql.Identifier(name)) for name, kind in COLUMNS.items()]
    ledger = [sql.SQL("{} " + kind).format(sql.Identifier(name)) for name, kind in LEDGER_COLUMNS.items()]
    return [
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(table.schema)),
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(table.data, sql.SQL(", ").join(columns)),
        sql.SQL(
            "ALTER TABLE {} ADD COLUMN IF NOT EXISTS source_file text, ADD COLUMN IF NOT EXISTS source_row bigint"
        ).format(table.data),
        sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (source_file)").format(table.index("source_file"), table.data),
        sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (date)").format(table.index("date"), table.data),
        sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (source_file, generation))").format(
            table.ledger, sql.SQL(", ").join(ledger)
        ),
    ]


def held_query(table: Table) -> sql.Composed:
    """The newest ledger row of each of some files; binds their names."""
    return sql.SQL(
        "SELECT DISTINCT ON (source_file) source_file, generation, size, crc32c, run_id, key_id, rules_id, "
        "row_count, sum_price, sum_quantity, min_date, max_date, fingerprint, loaded_at FROM {} "
        "WHERE source_file = ANY(%s) ORDER BY source_file, generation DESC"
    ).format(table.ledger)


def generations_query(table: Table) -> sql.Composed:
    """The newest generation of each file in the ledger."""
    return sql.SQL("SELECT source_file, max(generation) FROM {} GROUP BY source_file").format(table.ledger)


def totals_query(table: Table, *, is_exact: bool) -> sql.Composed:
    """Return the totals of each of some files; binds their names. See `select_fingerprint` for `is_exact`."""
    fingerprint = select_fingerprint(POSTGRES, is_exact=is_exact)
    return sql.SQL(
        "SELECT source_file, count(*), sum(price), sum(quantity), min(date), max(date), {} FROM {} "
        "WHERE source_file = ANY(%s) GROUP BY source_file"
    ).format(sql.SQL(fingerprint), table.data)


def forget_statement(table: Table) -> sql.Composed:
    """Remove the ledger rows of a file above a generation; binds source_file and generation."""
    return sql.SQL("DELETE FROM {} WHERE source_file = %s AND generation > %s").format(table.ledger)


def delete_statement(table: Table) -> sql.Composed:
    """Removes the rows of a file; binds source_file."""
    return sql.SQL("DELETE FROM {} WHERE source_file = %s").format(table.data)


def copy_statement(table: Table) -> sql.Composed:
    """Takes rows as text, `hashed_rows.COLUMNS`."""
    from txn_assets.hashed_rows import COLUMNS as STAGED_COLUMNS  # noqa: PLC0415 - Arrow loads with the first file

    names = sql.SQL(", ").join(map(sql.Identifier, STAGED_COLUMNS))
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT text)").format(table.data, names)


def note_statement(table: Table) -> sql.Composed:
    """Writes a ledger row, over that of an earlier load of the same version; binds the columns but loaded_at."""
    names = [name for name in LEDGER_COLUMNS if name != "loaded_at"]
    updates = [
        sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name))
        for name in names
        if name not in ("source_file", "generation")
    ]
    return sql.SQL(
        "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (source_file, generation) DO UPDATE SET {}, loaded_at = now()"
    ).format(
        table.ledger,
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(sql.Placeholder() * len(names)),
        sql.SQL(", ").join(updates),
    )
