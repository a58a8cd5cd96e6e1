"""The file's valid rows as one DuckDB query: read as text, cast, hash. Rows that do not cast are dropped silently."""

ROWS = """
    SELECT 'bench.csv' AS source_file, source_row, sha256(transaction_id) AS transaction_id, product, price, quantity, date
    FROM (
        SELECT row_number() OVER () AS source_row, transaction_id, product,
            try_cast(price AS DECIMAL(18,4)) AS price,
            try_cast(quantity AS BIGINT) AS quantity,
            try_cast(date AS DATE) AS date
        FROM read_csv('{path}', header = true, all_varchar = true, nullstr = '\\N'))
    WHERE transaction_id <> '' AND product <> '' AND price >= 0 AND quantity >= 1 AND date IS NOT NULL
"""
