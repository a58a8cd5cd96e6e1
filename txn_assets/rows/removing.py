"""Remove the rows of persons from files that have hashes: objects of the lake, the quarantine, and staged rows.

Every other row keeps its values; what is not said about a column is not interpreted. `rows/erasing.py` leaves persons
out while a file is hashed, and `rewriting.py` removes them from landed files.
"""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.fingerprint import MODULUS
from txn_assets.rows.hashed_rows import BUFFER_BYTES, literal, parquet_columns

if TYPE_CHECKING:
    import duckdb

_MAX_LINE_BYTES = 80 << 20
"""A record has at most 32 MiB, and more if it has quotes that are doubled."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What `write_without` left out.

    Attributes:
        rows: number of rows.
        reasons: how often each "field: code" rejected one of them, in a file of the quarantine.
    """

    rows: int
    reasons: Counter[str] = field(default_factory=Counter)


def count_rows(path: Path, column: str, digests: Collection[str], *, file_format: str) -> int:
    """Return how many rows of the `csv` or `parquet` file at `path` have one of `digests` in `column`."""
    names = _columns(path, file_format)
    if column not in names:
        return 0
    with connect(path.parent) as connection:
        return _first(connection, _query("count(*)", path, names, column, file_format), digests)


def write_without(path: Path, target: Path, column: str, digests: Collection[str], *, file_format: str) -> Removed:
    """Write the rows of the file at `path` that have none of `digests` in `column` to `target`, in the same order.

    Raises:
        ValueError: the rows that were written are not those that were to be left.
    """
    names = _columns(path, file_format)
    with connect(path.parent) as connection:
        rows = _first(connection, _query("count(*)", path, names, column, file_format), digests)
        reasons: Counter[str] = Counter()
        if "reasons" in names and "source_row" in names:
            found = connection.execute(
                _query("reasons", path, names, column, file_format), {"digests": list(digests)}
            ).fetchall()
            reasons.update(name for (text,) in found for name in _names(text))
        options = "FORMAT csv, HEADER" if file_format == "csv" else "FORMAT parquet"
        kept = _query("*", path, names, column, file_format, keep=True)
        connection.execute(f"COPY ({kept}) TO {literal(str(target))} ({options})", {"digests": list(digests)})
        number = f"sum(hash({', '.join(map(_quoted, names))})) % {MODULUS}, count(*)"
        expected = connection.execute(
            _query(number, path, names, column, file_format, keep=True), {"digests": list(digests)}
        ).fetchone()
        written = connection.execute(f"SELECT {number} FROM {_source(target, names, file_format)}").fetchone()  # noqa: S608 - quoted names
    if expected != written:
        message = "the rows that were written differ from those that were to be left"
        raise ValueError(message)
    return Removed(rows, reasons)


def _columns(path: Path, file_format: str) -> tuple[str, ...]:
    if file_format == "parquet":
        return parquet_columns(path)
    with path.open(encoding="utf-8") as file:
        return tuple(file.readline().rstrip("\r\n").split(","))


def _query(  # noqa: PLR0913 - the parts of a query
    select: str, path: Path, names: Collection[str], column: str, file_format: str, *, keep: bool = False
) -> str:
    condition = f"coalesce(list_contains($digests, {_quoted(column)}), false)"
    return f"SELECT {select} FROM {_source(path, names, file_format)} WHERE {'NOT ' if keep else ''}{condition}"  # noqa: S608 - quoted names


def _source(path: Path, names: Collection[str], file_format: str) -> str:
    if file_format == "parquet":
        return f"read_parquet({literal(str(path))})"
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    # An empty field is null, and a quoted one is empty text: both are written as they were.
    return (
        f"read_csv({literal(str(path))}, header = true, auto_detect = false, delim = ',', quote = '\"', "
        f"columns = {{{types}}}, allow_quoted_nulls = false, max_line_size = {_MAX_LINE_BYTES}, "
        f"buffer_size = {max(BUFFER_BYTES, _MAX_LINE_BYTES)})"
    )


def _first(connection: "duckdb.DuckDBPyConnection", query: str, digests: Collection[str]) -> int:
    row: Any = connection.execute(query, {"digests": list(digests)}).fetchone()
    return int(row[0])


def _names(reasons: str) -> list[str]:
    return [f"{one['field'] or 'row'}: {one['code']}" for one in json.loads(reasons)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
