"""The names of a feed's definitions: plain for the first feed, and with the name of any other feed in front."""

import dagster as dg

from txn_assets.feeds.feed import Feed


def asset_key(feed: Feed, name: str) -> dg.AssetKey:
    """Return the key of the asset `name` of `feed`, such as `raw_csv` or `refunds/raw_csv`."""
    return dg.AssetKey([feed.prefix, name] if feed.prefix else [name])


def prefixed(feed: Feed, name: str) -> str:
    """Return the name of a job, sensor, schedule, group or resource of `feed`, such as `refunds_daily_sweep`."""
    return feed.prefixed(name)


def without_prefix(feed: Feed, stage: str) -> str:
    """Return `stage`, an asset of `feed` as a Python identifier, as output shows it that is about one feed."""
    return stage.removeprefix(f"{feed.prefix}__") if feed.prefix else stage
