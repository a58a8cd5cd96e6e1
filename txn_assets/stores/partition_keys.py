"""The partition keys of some days, for conditions that an index or a partition can answer."""

import datetime as dt

from txn_assets.rows.contract import RowContract
from txn_assets.rows.kinds import TimestampKind

type Key = dt.date | dt.datetime | None


def key_bounds(contract: RowContract, first: dt.date | None, last: dt.date | None) -> tuple[Key, Key]:
    """Return the smallest and the largest partition key of the days from `first` to `last`, which are in UTC."""
    if first and last and contract.partition_key in contract.of_kind(TimestampKind):
        return dt.datetime.combine(first, dt.time.min, dt.UTC), dt.datetime.combine(last, dt.time.max, dt.UTC)
    return first, last
