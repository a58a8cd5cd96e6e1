"""Partitions definitions, one per feed: one partition per landed file.

The sensor adds keys as files arrive; `ledger.FileVersion` describes a landed file. See docs/operations.md.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from txn_assets.config import PipelineConfig
from txn_assets.defs.names import prefixed
from txn_assets.defs.services import open_services
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import LOAD_JOB, PARTITIONS, names_in_runs

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class LandedFilePartitions(dg.DynamicPartitionsDefinition):
    """Dynamic partitions that also accept the key of a landed object that is not registered yet.

    This makes `dagster asset materialize --partition NAME` work on a fresh instance; `raw_csv` registers the key.
    """

    def has_partition_key(self, partition_key: str, *arguments: Any, **options: Any) -> bool:  # noqa: ANN401 - passed through
        """Return whether `partition_key` is registered or has landed."""
        landed = _LANDED.get(self.name or "")
        # Dagster calls this a dozen times per file and run; without the cache, each call would query the storage.
        if landed and partition_key in landed.known:
            return True
        known = super().has_partition_key(partition_key, *arguments, **options)
        if landed and (known or landed.has(partition_key)):
            landed.add(partition_key)
            return True
        return known

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """Return the keys from the first to the last, in the order of registration.

        Raises:
            DagsterInvalidInvocationError: the first or the last key is not registered, so it has no place in the order.
        """
        first, last = partition_key_range.start, partition_key_range.end
        # Dagster asks for the range of a single file forty times in a run, and would read all keys twice each time.
        if first == last and self.has_partition_key(first):
            return [first]
        registered = self.get_partition_keys()
        if first != last and (missing := [key for key in (first, last) if key not in registered]):
            message = (
                f"A range of partitions follows the order in which files were registered, and {', '.join(missing)} "
                "is not registered yet: wait for the sensor to find it, or load it alone with --partition first."
            )
            raise dg.DagsterInvalidInvocationError(message)
        return super().get_partition_keys_in_range(partition_key_range)


MAX_KNOWN = 10_000


class _Landed:
    """Files of a feed that this process knows have landed. May be stale: `raw_csv` fails if the file is gone."""

    def __init__(self, config: PipelineConfig, feed: Feed) -> None:
        self.config = config
        self.feed = feed
        self.known: set[str] = set()

    def add(self, name: str) -> None:
        if len(self.known) >= MAX_KNOWN:
            self.known.clear()
        self.known.add(name)

    def has(self, name: str) -> bool:
        """Ask the landing zone, and log an error if the file is not there."""
        with open_services(self.config) as services:
            own = services.of(self.feed)
            if own.landing.latest(name) is not None:
                return True
            dg.get_dagster_logger().error(own.not_landed(name))
        return False


_LANDED: dict[str, _Landed] = {}
"""What is known of each feed's files, by the name of its partitions definition.

Dagster passes only a key to a partitions definition, so the definition cannot use the resources of a run.
"""


def look_for_files_in(config: PipelineConfig, feed: Feed) -> None:
    """Look for files of `feed` that are not registered yet in its landing zone."""
    _LANDED[partitions_name(feed)] = _Landed(config, feed)


def partitions_name(feed: Feed) -> str:
    """Return the name of the partitions of `feed`."""
    return prefixed(feed, PARTITIONS)


def landed_files_of(feed: Feed) -> LandedFilePartitions:
    """Return the partitions of `feed`."""
    return LandedFilePartitions(name=partitions_name(feed))


landed_files = LandedFilePartitions(name=PARTITIONS)
"""The partitions of the first feed, for assets of your own."""


def names_in_unfinished_runs(instance: dg.DagsterInstance, feed: Feed, keys: Sequence[str]) -> set[str]:
    """Return the files of `feed` that a run loads or is about to load; `keys` are all partition keys in order."""
    unfinished = dg.RunsFilter(job_name=prefixed(feed, LOAD_JOB), statuses=UNFINISHED)
    # A run names only the first and last key of its files, so pass all keys to find the ones in between.
    return names_in_runs([run.tags for run in instance.get_runs(filters=unfinished)], keys)


def materialize_only(context: dg.OutputContext, names: Iterable[str]) -> None:
    """Make Dagster record a materialization only for the files `names`, when some files of a batch failed.

    Dagster has no public way to leave partitions out of a range: it records the partitions in this private attribute.
    """
    partitions = context.asset_partitions_def
    context._asset_partitions_subset = partitions.subset_with_partition_keys(names)  # noqa: SLF001 - see above
