"""Read hashed rows from Parquet files as totals, columns or CSV.

`processing.hash_file` writes the files, and the I/O managers load them into the stores. Only
`read_valid` returns clear text, for assets that read `validated_transactions`.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from txn_assets.files.ledger import Totals
from txn_assets.rows.columns import STAGED_COLUMNS
from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.fingerprint import DUCKDB, select_fingerprint
from txn_assets.rows.kinds import MONEY
from txn_assets.rows.transaction import FIELD_KINDS, FIELDS, TEXT_FIELDS
from txn_assets.rows.validation import ARROW_TYPES, VALID_SCHEMA

SCHEMA = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in STAGED_COLUMNS.items()])
"""The staged rows, with PII as 64 hex digits."""

FIELD_LIST = ", ".join(FIELDS)

_MAX_LINE_BYTES = 2_500_000 * len(TEXT_FIELDS)
"""Room for text fields of 1 MiB in which every character is an escaped quote, and for the rest of the row."""
_BUFFER_BYTES = 32_000_000
"""DuckDB's default buffer size. Set it, because otherwise it grows with `max_line_size`."""


def _decimal_text(name: str) -> str:
    """Return the SQL of an amount as plain decimal text with two to four decimals: 999.99, 5.00, 0.1234."""
    return (
        f"CASE WHEN {name} = {name}::DECIMAL(18,2) THEN {name}::DECIMAL(18,2)::VARCHAR "
        f"ELSE regexp_replace({name}::VARCHAR, '0$', '') END AS {name}"
    )


CSV_SELECT = ", ".join(_decimal_text(name) if kind is MONEY else name for name, kind in FIELD_KINDS.items())


def totals(path: Path) -> tuple[Totals, int]:
    """Return the totals of the Parquet file at `path`, and its fingerprint in the lake, which has no source_row."""
    found, in_lake = _totals(
        "read_parquet($path)",
        path,
        select_fingerprint(DUCKDB),
        select_fingerprint(DUCKDB, has_source_row=False),
    )
    return found, in_lake.fingerprint


def inexact_totals(path: Path) -> Totals:
    """Return the totals of the Parquet file at `path` as read back from a table with inexact prices."""
    (found,) = _totals("read_parquet($path)", path, select_fingerprint(DUCKDB, is_exact=False))
    return found


def malformed_digests(path: Path, *, pii_fields: Sequence[str]) -> int:
    """Return how many PII values in the Parquet file at `path` are neither null nor 64 hex digits."""
    counts = " + ".join(f"count(*) FILTER (NOT regexp_full_match({name}, '[0-9a-f]{{64}}'))" for name in pii_fields)
    with connect(path.parent) as connection:
        row = connection.execute(f"SELECT {counts or '0'} FROM read_parquet($path)", {"path": str(path)}).fetchone()  # noqa: S608 - configured column names
    return int(row[0]) if row else 0


def count_partitions(path: Path, *, partition_by: str) -> int:
    """Return how many months or days (`partition_by`) the Parquet file at `path` has rows in; null counts as one."""
    with connect(path.parent) as connection:
        row = connection.execute(
            "SELECT count(DISTINCT date_trunc($part, date)) + coalesce(max((date IS NULL)::INTEGER), 0) "
            "FROM read_parquet($path)",
            {"path": str(path), "part": partition_by},
        ).fetchone()
    return int(row[0]) if row else 0


def write_lake(path: Path, target: Path, *, file_format: str) -> None:
    """Write the fields of the Parquet file at `path` to `target`, as `csv` with a header or as `parquet`.

    In CSV, prices are plain decimal text.
    """
    quoted = "'" + str(target).replace("'", "''") + "'"
    select, options = (CSV_SELECT, "FORMAT csv, HEADER") if file_format == "csv" else (FIELD_LIST, "FORMAT parquet")
    with connect(target.parent) as connection:
        connection.execute(
            f"COPY (SELECT {select} FROM read_parquet($path)) TO {quoted} ({options})",  # noqa: S608 - fixed column names
            {"path": str(path)},
        )


def lake_totals(path: Path, *, file_format: str) -> Totals:
    """Return the totals of a file that `write_lake` wrote."""
    (found,) = _totals(_lake_source(file_format), path, select_fingerprint(DUCKDB, has_source_row=False))
    return found


def read_lake(data: bytes, *, file_format: str) -> pa.Table:
    """Return the rows of a file that `write_lake` wrote, with the columns in `FIELDS`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows" / "lake"
        path.parent.mkdir()
        path.write_bytes(data)
        with connect(path.parent) as connection:
            query = f"SELECT {FIELD_LIST} FROM {_lake_source(file_format)}"  # noqa: S608 - fixed column names
            return connection.sql(query, params={"path": str(path)}).to_arrow_table()


def _lake_source(file_format: str) -> str:
    if file_format == "parquet":
        return "read_parquet($path)"
    types = ", ".join(f"'{name}': '{kind.duckdb}'" for name, kind in FIELD_KINDS.items())
    return (
        f"read_csv($path, header = true, auto_detect = false, delim = ',', quote = '\"', columns = {{{types}}}, "
        f"max_line_size = {_MAX_LINE_BYTES}, buffer_size = {_BUFFER_BYTES})"
    )


def _totals(source: str, path: Path, *fingerprints: str) -> list[Totals]:
    """Return the totals of the rows of `source`, once with each of the `fingerprints`."""
    with connect(path.parent) as connection:
        row = connection.execute(
            f"SELECT count(*), sum(price), sum(quantity), min(date), max(date), {', '.join(fingerprints)} "  # noqa: S608 - fixed column names
            f"FROM {source}",
            {"path": str(path)},
        ).fetchone()
    assert row is not None
    return [Totals.of_row((*row[: -len(fingerprints)], one)) for one in row[-len(fingerprints) :]]


def read(paths: Sequence[Path], *, batch_size: int = 65_536) -> pa.RecordBatchReader:
    """Return the rows of Parquet files as a stream of `SCHEMA` batches, with one row group in memory at a time."""
    return pa.RecordBatchReader.from_batches(SCHEMA, _batches(paths, batch_size))


def _batches(paths: Sequence[Path], batch_size: int) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet  # noqa: PLC0415 - a tenth of a second that only readers pay

    for path in paths:
        # Do not use a pyarrow dataset: it reads many row groups ahead, which takes several hundred MB.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size):
                yield batch.cast(SCHEMA)


def read_valid(paths: Sequence[Path]) -> pa.RecordBatchReader:
    """Return the clear-text rows of the Arrow streams that `processing.validate_file` writes, as `VALID_SCHEMA`."""
    return pa.RecordBatchReader.from_batches(VALID_SCHEMA, _valid_batches(paths))


def _valid_batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
            yield from reader
