"""The kinds of values that a column can have, and the type of each in every engine.

A field of the row contract names its kind in `transaction.py`. Schemas, patterns and checks of existing tables are
derived from the kind, so a new field does not need its own. `columns.py` has the columns.
"""

from dataclasses import dataclass

WHOLE_DIGITS = 14
"""Maximum number of digits before the decimal point of a price."""
DECIMAL_PLACES = 4


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """A kind of values, with its type in each engine. `validation.py` has the Arrow types.

    Two kinds may have the same types but different valid values, so a kind equals only itself. Keep Arrow out of this
    module, because Dagster loads the definitions without Arrow.
    """

    duckdb: str
    postgres: str
    bigquery: str


IDENTIFIER = Kind("VARCHAR", "text", "STRING")
TEXT = Kind("VARCHAR", "text", "STRING")
MONEY = Kind(
    f"DECIMAL({WHOLE_DIGITS + DECIMAL_PLACES},{DECIMAL_PLACES})",
    f"numeric({WHOLE_DIGITS + DECIMAL_PLACES},{DECIMAL_PLACES})",
    "NUMERIC",
)
WHOLE = Kind("BIGINT", "bigint", "INT64")
DATE = Kind("DATE", "date", "DATE")
