"""What the commands that ask about files have in common: the stores, the feeds and Dagster that they ask."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from txn_assets.config import load_config
from txn_assets.errors import UserError
from txn_assets.feeds.configured import feeds_of, find_feed
from txn_assets.feeds.feed import Feed
from txn_assets.runs.dagster_client import COMMAND_SECONDS, DagsterClient, DagsterError, find_dagster
from txn_assets.stores.errors import StoreError
from txn_assets.stores.google_errors import FAULTS, explain
from txn_assets.stores.services import AllServices
from txn_assets.target import open_services

NO_DAGSTER = "No Dagster answers. Start one with `txn dev`, or name its web server in TXN_DAGSTER_URL"


@dataclass(frozen=True)
class Asked:
    """What a command asks about files. `dagster` is None if no web server of Dagster answers."""

    services: AllServices
    feeds: tuple[Feed, ...]
    dagster: DagsterClient | None


@contextmanager
def asking(given: argparse.Namespace) -> Iterator[Asked]:
    """Yield what to ask about the files of the feed in `given.feed`, or of all feeds.

    Raises:
        UserError: there is no such feed, or a store or Dagster cannot be asked.
    """
    with opened() as services:
        config = services.config
        feeds = (find_feed(config, given.feed),) if given.feed else feeds_of(config)
        yield Asked(services, feeds, _answering(feeds[0]))


@contextmanager
def opened() -> Iterator[AllServices]:
    """Yield the services of all feeds.

    Raises:
        UserError: a store or Dagster cannot be asked.
    """
    config = load_config()
    try:
        with open_services(config) as services:
            yield services
    except (StoreError, DagsterError) as error:
        raise UserError(str(error)) from error
    except FAULTS as error:
        raise UserError(explain(error, f"Bucket {config.data_lake.gcs_bucket}")) from error


def _answering(feed: Feed) -> DagsterClient | None:
    dagster = find_dagster(seconds=COMMAND_SECONDS)
    return dagster if dagster and dagster.has(feed) else None
