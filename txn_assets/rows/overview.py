"""A look at the hashed rows of a file, for the catalog: the first of them, and rows and amount by day.

Both are bounded, whatever the file has, and neither has clear PII.
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from txn_assets.rows.contract import RowContract
from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.fingerprint import DUCKDB
from txn_assets.rows.kinds.date import DayBounds

FIRST_ROWS = 5
"""Number of rows in the catalog."""

MAX_TEXT = 64
"""Maximum number of characters of a value, which is the length of a digest; a longer one is cut."""

MAX_DAYS = 400
"""Maximum number of days in a chart: the latest."""

type Day = tuple[dt.date, int, float | None]
"""A day, its number of rows and the sum of their amounts."""


def first_rows(path: Path, contract: RowContract) -> list[dict[str, str | None]]:
    """Return the first rows of the Parquet file at `path` as text, cut to `MAX_TEXT`."""
    names = list(contract.staged_columns)
    texts = ", ".join(f"CAST({DUCKDB.column.format(name)} AS VARCHAR)" for name in names)
    with connect(path.parent) as connection:
        rows = connection.execute(
            f"SELECT {texts} FROM (FROM read_parquet($path) LIMIT {FIRST_ROWS})",  # noqa: S608 - columns of the contract
            {"path": str(path)},
        ).fetchall()
    return [dict(zip(names, map(_cut, row), strict=True)) for row in rows]


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def by_day(path: Path, contract: RowContract, amount: Sequence[str]) -> list[Day]:
    """Return the latest days of the Parquet file at `path`, in order; nothing if its rows have no day.

    The amount of a row is its columns `amount` multiplied, as a floating-point number, because it is only drawn.
    """
    key = contract.partition_key
    if key is None:
        return []
    kind = contract.kinds[key]
    assert isinstance(kind, DayBounds)
    day = f"CAST({kind.day[DUCKDB.name].format(DUCKDB.column.format(key))} AS DATE)"
    total = " * ".join(f"CAST({DUCKDB.column.format(name)} AS DOUBLE)" for name in amount) or "NULL"
    with connect(path.parent) as connection:
        rows = connection.execute(
            f"SELECT {day}, count(*), sum({total}) FROM read_parquet($path) WHERE {day} IS NOT NULL "  # noqa: S608 - columns of the contract
            f"GROUP BY 1 ORDER BY 1 DESC LIMIT {MAX_DAYS}",
            {"path": str(path)},
        ).fetchall()
    return list(reversed(rows))
