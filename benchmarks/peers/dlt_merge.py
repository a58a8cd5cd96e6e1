"""dlt with a promise close to ours: Arrow tables, a staging table, and a merge that replaces the file's rows.

DuckDB reads, casts and hashes. The rest follows dlt's documentation: Arrow tables go to PostgreSQL as Parquet over
ADBC, and `delete-insert` with a merge key deletes and inserts in one transaction. Telemetry is off.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "CRITICAL"}  # dlt reads these at import

import dlt
from dlt.destinations import postgres

from benchmarks.child import Timer
from benchmarks.duckdb_session import spilling
from benchmarks.peers.duckdb_rows import ROWS
from benchmarks.peers.promise import Promise

PROMISE = Promise(
    "dlt merging Arrow tables",
    bad_rows="dropped",
    ids="SHA-256",
    crash="the earlier rows",
    repeat="the same rows",
    race="rows twice or more",
    proof="nothing",
)


@dlt.resource(  # type: ignore[untyped-decorator]  # mypy runs without dlt installed
    name="transactions",
    write_disposition={"disposition": "merge", "strategy": "delete-insert"},
    merge_key="source_file",
)
def transactions(path: str, folder: str) -> Iterator[Any]:
    """Yield the valid rows of the file as Arrow record batches."""
    with spilling(Path(folder)) as connection:
        yield from connection.sql(ROWS.format(path=path)).to_arrow_reader(100_000)


def load(timer: Timer, *, path: str, dsn: str, schema: str, folder: str) -> None:
    """Replace the rows of the CSV file in one PostgreSQL table."""
    with timer():
        pipeline = dlt.pipeline("merge", pipelines_dir=folder, destination=postgres(dsn), dataset_name=schema)
        pipeline.run(transactions(path, folder), loader_file_format="parquet")
