"""Columns of the rows that assets pass to each other, and of both tables.

Schemas, DDL and select lists are derived from them. To add a field, add it to `Transaction` in `transaction.py`. Keep
Arrow out of this module, because Dagster loads the definitions without Arrow.
"""

from txn_assets.rows.kinds import TEXT, WHOLE
from txn_assets.rows.transaction import FIELD_KINDS

SOURCE_COLUMNS = {"source_file": TEXT, "source_row": WHOLE}
"""Columns that say where a row comes from: the landed file, and the number of its record there, from 1."""

VALID_COLUMNS = {"source_row": WHOLE} | FIELD_KINDS
"""The columns of the valid rows of a file, in order."""

TABLE_COLUMNS = FIELD_KINDS | SOURCE_COLUMNS
"""The columns of the PostgreSQL and the BigQuery table, in order."""

STAGED_COLUMNS = SOURCE_COLUMNS | FIELD_KINDS
"""The columns of the staged Parquet files, of load tables and of COPY, in order."""
