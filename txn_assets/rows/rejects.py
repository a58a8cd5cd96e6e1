"""Why each record was rejected, as rows without a value: for the tables `<table>_rejects` beside the ledgers.

The quarantine has the records themselves; see `quarantine.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from txn_assets.files.ledger import FileVersion
from txn_assets.rows.validation import RejectedRows

REASONS = pa.schema([("source_row", pa.int64()), ("field", pa.string()), ("code", pa.string())])
"""A row for each reason of each rejected record. `field` is 'row' for the record as a whole, as in a report."""

REJECTS = pa.schema([("source_file", pa.string()), ("generation", pa.int64()), *REASONS])
"""The same with the version of the file, as staged for the stores."""

BATCH_ROWS = 65_536


def reasons_of(rejected: RejectedRows) -> pa.RecordBatch:
    """Return the reasons of `rejected`."""
    counts = [len(reasons) for reasons in rejected.reasons]
    flat = [reason for reasons in rejected.reasons for reason in reasons]
    columns = [
        rejected.source_row.take(pa.array(np.repeat(np.arange(len(counts)), counts))),
        pa.array([reason.field or "row" for reason in flat], pa.string()),
        pa.array([reason.code for reason in flat], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=REASONS)


def write_rejects(reasons: Path, rejects: Path, *, file: FileVersion) -> None:
    """Write `rejects`, a Parquet file, from `reasons`, an Arrow stream of batches of `reasons_of`."""
    with (
        pa.OSFile(str(reasons)) as source,
        pa.ipc.open_stream(source) as batches,
        pyarrow.parquet.ParquetWriter(rejects, REJECTS, compression="zstd") as writer,
    ):
        for batch in batches:
            of_file = [pa.repeat(file.name, batch.num_rows), pa.repeat(pa.scalar(file.generation), batch.num_rows)]
            writer.write_batch(pa.RecordBatch.from_arrays([*of_file, *batch.columns], schema=REJECTS))


def read_rejects(rejects: Path, run_id: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `rejects` in batches, with the run that notes them."""
    with pyarrow.parquet.ParquetFile(rejects) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield batch.append_column("run_id", pa.repeat(run_id, batch.num_rows))
