"""The jobs: load landed files, check for stuck files, and remove what is old.

The sensor and the schedules that start them are in `sensors.py`. See docs/operations.md.
"""

import datetime as dt

import dagster as dg

from txn_assets.defs.assets import FeedAssets
from txn_assets.defs.failures import without_values
from txn_assets.defs.landing_retention import make_remove_old_landed_objects
from txn_assets.defs.names import prefixed
from txn_assets.defs.partitions import names_in_unfinished_runs, partitions_name
from txn_assets.defs.services import read_ledgers
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import LOAD_JOB
from txn_assets.files.retention import outdated_keys, outdated_objects
from txn_assets.sections.operation import Retention
from txn_assets.stores.services import AllServices

LOAD, WATCH, REMOVE_OLD = LOAD_JOB, "watch_landing_zone", "remove_old"
"""Names of the jobs of the first feed."""


def make_jobs(feed: Feed, assets: FeedAssets, retention: Retention) -> dg.Definitions:
    """Return the jobs of `feed`."""
    load = dg.define_asset_job(
        name=prefixed(feed, LOAD),
        selection=dg.AssetSelection.assets(*assets.loading),
        description="Loads one or more landed files into the three stores.",
        tags={
            # If the machine dies, the run's clear text is lost with it, so retry all steps from the landing zone.
            "dagster/retry_strategy": "ALL_STEPS",
        },
    )
    watch = dg.define_asset_job(
        name=prefixed(feed, WATCH),
        selection=dg.AssetSelection.checks_for_assets(assets.landing_zone.key),
        description="Looks for landed files that are missing from a store, and for files that should have landed.",
    )
    return dg.Definitions(jobs=[load, watch, _make_remove_old(feed, retention)])


def _make_remove_old(feed: Feed, retention: Retention) -> dg.JobDefinition:
    """Return the job that removes what is older than `retention` allows: keys, staged values and landed objects."""

    @dg.op(name=prefixed(feed, "remove_old_partition_keys"))
    @without_values
    def remove_old_partition_keys(context: dg.OpExecutionContext, services: dg.ResourceParam[AllServices]) -> None:
        """Remove old partition keys of files that are loaded or gone."""
        own = services.of(feed)
        # Read the keys first: a file registered later is not among them, so it cannot be mistaken for a deleted one.
        keys = context.instance.get_dynamic_partitions(partitions_name(feed))
        landed = {version.name: version.generation for version in own.landing.versions()}
        ledgers = read_ledgers(own)
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=retention.partition_days)
        in_runs = names_in_unfinished_runs(context.instance, feed, keys)
        outdated = [key for key in outdated_keys(keys, landed, ledgers, before=before) if key not in in_runs]
        for key in outdated:
            context.instance.delete_dynamic_partition(partitions_name(feed), key)
        context.log.info(f"removed {len(outdated)} of {len(keys)} partition keys (cutoff: {before:%Y-%m-%d})")

    @dg.op(name=prefixed(feed, "remove_old_staging"))
    @without_values
    def remove_old_staging(context: dg.OpExecutionContext, services: dg.ResourceParam[AllServices]) -> None:
        """Remove values that were staged more than `staging_days` ago."""
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=retention.staging_days)
        staging = services.of(feed).staging
        removed = staging.remove(outdated_objects(staging.written(), before=before))
        context.log.info(f"removed {removed} staged objects (cutoff: {before:%Y-%m-%d})")

    remove_old_landed_objects = make_remove_old_landed_objects(feed, retention)

    @dg.job(
        name=prefixed(feed, REMOVE_OLD),
        description="Removes old partition keys and staged values, and landed objects if `retention.landing_days` is "
        "set. The ledgers keep the load history.",
    )
    def remove_old() -> None:
        remove_old_partition_keys()
        remove_old_staging()
        if retention.landing_days is not None:
            remove_old_landed_objects()

    return remove_old
