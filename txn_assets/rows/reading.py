"""How the files of a feed are read. Keep Arrow out of this module, because Dagster loads the definitions without it."""

from dataclasses import dataclass

from txn_assets.rows.contract import RowContract
from txn_assets.rows.reader.file_format import DEFAULT_FORMAT, FileFormat
from txn_assets.rows.reader.limits import DEFAULT_LIMITS, FileLimits


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the files of a feed are read and validated.

    Attributes:
        contract: the columns and what a valid row is, on the day of the run.
        batch_size: number of rows passed to Pydantic at once.
        unknown_columns_key: the configuration key that refuses a file with columns that are not in the contract; ''
            if they are ignored.
    """

    contract: RowContract
    file_format: FileFormat = DEFAULT_FORMAT
    limits: FileLimits = DEFAULT_LIMITS
    batch_size: int = 10_000
    unknown_columns_key: str = ""
