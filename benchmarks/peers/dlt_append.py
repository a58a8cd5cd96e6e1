"""dlt as most people start with it: rows as dictionaries, Pydantic columns that discard invalid rows, appended.

It follows dlt's documented advice for speed: yield pages of rows instead of single rows, normalize and load with
several workers, and use CSV as the loader format so that PostgreSQL can COPY. Telemetry is off. Nothing is hashed.
"""

import csv
import os
from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import Any

os.environ |= {  # dlt reads these at import
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "NORMALIZE__WORKERS": "2",
    "LOAD__WORKERS": "2",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": "500000",
    "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": "500000",
}

import dlt
from dlt.destinations import postgres

from benchmarks.child import Timer
from benchmarks.peers.contract import Transaction
from benchmarks.peers.promise import Promise

PROMISE = Promise(
    "dlt appending rows",
    bad_rows="dropped",
    ids="clear text",
    crash="new rows, per file of 500,000",
    repeat="rows twice",
    race="rows twice",
    proof="nothing",
)


@dlt.resource(  # type: ignore[untyped-decorator]  # mypy runs without dlt installed
    name="transactions",
    columns=Transaction,
    schema_contract={"columns": "discard_row", "data_type": "discard_row"},
    write_disposition="append",
)
def transactions(path: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of the file as text, one page at a time."""
    with Path(path).open(encoding="utf-8", newline="") as source:
        for page in batched(csv.DictReader(source), 10_000, strict=False):
            yield list(page)


def load(timer: Timer, *, path: str, dsn: str, schema: str, folder: str) -> None:
    """Load the CSV file into one PostgreSQL table."""
    with timer():
        pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=postgres(dsn), dataset_name=schema)
        pipeline.run(transactions(path), loader_file_format="csv")
