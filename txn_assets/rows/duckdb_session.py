"""DuckDB connections for work on whole columns, with bounded memory, a spill folder and no network access.

This module only sets up connections. Each query is in the module that needs it.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "320MB"
"""Memory limit that leaves room in 1 GiB for Python, Arrow's blocks and a client's buffers; DuckDB spills beyond it."""


def connect(folder: Path) -> "duckdb.DuckDBPyConnection":
    """Return a connection for the files in `folder` to an in-memory database that spills next to that folder."""
    return _database(folder.parent).cursor()


# Cached for the run, because creating a database takes longer than running the queries of a small file.
@functools.lru_cache(maxsize=1)
def _database(spill: Path) -> "duckdb.DuckDBPyConnection":
    # Not before the executor has frozen what is imported, see `defs/executor.py`.
    import duckdb  # noqa: PLC0415

    return duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(spill / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Each file is read only once or twice, and the cache would keep it in memory up to the limit.
            "enable_external_file_cache": False,
        }
    )
