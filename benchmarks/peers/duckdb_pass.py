"""One bare DuckDB pass over the file, written as Parquet."""

from pathlib import Path

from benchmarks.child import Timer
from benchmarks.duckdb_session import spilling
from benchmarks.peers.duckdb_rows import ROWS
from benchmarks.stores import Totals, parquet_totals, totals_of


def run(timer: Timer, *, path: str, folder: str) -> Totals:
    """Turn the CSV file into hashed.parquet in `folder`; return its totals."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    target = Path(folder) / "hashed.parquet"
    with timer(), spilling(Path(folder)) as connection:
        connection.execute(f"COPY ({ROWS.format(path=path)}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    return parquet_totals(target)


def totals(_: Timer, *, path: str) -> Totals:
    """Return the totals of the rows that `run` writes, without a file."""
    return totals_of(f"({ROWS.format(path=path)})")
