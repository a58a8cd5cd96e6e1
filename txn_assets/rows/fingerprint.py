"""Fingerprints of whole rows: the same number in DuckDB, PostgreSQL and BigQuery, regardless of row order.

Each row is written as one string and hashed with MD5. The first 60 bits of the hash are the row's number. A file's
fingerprint is the sum of these numbers modulo 2**60. XOR instead of a sum would miss a row that a store holds twice.
MD5 detects accidents and edits, but not an attacker who can choose the rows.
"""

from dataclasses import dataclass

from txn_assets.rows.contract import SOURCE_COLUMNS, RowContract
from txn_assets.rows.kinds import DecimalKind
from txn_assets.rows.kinds.date import DayBounds

MODULUS = 1 << 60
"""Upper bound of a fingerprint, so that it fits into the INT64 column of the ledgers."""

_HEX_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Dialect:
    """SQL of one engine for the fingerprint; `{}` is replaced by an expression. Each kind has the SQL of its values.

    Attributes:
        name: the name of the engine in `Kind.fingerprint` and `DayBounds.day`.
        column: a column's name.
        text: an argument of CONCAT, with null as an empty string.
        number: the first 60 bits of the MD5 of a string, as an integer.
        total: the sum of such integers, modulo 2**60.
        summand: a number to sum without overflow.
    """

    name: str
    number: str
    total: str
    text: str = "{}"
    column: str = '"{}"'
    summand: str = "{}"


DUCKDB = Dialect(
    name="duckdb",
    number=f"CAST('0x' || substr(md5({{}}), 1, {_HEX_DIGITS}) AS BIGINT)",
    total=f"CAST(sum({{}}) % {MODULUS} AS BIGINT)",
)

POSTGRES = Dialect(
    name="postgres",
    number=f"CAST(CAST('x' || substr(md5({{}}), 1, {_HEX_DIGITS}) AS bit(60)) AS bigint)",
    total=f"CAST(mod(sum({{}}), {MODULUS}) AS bigint)",
)

BIGQUERY = Dialect(
    name="bigquery",
    column="`{}`",
    summand="CAST({} AS NUMERIC)",
    text="COALESCE(CAST({} AS STRING), '')",
    number=f"CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5({{}})), 1, {_HEX_DIGITS})) AS INT64)",
    # INT64 sums overflow after eight rows.
    total=f"CAST(MOD(SUM(CAST({{}} AS NUMERIC)), {MODULUS}) AS INT64)",
)


def select_fingerprint(
    dialect: Dialect, contract: RowContract, *, has_source_row: bool = True, is_exact: bool = True
) -> str:
    """Return the SQL of the fingerprint over a group of rows of a feed.

    `has_source_row` is false for the data lake, because its objects have only the fields. `is_exact` is false if the
    table keeps exact decimals as binary floats. The fingerprint then leaves them out, because floats have no reliable
    text.
    """
    kinds = contract.kinds | ({"source_row": SOURCE_COLUMNS["source_row"]} if has_source_row else {})
    parts = [
        part.format(dialect.column.format(name))
        for name, kind in kinds.items()
        if is_exact or not isinstance(kind, DecimalKind)
        for part in kind.fingerprint[dialect.name]
    ]
    row = ", '|', ".join(dialect.text.format(part) for part in parts)
    return dialect.total.format(dialect.number.format(f"CONCAT({row})"))


def select_totals(dialect: Dialect, contract: RowContract) -> list[str]:
    """Return the SQL of `Totals` over a group of rows, without the fingerprint: rows, each sum, first and last day."""
    sums = [f"SUM({dialect.summand.format(dialect.column.format(name))})" for name in contract.summed]
    return ["COUNT(*)", *sums, *select_days(dialect, contract)]


def select_days(dialect: Dialect, contract: RowContract) -> list[str]:
    """Return the SQL of the first and the last day of a group of rows; null without a partition key."""
    key = contract.partition_key
    if key is None:
        return ["CAST(NULL AS DATE)"] * 2
    kind = contract.kinds[key]
    assert isinstance(kind, DayBounds)
    day = kind.day[dialect.name].format(dialect.column.format(key))
    return [f"MIN({day})", f"MAX({day})"]
