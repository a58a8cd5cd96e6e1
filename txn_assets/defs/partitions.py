"""Partition definition: one partition per landed file.

The sensor adds keys as files arrive; `ledger.FileVersion` describes a landed file. See docs/operations.md.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.instance import DynamicPartitionsStore  # in the signature of the base class

LANDED_FILES = "landed_files"


class LandedFiles(dg.DynamicPartitionsDefinition):
    """Dynamic partitions that also accept the key of a landed object that is not registered yet.

    This makes `dagster asset materialize --partition NAME` work on a fresh instance; `raw_csv` registers the key.
    """

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime | None = None,
        dynamic_partitions_store: "DynamicPartitionsStore | None" = None,
    ) -> bool:
        """Return whether `partition_key` is registered or has landed."""
        # Dagster calls this a dozen times per file and run; without the cache, each call would query the storage.
        if partition_key in _KNOWN:
            return True
        known = super().has_partition_key(partition_key, current_time, dynamic_partitions_store)
        if known or _has_landed(partition_key):
            if len(_KNOWN) >= MAX_KNOWN:
                _KNOWN.clear()
            _KNOWN.add(partition_key)
            return True
        return False

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """Return the keys from the first to the last, in the order of registration.

        Raises:
            DagsterInvalidInvocationError: the first or the last key is not registered, so it has no place in the order.
        """
        first, last = partition_key_range.start, partition_key_range.end
        registered = self.get_partition_keys()
        if first != last and (missing := [key for key in (first, last) if key not in registered]):
            message = (
                f"A range of partitions goes by the order in which files were registered, and {', '.join(missing)} "
                "is not registered yet: let the sensor find it, or load it alone with --partition first."
            )
            raise dg.DagsterInvalidInvocationError(message)
        return super().get_partition_keys_in_range(partition_key_range)


_KNOWN: set[str] = set()
"""Keys that were registered or had landed. Entries may be stale: `raw_csv` fails if the file is gone."""
MAX_KNOWN = 10_000


def _has_landed(name: str) -> bool:
    from txn_assets.defs.resources import landing_zone  # noqa: PLC0415 - needed for unregistered keys only

    landing = landing_zone()
    if landing.latest(name) is not None:
        return True
    dg.get_dagster_logger().error(landing.not_landed(name))
    return False


landed_files = LandedFiles(name=LANDED_FILES)


def materialize_only(context: dg.OutputContext, names: Iterable[str]) -> None:
    """Make Dagster record a materialization for the files `names` only, when some files of a batch failed.

    Dagster has no public way to leave partitions out of a range: it records what this attribute of the context names.
    """
    context._asset_partitions_subset = landed_files.subset_with_partition_keys(names)  # noqa: SLF001 - see above
