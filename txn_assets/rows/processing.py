"""Validate and hash files on disk: the two stages between the landing zone and the sinks.

Keep Dagster and the stores out of this module: it reads streams and writes local files. `hashed_rows.py` reads the
hashed files.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from txn_assets.files import progress
from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import SAMPLE_ROWS, RejectedSample, ValidationReport, mixed_amounts
from txn_assets.files.run_folder import RunFolder
from txn_assets.files.shown import listed
from txn_assets.rows import erasing
from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.quarantine import QuarantineWriter
from txn_assets.rows.reader.compression import Readable
from txn_assets.rows.reader.csv_file import CsvFile, Sizes
from txn_assets.rows.reader.detection import described, looks_like
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.reading import Reading
from txn_assets.rows.rejects import REASONS, reasons_of
from txn_assets.rows.schemas import valid_schema
from txn_assets.rows.validation import (
    RejectedRows,
    Verdict,
    count_other_decimals,
    count_reasons,
    validate,
)

THREADS = 2
"""Number of blocks to validate at the same time."""

BATCH_ROWS = 61_440
"""Half a DuckDB row group. DuckDB would have to split larger batches to write them to Parquet in order."""


def read_header(stream: Readable, reading: Reading, *, block_bytes: int = 1 << 16) -> tuple[str, ...]:
    """Check and return the columns of the file in `stream`; read `block_bytes`, and more only for a longer header.

    Raises:
        UnreadableFileError: the file does not have the columns and the form of the feed.
    """
    with described(stream, reading) as head:
        file = CsvFile(head, reading.contract, reading.file_format, reading.limits, Sizes(block_bytes=block_bytes))
        _check_columns(file, reading)
    return file.header.columns


def validate_file(
    stream: BinaryIO, folder: RunFolder, *, reading: Reading, hasher: Hasher, erased: erasing.Erased = ()
) -> ValidationReport:
    """Split the CSV file in `stream` into valid and rejected rows, and write both to `folder`.

    The valid rows are an Arrow IPC stream of `valid_schema(contract)` in clear text. PII of rejected rows is hashed.
    Rejected rows of the persons `erased` are left out; `hash_file` leaves out the valid ones.

    Raises:
        UnreadableFileError: the file as a whole does not have the columns and the form of the feed.
    """
    with described(stream, reading) as head:
        report = _validate_file(head, folder, reading, hasher, erased)
    if 2 * report.valid < report.records:
        report = replace(report, looks_like=looks_like(head.data, reading))
    return report


def _validate_file(
    stream: Readable, folder: RunFolder, reading: Reading, hasher: Hasher, erased: erasing.Erased
) -> ValidationReport:
    contract = reading.contract
    file = CsvFile(stream, contract, reading.file_format, reading.limits)
    _check_columns(file, reading)
    records = valid = rejected = left_out = other_decimals = three_decimals = bare_quotes = 0
    reasons: Counter[tuple[str, str]] = Counter()
    sample: list[RejectedSample] = []
    with (
        pa.OSFile(str(folder.valid), "wb") as sink,
        pa.ipc.new_stream(sink, valid_schema(contract)) as writer,
        pa.OSFile(str(folder.reasons), "wb") as sink_of_reasons,
        pa.ipc.new_stream(sink_of_reasons, REASONS) as writer_of_reasons,
        folder.rejected.open("wb") as file_of_rejected,
    ):
        quarantine = QuarantineWriter(file_of_rejected, contract.names, hasher)
        for verdict in validate(file, contract, batch_size=reading.batch_size, threads=THREADS):
            writer.write_table(pa.Table.from_batches([verdict.valid]), max_chunksize=BATCH_ROWS)
            shown = erasing.leave_out(verdict.rejected, erased)
            quarantine.write(shown)
            if len(shown):
                writer_of_reasons.write_batch(reasons_of(shown))
            progress.count_rows(verdict.records)
            records += verdict.records
            valid += verdict.valid.num_rows
            rejected += len(shown)
            left_out += len(verdict.rejected) - len(shown)
            other_decimals += count_other_decimals(verdict.rejected, contract, reading.file_format)
            three_decimals += verdict.three_decimals
            bare_quotes += verdict.bare_quotes
            reasons += count_reasons(shown)
            sample += _sample(shown, SAMPLE_ROWS - len(sample))
    if refusal := mixed_amounts(
        reading.file_format.decimal, other_decimals=other_decimals, three_decimals=three_decimals
    ):
        raise UnreadableFileError(refusal)
    return ValidationReport(
        records=records,
        valid=valid,
        rejected=rejected,
        reasons={f"{field or 'row'}: {code}": count for (field, code), count in reasons.most_common()},
        sample=tuple(sample),
        extra_columns=file.header.extra,
        repeated_ids=_repeated_ids(folder.valid, contract.row_id) if contract.row_id else 0,
        bare_quotes=bare_quotes,
        erased=left_out,
    )


def find_record(stream: BinaryIO, source_row: int, *, reading: Reading) -> Verdict | None:
    """Return the verdict on the block that has the record `source_row`; None if the file has fewer records.

    Raises:
        UnreadableFileError: the file as a whole does not have the columns and the form of the feed.
    """
    file = CsvFile(stream, reading.contract, reading.file_format, reading.limits)
    _check_columns(file, reading)
    records = 0
    for verdict in validate(file, reading.contract, batch_size=reading.batch_size, threads=THREADS):
        records += verdict.records
        if source_row <= records:
            return verdict
    return None


def _sample(rejected: RejectedRows, rows: int) -> list[RejectedSample]:
    """Return the first `rows` rejected rows, or as many as there are."""
    return list(map(RejectedSample, rejected.source_row.slice(0, rows).to_pylist(), rejected.reasons[:rows]))


def hash_file(  # noqa: PLR0913 - what to read, to write and to leave out
    valid: Path,
    hashed: Path,
    *,
    file: FileVersion,
    names: Sequence[str],
    hasher: Hasher,
    erased: Mapping[str, Collection[str]] | None = None,
) -> None:
    """Write `hashed`, a Parquet file with the staged columns, from the output of `validate_file` for fields `names`.

    Leave out the rows that have one of the hashes in `erased`, by field.
    """
    with connect(hashed.parent) as connection, pa.OSFile(str(valid)) as source, pa.ipc.open_stream(source) as rows:
        batches = erasing.without_erased(valid, progress.counted(rows), erased or {}, hasher=hasher)
        connection.register("valid", pa.RecordBatchReader.from_batches(rows.schema, batches))
        connection.execute(
            f"COPY (SELECT $name AS source_file, source_row, {hasher.select_list(names)} FROM valid) "  # noqa: S608 - fixed column names
            # Most of a row is its hex digests, which no level compresses below half, so use the fastest level.
            f"TO {_quoted(hashed)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)",
            {"name": file.name, **hasher.parameters()},
        )


def _check_columns(file: CsvFile, reading: Reading) -> None:
    extra = file.header.extra
    if extra and (key := reading.unknown_columns_key):
        message = f"it has {len(extra)} unknown columns ({listed(extra)}), and {key} is 'refuse'"
        raise UnreadableFileError(message)


def _repeated_ids(valid: Path, row_id: str) -> int:
    # Compare hashes first, because that takes a third of the memory and time: if no hash repeats, no id does.
    column = f'"{row_id}"'
    return _repeats(valid, column, column) if _repeats(valid, column, f"hash({column})") else 0


def _repeats(valid: Path, column: str, value: str) -> int:
    with connect(valid.parent) as connection, pa.OSFile(str(valid)) as source, pa.ipc.open_stream(source) as rows:
        connection.register("valid", rows)
        row = connection.execute(
            f"SELECT count(*) FROM (SELECT {value} AS value FROM valid WHERE {column} IS NOT NULL "  # noqa: S608 - a column of the contract
            "GROUP BY value HAVING count(*) > 1)"
        ).fetchone()
    return int(row[0]) if row else 0


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
