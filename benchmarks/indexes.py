"""Measure what the indexes of the PostgreSQL table cost: `python -m benchmarks.indexes [--rows 50m] [--rounds 3]`.

On one table, the sets of indexes take turns: each is created, loads a file, replaces it twice and is read. The rows
that are there before come from SQL; what is timed are loads of the platform and queries. docs/performance.md, 'Which
indexes', has the output.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.bench import Bench, TooLargeError, open_bench
from benchmarks.child import Timer
from benchmarks.duckdb_session import spilling
from benchmarks.measure import ChildError, function
from benchmarks.results import say

SIZES = {"1m": 1_000_000, "5m": 5_000_000, "10m": 10_000_000, "50m": 50_000_000}
"""Rows that the table has before the loads; always measured with the smallest, too."""
LOADED = {"large.csv": 1_000_000, "small.csv": 1_000}
"""Rows of the files that are loaded."""
DAY_ROWS = 100_000
"""Rows of each file that is there before. Each is the file of a day."""
LATE_DAYS = 8
"""How many days back late rows reach; one row in twenty is late."""

_BTREE = "CREATE INDEX ON {table} ({column})"
_BLOOM = "CREATE INDEX ON {table} USING brin ({column} text_bloom_ops) WITH (autosummarize = on)"
_MINMAX = "CREATE INDEX ON {table} USING brin ({column} date_minmax_multi_ops) WITH (autosummarize = on)"
INDEXES = {
    "btree, btree": (_BTREE, _BTREE),
    "btree, BRIN": (_BTREE, _MINMAX),
    "BRIN, btree": (_BLOOM, _BTREE),
    "BRIN, BRIN": (_BLOOM, _MINMAX),
}
"""The index on source_file and the index on date."""


def main() -> int:
    """Run the benchmark and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.indexes", description="Measures what the indexes in PostgreSQL cost."
    )
    parser.add_argument("--rows", choices=SIZES, default="50m", help="rows in the table before the loads")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        with open_bench(SIZES[arguments.rows], rounds=arguments.rounds) as bench, bench.names() as (config, postgres):
            bench.help("benchmarks.indexes:write_files", folder=str(bench.home), first_day=bench.rows // DAY_ROWS)
            measure(bench, config, postgres)
    except TooLargeError as error:
        parser.error(str(error))
    except ChildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def write_files(_: Timer, *, folder: str, first_day: int) -> None:
    """Write the hashed rows of the files to load: those of `first_day`, and late ones."""
    for name, rows in LOADED.items():
        query = f"""
            SELECT '{name}' AS source_file, i + 1 AS source_row, sha256(i::VARCHAR) AS transaction_id,
                'Halal ' || list_value('Laptop', 'Mouse', 'Cable')[i % 3 + 1] AS product,
                (1 + i % 999 + 0.25)::DECIMAL(18, 4) AS price, 1 + i % 99 AS quantity,
                DATE '2020-01-01' + ({first_day} - if(i % 20 = 0, i // 20 % {LATE_DAYS}, 0))::INTEGER AS date
            FROM range({rows}) AS numbers(i)"""
        with spilling(Path(folder)) as connection:
            connection.execute(f"COPY ({query}) TO '{Path(folder) / name}.parquet' (FORMAT parquet)")


def measure(bench: Bench, config: str, postgres: dict[str, str]) -> None:
    """Fill the table with a million rows, then with all, and print what each set of indexes needs."""
    with psycopg.connect(postgres["dsn"], autocommit=True) as connection:
        table = Loaded(connection, sql.Identifier(postgres["schema"], "transactions"), postgres["schema"])
        # So that no vacuum of the server's falls into one measurement and not into another.
        table.run("ALTER TABLE {table} SET (autovacuum_enabled = off)")
        table.drop_indexes()
        for rows in sorted({min(SIZES.values()), bench.rows}):
            table.fill(rows)
            taken: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in INDEXES}
            for number in range(bench.rounds):
                order = list(INDEXES) if number % 2 == 0 else list(reversed(INDEXES))
                for name in order:
                    say(f"{rows:,} rows, {name} ...")
                    _round(bench, config, table, INDEXES[name], taken[name])
            _print(rows, taken)


class Loaded:
    """The data table, without indexes of its own.

    Attributes:
        rows: how many rows it has before a file is loaded.
    """

    def __init__(self, connection: "psycopg.Connection[Any]", table: sql.Identifier, schema: str) -> None:
        self.connection, self.table, self.schema, self.rows = connection, table, schema, 0

    def run(self, statement: str, *parameters: Any, column: str = "") -> "psycopg.Cursor[Any]":
        """Run a statement; {table} is the table and {column} a column."""
        names = {"table": self.table, "column": sql.Identifier(column)}
        return self.connection.execute(sql.SQL(statement).format(**names), parameters or None)

    def fill(self, rows: int) -> None:
        """Add the files of days until the table has `rows` rows."""
        self.run(
            f"""
            INSERT INTO {{table}}
                (transaction_id, product, price, quantity, date, source_file, source_row)
            SELECT encode(sha256(i::text::bytea), 'hex'), 'Halal ' || (ARRAY['Laptop', 'Mouse', 'Cable'])[i % 3 + 1],
                1 + i % 999 + 0.25, 1 + i % 99,
                DATE '2020-01-01' + (i / {DAY_ROWS} - CASE i % 20 WHEN 0 THEN i / 20 % {LATE_DAYS} ELSE 0 END)::integer,
                'day-' || lpad((i / {DAY_ROWS})::text, 6, '0') || '.csv', i % {DAY_ROWS} + 1
            FROM generate_series({self.rows}::bigint, {rows - 1}::bigint) AS i"""
        )
        self.rows = rows
        self.run("VACUUM (ANALYZE) {table}")

    def drop_indexes(self) -> None:
        """Drop all indexes of the table."""
        found = self.connection.execute(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s::regclass",
            [self.table.as_string(self.connection)],
        )
        for (name,) in found.fetchall():
            self.connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(self.schema, name)))

    def forget(self) -> None:
        """Remove the loaded files and the indexes, and give the space back."""
        self.run("DELETE FROM {table} WHERE source_file = ANY(%s)", list(LOADED))
        self.connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(self.schema, "transactions_loads")))
        self.drop_indexes()
        self.run("VACUUM {table}")


def _round(
    bench: Bench, config: str, table: Loaded, statements: tuple[str, str], taken: dict[str, list[float]]
) -> None:
    for statement, column in zip(statements, ("source_file", "date"), strict=True):
        table.run(statement, column=column)
    size = table.run("SELECT pg_indexes_size(%s::regclass)", table.table.as_string(table.connection)).fetchone()
    assert size
    taken["indexes, MB"].append(size[0] / 1_000_000)

    def load(name: str, generation: int) -> float:
        table.connection.execute("CHECKPOINT")
        parquet = str(bench.home / f"{name}.parquet")
        keywords = {"config": config, "kind": "postgres", "parquet": parquet, "source_file": name}
        return function("benchmarks.ours:sink", generation=generation, **keywords).seconds

    taken["load 1,000 rows, s"].append(load("small.csv", 1))
    taken["load, s"].append(load("large.csv", 1))
    # A BRIN index has no summary of the pages that the load has just added.
    taken["replace at once, s"].append(load("large.csv", 2))
    # Now it has, and the pages of the replaced rows are free to be used again.
    table.run("VACUUM (TRUNCATE off) {table}")
    taken["replace after vacuum, s"].append(load("large.csv", 3))
    day = table.rows // DAY_ROWS // 2
    taken["read a file, ms"].append(_milliseconds(table, "source_file = %s", f"day-{day:06}.csv"))
    taken["read a day, ms"].append(_milliseconds(table, "date = DATE '2020-01-01' + %s::integer", day))
    table.forget()


def _milliseconds(table: Loaded, condition: str, value: Any) -> float:
    def read() -> float:
        started = time.perf_counter()
        table.run(
            f"SELECT product, sum(price * quantity) FROM {{table}} WHERE {condition} GROUP BY 1", value
        ).fetchall()
        return (time.perf_counter() - started) * 1000

    return median(read() for _ in range(5))


def _print(rows: int, taken: dict[str, dict[str, list[float]]]) -> None:
    columns = list(next(iter(taken.values())))
    say(f"\n| {rows:,} rows; on source_file, on date | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    show: dict[str, Callable[[float], str]] = {
        column: "{:.2f}".format if column.endswith(", s") else "{:,.0f}".format for column in columns
    }
    for name, measured in taken.items():
        say(f"| {name} | {' | '.join(show[column](median(measured[column])) for column in columns)} |")
    say("")


if __name__ == "__main__":
    sys.exit(main())
