"""Read hashed rows from Parquet files as totals, columns or CSV.

`processing.hash_file` writes the files, and the I/O managers load them into the stores. Only
`read_valid` returns clear text, for assets that read `validated_transactions`.
"""

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from txn_assets.files.ledger import Totals
from txn_assets.rows.contract import RowContract
from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.fingerprint import DUCKDB, select_fingerprint, select_totals
from txn_assets.rows.kinds.date import DayBounds
from txn_assets.rows.schemas import make_schema, valid_schema

if TYPE_CHECKING:
    import duckdb

BUFFER_BYTES = 32_000_000
"""DuckDB's default buffer size. Set it, because otherwise it grows with `max_line_size`."""


def staged_schema(contract: RowContract) -> pa.Schema:
    """Return the schema of the staged rows, with PII as 64 hex digits."""
    return make_schema(contract.staged_columns)


def totals(path: Path, contract: RowContract) -> tuple[Totals, int]:
    """Return the totals of the Parquet file at `path`, and its fingerprint in the lake, which has no source_row."""
    exact, in_lake = select_fingerprint(DUCKDB, contract), select_fingerprint(DUCKDB, contract, has_source_row=False)
    with connect(path.parent) as connection:
        found, of_lake = _totals(connection, "read_parquet($path)", contract, exact, in_lake, path=path)
    return found, of_lake.fingerprint


def inexact_totals(path: Path, contract: RowContract) -> Totals:
    """Return the totals of the Parquet file at `path` as read back from a table with inexact numbers."""
    fingerprint = select_fingerprint(DUCKDB, contract, is_exact=False)
    with connect(path.parent) as connection:
        (found,) = _totals(connection, "read_parquet($path)", contract, fingerprint, path=path)
    return found


def malformed_digests(path: Path, *, pii_fields: Sequence[str]) -> int:
    """Return how many PII values in the Parquet file at `path` are neither null nor 64 hex digits."""
    counts = " + ".join(f"count(*) FILTER (NOT regexp_full_match(\"{name}\", '[0-9a-f]{{64}}'))" for name in pii_fields)
    with connect(path.parent) as connection:
        row = connection.execute(f"SELECT {counts or '0'} FROM read_parquet($path)", {"path": str(path)}).fetchone()  # noqa: S608 - configured column names
    return int(row[0]) if row else 0


def count_rows(path: Path, digests: Mapping[str, Collection[str]]) -> int:
    """Return how many rows of the Parquet file at `path` have one of `digests` in a column, given by column."""
    conditions = [f'list_contains($"{name}", "{name}")' for name in digests]
    with connect(path.parent) as connection:
        row = connection.execute(
            f"SELECT count(*) FROM read_parquet($path) WHERE {' OR '.join(conditions) or 'false'}",  # noqa: S608 - columns of the contract
            {"path": str(path), **{name: list(values) for name, values in digests.items()}},
        ).fetchone()
    return int(row[0]) if row else 0


def count_partitions(path: Path, contract: RowContract, *, partition_by: str) -> int:
    """Return how many months or days (`partition_by`) the Parquet file at `path` has rows in; null counts as one."""
    key = contract.partition_key
    if key is None:
        return 1
    kind = contract.kinds[key]
    assert isinstance(kind, DayBounds)
    day = kind.day[DUCKDB.name].format(DUCKDB.column.format(key))
    with connect(path.parent) as connection:
        row = connection.execute(
            f"SELECT count(DISTINCT date_trunc($part, {day})) + coalesce(max(({day} IS NULL)::INTEGER), 0) "  # noqa: S608 - a column of the contract
            "FROM read_parquet($path)",
            {"path": str(path), "part": partition_by},
        ).fetchone()
    return int(row[0]) if row else 0


def write_lake(path: Path, target: Path, contract: RowContract, *, file_format: str) -> None:
    """Write the fields of the Parquet file at `path` to `target`, as `csv` with a header or as `parquet`.

    In CSV, exact decimals are plain decimal text. `target` may be a pipe.
    """
    if file_format == "csv":
        select, options = csv_select(contract), "FORMAT csv, HEADER"
    else:
        select, options = _field_list(contract), "FORMAT parquet"
    with connect(path.parent) as connection:
        connection.execute(
            f"COPY (SELECT {select} FROM read_parquet($path)) TO {literal(str(target))} ({options})",  # noqa: S608 - columns of the contract
            {"path": str(path)},
        )


def csv_select(contract: RowContract) -> str:
    """Return the select list of the CSV text that the data lake has."""
    texts = {name: kind.csv_sql(DUCKDB.column.format(name)) for name, kind in contract.kinds.items()}
    return ", ".join(f'{text} AS "{name}"' for name, text in texts.items())


def lake_totals(path: Path, contract: RowContract, *, file_format: str) -> Totals:
    """Return the totals of a file that `write_lake` wrote."""
    with connect(path.parent) as connection:
        return _totals_in_lake(connection, _lake_source(path, contract, file_format), contract, path=path)


def csv_totals(header: bytes, rest: Path, contract: RowContract, *, folder: Path) -> Totals:
    """Return the totals of a CSV file that `write_lake` wrote: of its first line, and a pipe with the others.

    `folder` is that of the run.
    """
    there = _csv_columns(header)
    source = _with_added(_csv_source(contract, there, has_header=False), contract, there)
    with connect(folder) as connection:
        return _totals_in_lake(connection, source, contract, path=rest)


def parquet_totals(file: BinaryIO, contract: RowContract, *, folder: Path) -> Totals:
    """Return the totals of a Parquet file that `write_lake` wrote; hold one row group at a time.

    `folder` is that of the run.
    """
    import pyarrow.parquet  # noqa: PLC0415 - a tenth of a second that only readers pay

    with connect(folder) as connection, pyarrow.parquet.ParquetFile(file, pre_buffer=False) as opened:
        schema = opened.schema_arrow
        connection.register("lake", pa.RecordBatchReader.from_batches(schema, opened.iter_batches()))
        return _totals_in_lake(connection, _with_added("lake", contract, schema.names), contract)


def _totals_in_lake(
    connection: "duckdb.DuckDBPyConnection", source: str, contract: RowContract, path: Path | None = None
) -> Totals:
    fingerprint = select_fingerprint(DUCKDB, contract, has_source_row=False)
    (found,) = _totals(connection, source, contract, fingerprint, path=path)
    return found


def read_lake(data: bytes, contract: RowContract, *, file_format: str) -> pa.Table:
    """Return the rows of a file that `write_lake` wrote, with the columns of the contract."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows" / "lake"
        path.parent.mkdir()
        path.write_bytes(data)
        with connect(path.parent) as connection:
            query = f"SELECT {_field_list(contract)} FROM {_lake_source(path, contract, file_format)}"  # noqa: S608 - columns of the contract
            return connection.sql(query, params={"path": str(path)}).to_arrow_table()


def _field_list(contract: RowContract) -> str:
    return ", ".join(map(DUCKDB.column.format, contract.names))


def _lake_source(path: Path, contract: RowContract, file_format: str) -> str:
    """Return the SQL of the rows of a file of the lake."""
    if file_format == "parquet":
        return _with_added("read_parquet($path)", contract, parquet_columns(path))
    with path.open("rb") as file:
        there = _csv_columns(file.readline())
    return _with_added(_csv_source(contract, there), contract, there)


def _with_added(source: str, contract: RowContract, there: Sequence[str]) -> str:
    """Return the SQL `source`, which has the columns `there`, with those that were added since it was written: null."""
    added = [f'CAST(NULL AS {kind.duckdb}) AS "{name}"' for name, kind in contract.kinds.items() if name not in there]
    return f"(SELECT {', '.join(['*', *added])} FROM {source})" if added else source  # noqa: S608 - columns of the contract


def _csv_columns(header: bytes) -> tuple[str, ...]:
    return tuple(header.decode().rstrip("\r\n").split(","))


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Return the names of the columns of the Parquet file at `path`."""
    import pyarrow.parquet  # noqa: PLC0415 - a tenth of a second that only readers pay

    return tuple(pyarrow.parquet.read_schema(path).names)


def _csv_source(contract: RowContract, there: Sequence[str], *, has_header: bool = True) -> str:
    # A column that the feed no longer has may be anything.
    kinds = {name: contract.kinds[name].duckdb if name in contract.kinds else "VARCHAR" for name in there}
    # The names come from an object, which somebody else may have written.
    types = ", ".join(f"{literal(name)}: '{kind}'" for name, kind in kinds.items())
    # Room for text fields of 1 MiB in which every character is an escaped quote, and for the rest of the row.
    max_line_bytes = 2_500_000 * max(list(kinds.values()).count("VARCHAR"), 1)
    return (
        f"read_csv($path, header = {has_header}, auto_detect = false, delim = ',', quote = '\"', "
        f"columns = {{{types}}}, max_line_size = {max_line_bytes}, buffer_size = {BUFFER_BYTES})"
    )


def literal(text: str) -> str:
    """Return `text` as a literal of SQL."""
    return f"'{text.replace("'", "''")}'"


def _totals(
    connection: "duckdb.DuckDBPyConnection",
    source: str,
    contract: RowContract,
    *fingerprints: str,
    path: Path | None = None,
) -> list[Totals]:
    """Return the totals of the rows of `source`, which may be in `path`, once with each of the `fingerprints`."""
    select = ", ".join([*select_totals(DUCKDB, contract), *fingerprints])
    row = connection.execute(f"SELECT {select} FROM {source}", {"path": str(path)} if path else None).fetchone()  # noqa: S608 - columns of the contract
    assert row is not None
    return [Totals.of_row((*row[: -len(fingerprints)], one), contract.summed) for one in row[-len(fingerprints) :]]


def read(paths: Sequence[Path], contract: RowContract, *, batch_size: int = 65_536) -> pa.RecordBatchReader:
    """Return the rows of Parquet files as batches of `staged_schema`, with one row group in memory at a time."""
    schema = staged_schema(contract)
    return pa.RecordBatchReader.from_batches(schema, _batches(paths, schema, batch_size))


def _batches(paths: Sequence[Path], schema: pa.Schema, batch_size: int) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet  # noqa: PLC0415 - a tenth of a second that only readers pay

    for path in paths:
        # Do not use a pyarrow dataset: it reads many row groups ahead, which takes several hundred MB.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size):
                yield batch.cast(schema)


def read_valid(paths: Sequence[Path], contract: RowContract) -> pa.RecordBatchReader:
    """Return the clear-text rows of the Arrow streams that `processing.validate_file` writes, as `valid_schema`."""
    return pa.RecordBatchReader.from_batches(valid_schema(contract), _valid_batches(paths))


def _valid_batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
            yield from reader
