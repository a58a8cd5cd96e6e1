"""Arrow schemas of rows, which follow from their columns."""

from collections.abc import Mapping

import pyarrow as pa

from txn_assets.rows.contract import RowContract
from txn_assets.rows.kinds import Kind


def make_schema(columns: Mapping[str, Kind]) -> pa.Schema:
    """Return the Arrow schema of `columns`."""
    return pa.schema([(name, kind.arrow_type()) for name, kind in columns.items()])


def valid_schema(contract: RowContract) -> pa.Schema:
    """Return the schema of valid rows between validation and hashing, as clear text."""
    return make_schema(contract.valid_columns)
