"""All definitions of a feed. Its modules define the parts; `definitions.py` adds what all feeds share."""

import dagster as dg

from txn_assets.config import PipelineConfig
from txn_assets.defs.assets import make_assets
from txn_assets.defs.checks import make_checks
from txn_assets.defs.erasing import define_erasure
from txn_assets.defs.io_managers.sink import make_sink_io_manager
from txn_assets.defs.io_managers.values import make_values_io_manager
from txn_assets.defs.jobs import make_jobs
from txn_assets.defs.names import prefixed
from txn_assets.defs.partitions import look_for_files_in
from txn_assets.defs.sensors import make_daily_sweep, make_sensor, upkeep_schedules
from txn_assets.feeds.feed import Feed
from txn_assets.stores.registry import STORES


def define_feed(feed: Feed, config: PipelineConfig) -> dg.Definitions:
    """Return the definitions of `feed`, which need the resource `services`."""
    look_for_files_in(config, feed)
    assets = make_assets(feed, config)
    own = dg.Definitions(
        assets=[assets.landing_zone, *assets.loading],
        asset_checks=list(make_checks(feed, assets, config.orchestration)),
        sensors=[make_sensor(feed, config.orchestration)],
        schedules=[make_daily_sweep(feed, config.orchestration), *upkeep_schedules(feed)],
        resources={
            prefixed(feed, "values"): make_values_io_manager(feed),
            **{prefixed(feed, entry.key): make_sink_io_manager(feed, entry) for entry in STORES},
        },
    )
    return dg.Definitions.merge(own, make_jobs(feed, assets, config.retention), define_erasure(feed))
