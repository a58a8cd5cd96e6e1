"""Benchmark input files: seeded, 47 bytes per row, with a share of bad rows.

DuckDB generates the rows and streams them to disk, so a file of any size takes little memory. See docs/data-contract.md
for what makes a row valid.
"""

from pathlib import Path
from typing import Any

from benchmarks.child import Timer
from benchmarks.duckdb_session import spilling

PRODUCTS = ("Laptop", "Mouse", "Keyboard", "Monitor", "Headphones", "Tablet", "Cable", "Dock")

_BAD_KINDS = """
    CASE WHEN bad AND kind = 0 THEN '' ELSE 'T' || lpad(i::VARCHAR, 11, '0') END AS transaction_id,
    CASE WHEN bad AND kind = 1 THEN '' ELSE product END AS product,
    CASE WHEN bad AND kind = 2 THEN 'abc' WHEN bad AND kind = 3 THEN '-' || price ELSE price END AS price,
    CASE WHEN bad AND kind = 4 THEN '0' ELSE quantity END AS quantity,
    CASE WHEN bad AND kind = 5 THEN '2023-02-30' ELSE date END AS date
"""


def write(  # noqa: PLR0913 - a call of another process
    timer: Timer,
    *,
    path: str,
    rows: int,
    bad_every: int,
    seed: int = 1,
    first: int = 0,
    first_day: int = 0,
    days: int = 365,
) -> dict[str, Any]:
    """Write a CSV file of `rows` rows and return its size in bytes. Every `bad_every`th row is bad in one of six ways.

    The ids begin with number `first`, and the dates are within `days` from the day `first_day` of 2023 on.
    """
    products = ", ".join(f"'Halal {name}'" for name in PRODUCTS)
    query = f"""
        WITH drawn AS (SELECT i, hash(i + {seed} * 1000000007) AS h FROM range({first}, {first + rows}) AS t(i)),
        plain AS (
            SELECT i, i % {bad_every} = {bad_every - 1} AS bad, (i // {bad_every}) % 6 AS kind,
                list_value({products})[(h % {len(PRODUCTS)} + 1)::INTEGER] AS product,
                printf('%d.%02d', (1 + (h >> 8) % 999)::BIGINT, ((h >> 24) % 100)::BIGINT) AS price,
                (1 + (h >> 32) % 99)::VARCHAR AS quantity,
                (DATE '2023-01-01' + ({first_day} + (h >> 40) % {days})::INTEGER)::VARCHAR AS date
            FROM drawn)
        SELECT {_BAD_KINDS} FROM plain
    """
    with timer(), spilling(Path(path).parent) as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT csv, HEADER)")
    return {"bytes": Path(path).stat().st_size}


EXCEL_FORMAT = {"delimiter": ";", "encoding": "windows-1252", "decimal": ","}
"""The form in which a European Excel saves a CSV file, as the configuration describes it."""


def write_as_excel(timer: Timer, *, path: str, source: str) -> dict[str, Any]:
    """Write the rows of the CSV file `source` as a European Excel saves them, and return the size in bytes.

    Each product gets a letter that windows-1252 and UTF-8 encode differently.
    """
    columns = "transaction_id, replace(product, 'Halal', 'Hal\u00e4l') AS product, replace(price, '.', ',') AS price, quantity, date"
    text = Path(path).with_suffix(".utf8")
    with timer():
        with spilling(Path(path).parent) as connection:
            rows = f"read_csv('{source}', all_varchar = true)"
            connection.execute(f"COPY (SELECT {columns} FROM {rows}) TO '{text}' (FORMAT csv, HEADER, DELIMITER ';')")
        with text.open(encoding="utf-8", newline="") as lines, Path(path).open("wb") as file:
            while block := lines.read(1 << 20):
                file.write(block.encode("cp1252"))
        text.unlink()
    return {"bytes": Path(path).stat().st_size}
