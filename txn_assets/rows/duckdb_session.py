"""DuckDB as the engine for whole columns: in bounded memory, spilling to a folder, and never on the network.

Here belongs how a connection is set up. Queries stand with the concept they serve.
"""

import functools
from pathlib import Path

import duckdb

MEMORY_LIMIT = "320MB"
"""Leaves room in 1 GiB for Python, Arrow's blocks and a client's buffers; what does not fit is spilled."""


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """A connection for the files in `folder`, to a database in memory that spills beside that folder."""
    return _database(folder.parent).cursor()


# Of the run alone: a database takes longer to make than the queries of a small file to run.
@functools.lru_cache(maxsize=1)
def _database(spill: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(spill / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Each file is read once or twice; the cache would keep it in memory, up to the limit.
            "enable_external_file_cache": False,
        }
    )
