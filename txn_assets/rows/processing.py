"""Validate and hash files on disk: the two stages between the landing zone and the sinks.

Keep Dagster and the stores out of this module: it reads streams and writes local files. `hashed_rows.py` reads the
hashed files.
"""

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from txn_assets.config import Ingestion
from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import SAMPLE_ROWS, RejectedSample, ValidationReport, mixed_prices
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows.csv_header import NotATransactionFileError
from txn_assets.rows.csv_reader import CsvFile, Sizes
from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.quarantine import QuarantineWriter
from txn_assets.rows.transaction import ValidationRules
from txn_assets.rows.validation import VALID_SCHEMA, RejectedRows, count_decimal_commas, count_reasons, validate

CONTRACT_VERSION = 2
"""Version of the data contract. Increase it if the same input gives different rows, so that stores reload files."""

THREADS = 2
"""Number of blocks to validate at the same time."""

BATCH_ROWS = 61_440
"""Half a DuckDB row group. DuckDB would have to split larger batches to write them to Parquet in order."""


def rules_id(rules: ValidationRules, pii_fields: Sequence[str] = ()) -> str:
    """Return an id of the rules and the hashed columns for the ledger, so that a change in either reloads a file.

    Pass the configured `rules`, because the `max_date` of a run's rules changes every day.
    """
    plain = {name: _plain(value) for name, value in rules}
    return hashlib.sha256(f"{CONTRACT_VERSION}:{plain}:{sorted(pii_fields)}".encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    """Return `value` in canonical form: sets have no fixed order across processes, and 1.00 equals 1."""
    if isinstance(value, frozenset):
        return sorted(value)
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def read_header(stream: BinaryIO, ingestion: Ingestion) -> tuple[str, ...]:
    """Check and return the columns of the file in `stream`; read 64 KiB, and more only for a longer header.

    Raises:
        NotATransactionFileError: the file cannot be read as transactions.
    """
    file = CsvFile(stream, Sizes(block_bytes=1 << 16))
    _check_columns(file, ingestion)
    return file.header.columns


def validate_file(
    stream: BinaryIO, folder: RunFolder, *, ingestion: Ingestion, hasher: Hasher, today: dt.date
) -> ValidationReport:
    """Split the CSV file in `stream` into valid and rejected rows, and write both to `folder`.

    `today` is the day of the run, from which the default `max_date` is computed.

    The valid rows are an Arrow IPC stream of `VALID_SCHEMA` in clear text. PII of rejected rows is hashed.

    Raises:
        NotATransactionFileError: the file as a whole cannot be read as transactions.
    """
    file = CsvFile(stream)
    _check_columns(file, ingestion)
    rules = ingestion.validation.on(today)
    records = valid = rejected = decimal_commas = three_decimals = bare_quotes = 0
    reasons: Counter[tuple[str, str]] = Counter()
    sample: list[RejectedSample] = []
    with (
        pa.OSFile(str(folder.valid), "wb") as sink,
        pa.ipc.new_stream(sink, VALID_SCHEMA) as writer,
        folder.rejected.open("wb") as file_of_rejected,
    ):
        quarantine = QuarantineWriter(file_of_rejected, hasher)
        for verdict in validate(file, rules, batch_size=ingestion.batch_size, threads=THREADS):
            writer.write_table(pa.Table.from_batches([verdict.valid]), max_chunksize=BATCH_ROWS)
            quarantine.write(verdict.rejected)
            records += verdict.records
            valid += verdict.valid.num_rows
            rejected += len(verdict.rejected)
            decimal_commas += count_decimal_commas(verdict.rejected)
            three_decimals += verdict.three_decimals
            bare_quotes += verdict.bare_quotes
            reasons += count_reasons(verdict.rejected)
            sample += _sample(verdict.rejected, SAMPLE_ROWS - len(sample))
    if refusal := mixed_prices(decimal_commas=decimal_commas, three_decimals=three_decimals):
        raise NotATransactionFileError(refusal)
    return ValidationReport(
        records=records,
        valid=valid,
        rejected=rejected,
        reasons={f"{field or 'row'}: {code}": count for (field, code), count in reasons.most_common()},
        sample=tuple(sample),
        extra_columns=file.header.extra,
        repeated_ids=_repeated_ids(folder.valid),
        bare_quotes=bare_quotes,
    )


def _sample(rejected: RejectedRows, rows: int) -> list[RejectedSample]:
    """Return the first `rows` rejected rows, or as many as there are."""
    return list(map(RejectedSample, rejected.source_row.slice(0, rows).to_pylist(), rejected.reasons[:rows]))


def hash_file(valid: Path, hashed: Path, *, file: FileVersion, hasher: Hasher) -> None:
    """Write `hashed`, a Parquet file with the columns of `hashed_rows.SCHEMA`, from the output of `validate_file`."""
    with connect(hashed.parent) as connection, pa.OSFile(str(valid)) as source, pa.ipc.open_stream(source) as rows:
        connection.register("valid", rows)
        connection.execute(
            f"COPY (SELECT $name AS source_file, source_row, {hasher.select_list()} FROM valid) "  # noqa: S608 - fixed column names
            # Most of a row is its hex digests, which no level compresses below half, so use the fastest level.
            f"TO {_quoted(hashed)} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)",
            {"name": file.name, **hasher.parameters()},
        )


def _check_columns(file: CsvFile, ingestion: Ingestion) -> None:
    extra = file.header.extra
    if extra and ingestion.unknown_columns == "refuse":
        message = f"it has {len(extra)} unknown columns ({', '.join(extra)}), and ingestion.unknown_columns is 'refuse'"
        raise NotATransactionFileError(message)


def _repeated_ids(valid: Path) -> int:
    # Compare hashes first, because that takes a third of the memory and time: if no hash repeats, no id does.
    return _repeats(valid, "transaction_id") if _repeats(valid, "hash(transaction_id)") else 0


def _repeats(valid: Path, value: str) -> int:
    with connect(valid.parent) as connection, pa.OSFile(str(valid)) as source, pa.ipc.open_stream(source) as rows:
        connection.register("valid", rows)
        row = connection.execute(
            f"SELECT count(*) FROM (SELECT {value} AS value FROM valid WHERE transaction_id IS NOT NULL "  # noqa: S608 - one of two fixed expressions
            "GROUP BY value HAVING count(*) > 1)"
        ).fetchone()
    return int(row[0]) if row else 0


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
