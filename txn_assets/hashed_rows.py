"""Hashed rows as they lie in staging: Parquet files, read back as totals, columns or CSV.

Here belong the columns that every sink gets and the ways to read them. Writing them is `stages.hash_file`; loading them
into a store is its I/O manager's. Nothing here is in clear text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from txn_assets.duck import connect
from txn_assets.ledger import Totals
from txn_assets.transaction import FIELDS
from txn_assets.validation import VALID_SCHEMA

SCHEMA = pa.schema([pa.field("source_file", pa.string()), *VALID_SCHEMA])
"""Columns: source_file, source_row (1, 2, ... in the file) and the five fields, PII as 64 hex digits."""

COLUMNS = tuple(SCHEMA.names)

MONEY_TEXT = "regexp_replace(price::VARCHAR, '0{1,2}$', '')"
"""A price as plain decimal text with two to four decimals: 999.99, 5.00, 0.1234."""

CSV_SELECT = ", ".join(MONEY_TEXT + " AS price" if name == "price" else name for name in FIELDS)


def id_digits(pii_fields: Sequence[str]) -> str:
    """SQL, in any of the engines, for hex digits that stand for the transaction id in a fingerprint."""
    # Where the id is not hashed by configuration, it holds no hex digits.
    return "transaction_id" if "transaction_id" in pii_fields else "md5(transaction_id)"


def totals(path: Path, *, pii_fields: Sequence[str]) -> Totals:
    """The totals of the Parquet file at `path`."""
    with connect(path.parent) as connection:
        row = connection.execute(
            "SELECT count(*), sum(price), sum(quantity), min(date), max(date), "
            f"bit_xor(('0x' || substr({id_digits(pii_fields)}, 1, 15))::BIGINT) FROM read_parquet($path)",
            {"path": str(path)},
        ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return Totals.of_row(row)


def malformed_digests(path: Path, *, pii_fields: Sequence[str]) -> int:
    """How many PII values in the Parquet file at `path` are neither null nor 64 hex digits."""
    counts = " + ".join(f"count(*) FILTER (NOT regexp_full_match({name}, '[0-9a-f]{{64}}'))" for name in pii_fields)
    with connect(path.parent) as connection:
        row = connection.execute(f"SELECT {counts or '0'} FROM read_parquet($path)", {"path": str(path)}).fetchone()  # noqa: S608 - configured column names
    return int(row[0]) if row else 0


def write_csv(path: Path, csv: Path) -> None:
    """Writes the five fields of the Parquet file at `path` to `csv`, header first, money as plain decimal text."""
    target = str(csv).replace("'", "''")
    with connect(csv.parent) as connection:
        connection.execute(
            f"COPY (SELECT {CSV_SELECT} FROM read_parquet($path)) TO '{target}' (FORMAT csv, HEADER)",  # noqa: S608 - fixed column names
            {"path": str(path)},
        )


def read(paths: Sequence[Path], *, batch_size: int = 65_536) -> pa.RecordBatchReader:
    """The rows of Parquet files as a stream of batches, `SCHEMA`."""
    import pyarrow.dataset  # noqa: PLC0415 - a tenth of a second that only readers pay

    dataset = pyarrow.dataset.dataset([str(path) for path in paths], schema=SCHEMA, format="parquet")
    # Little read-ahead: the default holds many row groups at once.
    return pa.RecordBatchReader.from_batches(SCHEMA, dataset.to_batches(batch_size=batch_size, batch_readahead=2))


def read_valid(paths: Sequence[Path]) -> pa.RecordBatchReader:
    """The rows of Arrow streams as `stages.validate_file` writes them, `VALID_SCHEMA`, in clear text."""
    return pa.RecordBatchReader.from_batches(VALID_SCHEMA, _valid_batches(paths))


def _valid_batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
            yield from reader
