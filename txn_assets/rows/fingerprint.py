"""Fingerprints of whole rows: the same number in DuckDB, PostgreSQL and BigQuery, regardless of row order.

Each row is written as one string and hashed with MD5. The first 60 bits of the hash are the row's number. A file's
fingerprint is the sum of these numbers modulo 2**60. XOR instead of a sum would miss a row that a store holds twice.
MD5 detects accidents and edits, but not an attacker who can choose the rows.
"""

from dataclasses import dataclass

from txn_assets.rows.kinds import DATE, MONEY, WHOLE
from txn_assets.rows.transaction import TEXT_FIELDS, fields_of

MODULUS = 1 << 60
"""Upper bound of a fingerprint, so that it fits into the INT64 column of the ledgers."""

_HEX_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Dialect:
    """SQL of one engine for the parts of the fingerprint; `{}` is replaced by a column or an expression.

    Attributes:
        price: the price plus half a ten-thousandth, as text without trailing zeros. The added digit makes the
            text end at the fifth decimal, whatever the scale of the column: 12.34 becomes 12.34005 everywhere. A price
            that has a fifth decimal itself gives a different text.
        days: a date as days since 1970-01-01, a whole number.
        length: the number of characters in a string.
        text: an argument of CONCAT, with null as an empty string.
        number: the first 60 bits of the MD5 of a string, as an integer.
        total: the sum of such integers, modulo 2**60.
    """

    price: str
    days: str
    length: str
    number: str
    total: str
    text: str = "{}"


DUCKDB = Dialect(
    price="CAST(CAST({} AS DECIMAL(22,4)) + 0.00005 AS VARCHAR)",
    days="{} - DATE '1970-01-01'",
    length="length({})",
    number=f"CAST('0x' || substr(md5({{}}), 1, {_HEX_DIGITS}) AS BIGINT)",
    total=f"CAST(sum({{}}) % {MODULUS} AS BIGINT)",
)

POSTGRES = Dialect(
    price="rtrim(CAST({} + 0.00005 AS text), '0')",
    days="{} - DATE '1970-01-01'",
    length="char_length({})",
    number=f"CAST(CAST('x' || substr(md5({{}}), 1, {_HEX_DIGITS}) AS bit(60)) AS bigint)",
    total=f"CAST(mod(sum({{}}), {MODULUS}) AS bigint)",
)

BIGQUERY = Dialect(
    price="RTRIM(CAST({} + NUMERIC '0.00005' AS STRING), '0')",
    days="UNIX_DATE({})",
    length="CHAR_LENGTH({})",
    text="COALESCE(CAST({} AS STRING), '')",
    number=f"CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5({{}})), 1, {_HEX_DIGITS})) AS INT64)",
    # INT64 sums overflow after eight rows.
    total=f"CAST(MOD(SUM(CAST({{}} AS NUMERIC)), {MODULUS}) AS INT64)",
)


def select_fingerprint(dialect: Dialect, *, has_source_row: bool = True, is_exact: bool = True) -> str:
    """Return the SQL of the fingerprint over a group of rows.

    `has_source_row` is false for the data lake, because its objects have only the fields. `is_exact` is false if the
    table keeps prices as binary floats. The fingerprint then leaves out prices, because floats have no reliable text.
    """
    parts = [*fields_of(WHOLE), *map(dialect.days.format, fields_of(DATE))]
    if is_exact:
        parts += map(dialect.price.format, fields_of(MONEY))
    if has_source_row:
        parts.append("source_row")
    for name in TEXT_FIELDS:
        # The length marks where a string ends, and distinguishes an empty string from null.
        parts += [dialect.length.format(name), name]
    row = ", '|', ".join(dialect.text.format(part) for part in parts)
    return dialect.total.format(dialect.number.format(f"CONCAT({row})"))
