"""The fingerprint of whole rows: the same number in DuckDB, PostgreSQL and BigQuery, in any order of the rows.

A row becomes one text, the text its MD5, and the first 60 bits of that a number; a file's fingerprint is the sum of the
numbers, modulo 2**60. A sum, because XOR would not see a row that a store holds twice. MD5 guards against accidents and
edits, not against somebody who can choose the rows.
"""

from dataclasses import dataclass

MODULUS = 1 << 60
"""Fits the INT64 column of the ledgers."""

_HEX_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an engine spells the parts of the fingerprint; `{}` takes a column or an expression.

    Attributes:
        price: the price in ten-thousandths; marked where the column holds more decimals than four.
        days: a date as days since 1970-01-01, a whole number.
        length: the number of characters of a text.
        text: what CONCAT takes, with null as an empty text.
        number: the first 60 bits of the MD5 of a text, as an integer.
        total: the sum of such integers, modulo 2**60.
    """

    price: str
    days: str
    length: str
    number: str
    total: str
    text: str = "{}"


DUCKDB = Dialect(
    price="CAST(CAST({} AS DECIMAL(22,4)) * 10000 AS BIGINT)",
    days="{} - DATE '1970-01-01'",
    length="length({})",
    number=f"CAST('0x' || substr(md5({{}}), 1, {_HEX_DIGITS}) AS BIGINT)",
    total=f"CAST(sum({{}}) % {MODULUS} AS BIGINT)",
)

POSTGRES = Dialect(
    # A column without a scale may hold more decimals than four, which the cast would round.
    price="CASE WHEN scale({0}) <= 4 THEN CAST(CAST({0} * 10000 AS bigint) AS text) ELSE CAST({0} AS text) || '~' END",
    days="{} - DATE '1970-01-01'",
    length="char_length({})",
    number=f"CAST(CAST('x' || substr(md5({{}}), 1, {_HEX_DIGITS}) AS bit(60)) AS bigint)",
    total=f"CAST(mod(sum({{}}), {MODULUS}) AS bigint)",
)

BIGQUERY = Dialect(
    # NUMERIC has nine decimals, and the cast rounds.
    price="CONCAT(CAST(CAST({0} * 10000 AS INT64) AS STRING), IF({0} = ROUND({0}, 4), '', '~'))",
    days="UNIX_DATE({})",
    length="CHAR_LENGTH({})",
    text="COALESCE(CAST({} AS STRING), '')",
    number=f"CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5({{}})), 1, {_HEX_DIGITS})) AS INT64)",
    # INT64 sums overflow after eight rows.
    total=f"CAST(MOD(SUM(CAST({{}} AS NUMERIC)), {MODULUS}) AS INT64)",
)


def select_fingerprint(dialect: Dialect, *, has_source_row: bool = True, is_exact: bool = True) -> str:
    """Return the SQL of the fingerprint over a group of rows.

    `has_source_row` is false for the data lake, whose objects have the five fields alone. `is_exact` is false where the
    table keeps the price as a binary float, which has no text to rely on: the price is left out.
    """
    parts = ["quantity", dialect.days.format("date")]
    if is_exact:
        parts.append(dialect.price.format("price"))
    if has_source_row:
        parts.append("source_row")
    for name in ("transaction_id", "product"):
        # The length tells where a text ends, and an empty text from a missing one.
        parts += [dialect.length.format(name), name]
    row = ", '|', ".join(dialect.text.format(part) for part in parts)
    return dialect.total.format(dialect.number.format(f"CONCAT({row})"))
