"""Errors of the layers below Dagster. `defs/` turns them into step failures."""

from txn_assets.errors import ValueFreeError


class StoreError(ValueFreeError):
    """Raised when a store cannot be loaded; the message names store, cause and remedy, but no value from a row."""


class StoreUnavailableError(StoreError):
    """Raised when a store cannot be loaded now because transient errors outlasted the budget."""


class LandedFileError(ValueFreeError):
    """Raised when a landed file cannot be read now; the message names the file and says what to do."""


class UnusableFileError(ValueFreeError):
    """Raised when a landed file cannot be loaded and a retry cannot help; the message says what to do."""
