"""Ask Dagster for the run that loads a landed file, so that the file does not wait for the sensor's next tick."""

import logging

from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import FileVersion
from txn_assets.runs.dagster_client import DagsterError, find_dagster

LOGGER = logging.getLogger("txn_assets.upload")


def request_load(feed: Feed, version: FileVersion) -> None:
    """Request the run that loads `version`, unless one is about to. Block for a few seconds at most.

    If Dagster does not answer, the sensor finds the file in the landing zone.
    """
    dagster = find_dagster()
    if dagster is None:
        return
    try:
        dagster.request_run(feed, version)
    except DagsterError as error:
        LOGGER.warning("%s is left to the sensor: %s", version, error)
