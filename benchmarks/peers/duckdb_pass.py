"""One bare DuckDB pass: read as text, cast, hash, write Parquet. Rows that do not cast are dropped silently."""

from pathlib import Path

from benchmarks.child import Timer
from benchmarks.duckdb_session import spilling
from benchmarks.stores import Totals, parquet_totals

QUERY = """
    COPY (
        SELECT 'bench.csv' AS source_file, source_row, sha256(transaction_id) AS transaction_id, product, price, quantity, date
        FROM (
            SELECT row_number() OVER () AS source_row, transaction_id, product,
                try_cast(price AS DECIMAL(18,4)) AS price,
                try_cast(quantity AS BIGINT) AS quantity,
                try_cast(date AS DATE) AS date
            FROM read_csv('{path}', header = true, all_varchar = true, nullstr = '\\N'))
        WHERE transaction_id <> '' AND product <> '' AND price >= 0 AND quantity >= 1 AND date IS NOT NULL
    ) TO '{target}' (FORMAT parquet, COMPRESSION zstd)
"""


def run(timer: Timer, *, path: str, folder: str) -> Totals:
    """Turn the CSV file into hashed.parquet in `folder`; return its totals."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    target = Path(folder) / "hashed.parquet"
    with timer(), spilling(Path(folder)) as connection:
        connection.execute(QUERY.format(path=path, target=target))
    return parquet_totals(target)
