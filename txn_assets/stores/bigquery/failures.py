"""What an error of the BigQuery store's statements means. `google_errors.py` explains those of any request.

The statements of `sql.py` raise some of the errors themselves, with texts from here.
"""

import re

LOAD_TABLE_PREFIX = "_txn_staging_"

WRONG_ROWS = "the table does not hold the rows of"
"""Error text of the transaction if the rows that it wrote differ from those of a file, whose name follows."""

LEDGER_CHANGED = "another load committed in between"
"""Error text of the transaction if the ledger has changed since the caller read it."""


def wrong_file(message: str) -> str | None:
    """Return the file with wrong rows that the error `message` names, or None if it names no file."""
    found = re.search(re.escape(WRONG_ROWS) + r" \[(.*?)\]", message)
    return found[1] if found else None


_TAKEN = re.compile(
    # BigQuery: https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency
    r"due to concurrent|"
    # The embedded server (DuckDB).
    r"failed to commit|transaction conflict|conflict on (?:create|update|tuple deletion)",
    re.IGNORECASE,
)


def is_taken(message: str) -> bool:
    """Return whether BigQuery aborted a transaction because another one was changing the same table."""
    return _TAKEN.search(message) is not None


def is_conflict(message: str) -> bool:
    """Return whether a transaction was aborted because of a concurrent one, which may have changed the ledger."""
    return is_taken(message) or LEDGER_CHANGED in message


def is_lost_load_table(message: str) -> bool:
    """Return whether a load table is gone because somebody removed it or it expired."""
    return is_lost_table(LOAD_TABLE_PREFIX, message)


def is_lost_table(name: str, message: str) -> bool:
    """Return whether the table `name`, or one whose name begins so, is gone."""
    text = message.casefold()
    return name.casefold() in text and "not found" in text
