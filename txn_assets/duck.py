"""DuckDB as the engine for whole columns: in bounded memory, spilling to a folder, and never on the network.

Here belongs how a connection is set up. Queries stand with the concept they serve.
"""

from pathlib import Path

import duckdb

MEMORY_LIMIT = "320MB"
"""Leaves room in 1 GiB for Python, Arrow's blocks and a client's buffers; what does not fit is spilled."""


def connect(spill: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills into a folder below `spill`."""
    return duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(spill / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
