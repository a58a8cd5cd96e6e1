"""The log of invalid records: the first rejected rows of each file as lines of JSON, masked as in the quarantine.

`quarantine.py` writes all of them to the bucket. This file is for whoever loads a file on this machine and wants to see
at once what is wrong with it.
"""

import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from txn_assets.files.ledger import FileVersion
from txn_assets.files.log_files import LogFile
from txn_assets.files.shown import printable
from txn_assets.rows.quarantine import ADDED_COLUMNS

MAX_RECORDS = 1000
"""Maximum number of rejected rows of a file version in the log."""

MAX_CHARACTERS = 200
"""Maximum length of a field in the log."""

_BLOCK_BYTES = 4 << 20


def log_invalid_records(log: LogFile, version: FileVersion, rejected: Path, *, run_id: str) -> None:
    """Append the first rows of `rejected`, which `QuarantineWriter` wrote, to `log`.

    A log that cannot be written, or a first row that is longer than a block, does not fail the load.
    """
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
    known = {"time": now, "run_id": run_id, "file": version.name, "generation": str(version.generation)}
    with contextlib.suppress(OSError, pa.ArrowInvalid):
        lines = [printable(json.dumps(known | record, ensure_ascii=False)) for record in _first_records(rejected)]
        if lines:
            log.append("\n".join(lines) + "\n")


def _first_records(rejected: Path) -> Iterator[dict[str, Any]]:
    with rejected.open(encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split(",")
    with pyarrow.csv.open_csv(
        rejected,
        pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        pyarrow.csv.ParseOptions(newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    ) as reader:
        first = next(iter(reader), None)
    for row in first.slice(0, MAX_RECORDS).to_pylist() if first else []:
        source_row, reasons = (row.pop(name) for name in ADDED_COLUMNS)
        fields = {name: value and value[:MAX_CHARACTERS] for name, value in row.items()}
        yield {"source_row": int(source_row), "reasons": json.loads(reasons), "fields": fields}
