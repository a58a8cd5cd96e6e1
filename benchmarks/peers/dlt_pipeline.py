"""dlt: a resource with Pydantic columns, rows that fail discarded, into PostgreSQL alone.

Its documentation's advice for speed: yield pages of rows, not single ones; normalise and load with several workers;
CSV as the loader format, which PostgreSQL takes with COPY. Telemetry is off. Nothing is hashed.
"""

import csv
import os
from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import Any

os.environ |= {  # dlt reads them at import
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


@dlt.resource(  # type: ignore[untyped-decorator]  # mypy runs where dlt is not installed
    name="transactions",
    columns=Transaction,
    schema_contract={"columns": "discard_row", "data_type": "discard_row"},
    write_disposition="append",
)
def transactions(path: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of the file, as text, a page at a time."""
    with Path(path).open(encoding="utf-8", newline="") as source:
        for page in batched(csv.DictReader(source), 10_000, strict=False):
            yield list(page)


def load(timer: Timer, *, path: str, dsn: str, schema: str, folder: str) -> None:
    """From the CSV file to one PostgreSQL table."""
    with timer():
        pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=postgres(dsn), dataset_name=schema)
        pipeline.run(transactions(path), loader_file_format="csv")
