"""The partitions: one landed file each.

Here belongs which keys there are. What a landed file is stands in `ledger.FileVersion`; the sensor adds keys as files
arrive. Documented in docs/operations.md.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.instance import DynamicPartitionsStore  # the base class names it in its signature

LANDED_FILES = "landed_files"


class LandedFiles(dg.DynamicPartitionsDefinition):
    """Dynamic partitions that also know an object that has landed before anybody registered it.

    So `dagster asset materialize --partition NAME` works on a fresh instance; `raw_csv` registers the key.
    """

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime | None = None,
        dynamic_partitions_store: "DynamicPartitionsStore | None" = None,
    ) -> bool:
        """Whether `partition_key` is registered or has landed."""
        # Dagster asks a dozen times a run for each file, and each time the storage would be asked.
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
        """The keys from the first to the last, in the order in which they were registered.

        Raises:
            DagsterInvalidInvocationError: one of the two is not registered, so it has no place in the order.
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
"""Keys that were registered or had landed; one that is gone since is refused by `raw_csv`, which looks for the file."""
MAX_KNOWN = 10_000


def _has_landed(name: str) -> bool:
    from txn_assets.defs.resources import landing_zone  # noqa: PLC0415 - only an unregistered key needs the bucket

    landing = landing_zone()
    if landing.latest(name) is not None:
        return True
    dg.get_dagster_logger().error(landing.not_landed(name))
    return False


landed_files = LandedFiles(name=LANDED_FILES)


def materialize_only(context: dg.OutputContext, names: Iterable[str]) -> None:
    """Lets Dagster note a materialisation of the files `names` alone, where a batch lost some on its way.

    Dagster has no public way to leave partitions out of a range: it notes what this attribute of the context names.
    """
    context._asset_partitions_subset = landed_files.subset_with_partition_keys(names)  # noqa: SLF001 - see above
