"""DuckDB alone: its PostgreSQL extension replaces the file's rows in our own table, in one transaction.

It runs in `.venv-bench-duckdb`, which has the extension and the DuckDB that it fits, and nothing else of this project.
The extension sends rows as binary COPY, its default. `postgres_execute` deletes on the server, as its documentation
advises; a DELETE in DuckDB would fetch the rows' addresses first.
"""

import sysconfig
from pathlib import Path

import duckdb

from benchmarks.child import Timer
from benchmarks.duckdb_session import spilling
from benchmarks.peers.duckdb_rows import ROWS
from benchmarks.peers.promise import Promise

PROMISE = Promise(
    "DuckDB's PostgreSQL extension",
    bad_rows="dropped",
    ids="SHA-256",
    crash="the earlier rows",
    repeat="the same rows",
    race="rows twice, or an error",
    proof="nothing",
)


def load(timer: Timer, *, path: str, dsn: str, schema: str, folder: str) -> None:
    """Replace the rows of the CSV file in the PostgreSQL table `transactions` of `schema`; spill to `folder`."""
    with timer(), spilling(Path(folder)) as connection:
        connection.execute(f"LOAD '{_extension()}'")
        connection.execute(f"ATTACH '{dsn}' AS target (TYPE postgres, SCHEMA '{schema}')")
        connection.execute("BEGIN")
        delete = f"DELETE FROM {schema}.transactions WHERE source_file = 'bench.csv'"
        connection.execute("CALL postgres_execute('target', ?)", [delete])
        connection.execute(f"INSERT INTO target.{schema}.transactions BY NAME {ROWS.format(path=path)}")
        connection.execute("COMMIT")


def _extension() -> Path:
    """Return the extension in its wheel; INSTALL would copy it into the home folder."""
    folder = Path(sysconfig.get_path("purelib")) / "duckdb_extension_postgres_scanner" / "extensions"
    return folder / f"v{duckdb.__version__}" / "postgres_scanner.duckdb_extension"
