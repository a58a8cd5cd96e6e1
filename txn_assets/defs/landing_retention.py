"""The op that archives or deletes landed objects when they are old and every store has loaded them.

`files/retention.py` chooses them, `stores/landing/retention.py` removes one. See docs/operations.md, 'Landed objects
that are no longer needed'.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from txn_assets.defs.failures import without_values
from txn_assets.defs.names import asset_key, prefixed
from txn_assets.defs.partitions import names_in_unfinished_runs, partitions_name
from txn_assets.defs.services import read_ledgers
from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import FileVersion
from txn_assets.files.retention import proven_versions
from txn_assets.sections.operation import Retention
from txn_assets.stores.errors import StoreError
from txn_assets.stores.services import AllServices, Services

if TYPE_CHECKING:
    from txn_assets.stores.landing.retention import Removal

SHOWN_FILES = 20
"""Maximum number of objects that could not be removed to list by name."""

REMOVED_AT_ONCE = 8


def make_remove_old_landed_objects(feed: Feed, retention: Retention) -> dg.OpDefinition:
    """Return the op for the landing zone of `feed`."""
    archives = retention.landing == "archive"

    @dg.op(name=prefixed(feed, "remove_old_landed_objects"))
    @without_values
    def remove_old_landed_objects(context: dg.OpExecutionContext, services: dg.ResourceParam[AllServices]) -> None:
        """Archive or delete landed objects that every store has loaded more than `landing_days` ago."""
        assert retention.landing_days is not None
        own = services.of(feed)
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=retention.landing_days)
        old = list(own.landing.landed_before(before))
        keys = context.instance.get_dynamic_partitions(partitions_name(feed))
        proven = proven_versions(
            old,
            read_ledgers(own),
            rules_id=feed.rules_id,
            key_id=own.run_files.hasher.key_id,
            in_runs=names_in_unfinished_runs(context.instance, feed, keys),
        )
        removed, stay = 0, []
        for one in _remove(own, proven, archives=archives):
            if one.stays:
                stay.append(f"{one.version} stays in the landing zone: {one.stays}")
            if one.is_removed:
                removed += 1
                where = {"archived_to": one.archive} if archives else {"landed_object": "deleted"}
                key = asset_key(feed, "raw_csv")
                context.log_event(dg.AssetObservation(key, partition=one.version.name, metadata=where))
        for sentence in stay[:SHOWN_FILES]:
            context.log.warning(sentence)
        context.log.info(
            f"{'archived' if archives else 'deleted'} {removed} landed objects (cutoff: {before:%Y-%m-%d}); of the "
            f"others of that age, {len(old) - len(proven)} are not loaded as they should be, and {len(stay)} must stay"
        )

    return remove_old_landed_objects


def _remove(services: Services, versions: Sequence[FileVersion], *, archives: bool) -> "Iterator[Removal]":
    from txn_assets.stores.landing.retention import remove_landed  # noqa: PLC0415 - imports a client

    remove = partial(remove_landed, services, archives=archives, now=dt.datetime.now(dt.UTC))
    try:
        with ThreadPoolExecutor(REMOVED_AT_ONCE) as pool:
            yield from pool.map(remove, versions)
    except StoreError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
