"""The errors of the layers below Dagster; `defs/` turns them into the Failure of a step."""


class StoreError(Exception):
    """Raised when a store cannot be loaded; the message names store, cause and remedy, and no value from a row."""


class StoreUnavailableError(StoreError):
    """Raised when a store cannot be loaded now because transient errors outlasted the budget."""


class LandedFileError(Exception):
    """Raised when a landed file cannot be read now; the message names it and says what to do."""


class UnusableFileError(Exception):
    """Raised when a landed file cannot be loaded as it is, however often it is tried; the message says what to do."""
