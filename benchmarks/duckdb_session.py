"""DuckDB settings for the benchmark's own files: little memory, and a spill folder next to those files."""

from pathlib import Path

import duckdb


def spilling(folder: Path) -> duckdb.DuckDBPyConnection:
    """Return a connection that spills to `folder` instead of to the working directory."""
    return duckdb.connect(config={"memory_limit": "512MB", "temp_directory": str(folder / "spill")})
