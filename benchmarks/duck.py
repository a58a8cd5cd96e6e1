"""DuckDB for the benchmark's own files: with little memory, spilling where the benchmark keeps its files."""

from pathlib import Path

import duckdb


def spilling(folder: Path) -> duckdb.DuckDBPyConnection:
    """A connection that puts what its memory cannot hold into `folder`, not into the folder it was started in."""
    return duckdb.connect(config={"memory_limit": "512MB", "temp_directory": str(folder / "spill")})
