"""Columns of the first feed for code that does not take a contract yet."""

from txn_assets.feeds.transaction import CONTRACT
from txn_assets.rows import contract

SOURCE_COLUMNS = contract.SOURCE_COLUMNS
FIELDS = CONTRACT.names
FIELD_KINDS = CONTRACT.kinds
TEXT_FIELDS = CONTRACT.text_fields
TABLE_COLUMNS = CONTRACT.table_columns
STAGED_COLUMNS = CONTRACT.staged_columns
VALID_COLUMNS = CONTRACT.valid_columns
fields_of = CONTRACT.of_kind
