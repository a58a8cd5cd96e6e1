"""Have Dagster load landed files again: by name, those loaded under other rules, or those whose loads failed.

The runs are those that the sensor and the sweep request, with run keys of their own. Files that a run is about to load
are left to it.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched

from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import RELOAD_TAG, RUN_KEY_TAG, batches, left_alone, outdated_versions, run_key
from txn_assets.files.file_status import RunState
from txn_assets.files.ledger import FileVersion
from txn_assets.files.retention import landed_at
from txn_assets.runs.dagster_client import RUNS_PER_QUESTION, DagsterClient
from txn_assets.runs.files import find_missing, postgres_of
from txn_assets.stores.services import Services


@dataclass(frozen=True)
class Choice:
    """Versions to load again, oldest first, and those that a run is about to load."""

    versions: tuple[FileVersion, ...]
    in_runs: tuple[FileVersion, ...]


def choose_outdated(services: Services, dagster: DagsterClient) -> Choice:
    """Choose the versions that the nightly sweep would load again: loaded under other rules or with another key.

    Raises:
        StoreError: a ledger cannot be read.
        DagsterError: Dagster does not answer.
    """
    if not postgres_of(services).held_versions():
        return Choice((), ())
    landed = [version for version in services.landing.versions() if left_alone(version) is None]
    rules_id, key_id = services.feed.rules_id, services.run_files.hasher.key_id
    outdated = outdated_versions(landed, services.read_ledgers(), rules_id=rules_id, key_id=key_id)
    return _without_runs(outdated, _runs_of(dagster, services.feed, outdated))


def choose_rotated(services: Services, versions: Sequence[FileVersion], dagster: DagsterClient, limit: int) -> Choice:
    """Choose up to `limit` of `versions`, which are hashed with another key, in their order.

    Those whose newest run failed come last, because they would otherwise keep the others waiting.

    Raises:
        DagsterError: Dagster does not answer.
    """
    chosen: list[FileVersion] = []
    failed: list[FileVersion] = []
    in_runs: list[FileVersion] = []
    for some in batched(versions, RUNS_PER_QUESTION, strict=False):
        for version, run in zip(some, _runs_of(dagster, services.feed, some), strict=True):
            of = chosen if run is None or run.status == "SUCCESS" else failed if run.has_ended else in_runs
            of.append(version)
        if len(chosen) >= limit:
            break
    return Choice(tuple([*chosen, *failed][:limit]), tuple(in_runs))


def choose_failed(services: Services, dagster: DagsterClient) -> Choice:
    """Choose the versions that a store lacks and whose newest run failed, or that landed long ago.

    Raises:
        StoreError: a ledger cannot be read.
        DagsterError: Dagster does not answer.
    """
    since = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=services.config.orchestration.stuck_after_minutes)
    missing = find_missing(services)
    runs = _runs_of(dagster, services.feed, missing)
    failed = {
        version: run
        for version, run in zip(missing, runs, strict=True)
        if run is not None or landed_at(version.generation) < since
    }
    return _without_runs(list(failed), list(failed.values()))


def choose_named(services: Services, versions: Sequence[FileVersion], dagster: DagsterClient) -> Choice:
    """Choose `versions`, which somebody named.

    Raises:
        DagsterError: Dagster does not answer.
    """
    return _without_runs(versions, _runs_of(dagster, services.feed, versions))


def _without_runs(versions: Sequence[FileVersion], runs: Sequence[RunState | None]) -> Choice:
    in_runs = tuple(version for version, run in zip(versions, runs, strict=True) if run and not run.has_ended)
    return Choice(tuple(version for version in versions if version not in in_runs), in_runs)


def _runs_of(dagster: DagsterClient, feed: Feed, versions: Sequence[FileVersion]) -> list[RunState | None]:
    """Return the newest run of each version; None if the newest run of its file is about another version."""
    runs = dagster.runs_of([(feed, version.name) for version in versions])
    return [run if run and run.is_about(version) else None for version, run in zip(versions, runs, strict=True)]


def request_runs(
    dagster: DagsterClient, services: Services, versions: Sequence[FileVersion], *, is_reload: bool
) -> Iterator[str]:
    """Request the runs that load `versions`, small files together, and yield the address of each.

    With `is_reload` the nightly sweep counts them as its own, and does not put them first again.

    Raises:
        DagsterError: Dagster does not answer, or refuses a run. Those before it are requested.
    """
    feed = services.feed
    tags = {RELOAD_TAG: f"{feed.rules_id}/{services.run_files.hasher.key_id}"} if is_reload else {}
    suffix = f"#replay {dt.datetime.now(dt.UTC).isoformat(timespec='milliseconds')}"
    keys = dagster.add_partitions(feed, versions)
    for batch in batches(versions, keys):
        yield dagster.address(dagster.launch(feed, batch, tags | {RUN_KEY_TAG: run_key(batch, suffix)}))
