"""What became of files, for people who ask: of one file with its versions, of the last ones, and of those not loaded.

The ledgers, the landing zone and the quarantine say it. Dagster adds which runs are queued, running or failed; without
it a file that is not loaded counts as landed. `commands/status.py` prints what this module finds.
"""

import datetime as dt
import difflib
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from txn_assets.errors import UserError
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import left_alone, missing_versions
from txn_assets.files.file_status import FileStatus, RunState, State
from txn_assets.files.ledger import FileVersion, LoadRecord
from txn_assets.files.retention import landed_at
from txn_assets.runs.dagster_client import DagsterClient
from txn_assets.stores.file_status import read_statuses
from txn_assets.stores.postgres.store import PostgresStore
from txn_assets.stores.services import AllServices, Services

SHOWN_FILES = 20
"""Number of files in an overview."""

EXAMINED = 100
"""Maximum number of files of a feed that are not loaded and whose state is looked up, the newest first."""

MOST_VERSIONS = 20
"""Maximum number of versions of a file to list."""

MOST_NAMES = 20_000
"""Maximum number of names in the landing zone to compare with a mistyped one."""


@dataclass(frozen=True, slots=True)
class EarlierVersion:
    """A version of a file in PostgreSQL's ledger; `stores` are those whose newest version it is."""

    load: LoadRecord
    stores: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FileHistory:
    """A file: what became of its current version, and all versions in PostgreSQL's ledger, newest first.

    Attributes:
        is_landed: whether the current version is in the landing zone.
        archive: where retention has moved its landed object; '' if it is not there.
    """

    status: FileStatus
    is_landed: bool
    archive: str
    versions: tuple[EarlierVersion, ...]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The last files, and how many are not in every store.

    Attributes:
        files: the last files, newest first.
        states: how many of the examined files are in each state, loaded ones left out.
        stuck: how many files landed longer ago than `orchestration.stuck_after_minutes` and are not in every store.
        unexamined: how many files that are not in every store were too many to look up.
    """

    files: tuple[FileStatus, ...]
    states: Mapping[State, int]
    stuck: int
    unexamined: int

    @property
    def needs_attention(self) -> bool:
        """Whether a file does not get loaded by itself."""
        return bool(self.stuck or self.states.get(State.FAILED) or self.states.get(State.REJECTED))


def find_history(services: Services, name: str, dagster: DagsterClient | None) -> FileHistory | None:
    """Return what became of the file `name`; None if neither the landing zone nor a ledger knows it.

    Raises:
        StoreError: a ledger or the landing zone cannot be read.
        DagsterError: Dagster stopped answering.
    """
    loads = postgres_of(services).recent_loads(MOST_VERSIONS, name=name)
    live = services.landing.latest(name)
    newest = max((load.file for load in loads), key=lambda version: version.generation, default=None)
    current = live or newest
    if current is None:
        return None
    (status,) = _statuses(services, [current], dagster)
    held = {label: holding for label, holding in status.stores.items() if holding.rows is not None}
    versions = (
        EarlierVersion(load, tuple(held) if load.file.generation == current.generation else ()) for load in loads
    )
    in_order = sorted(versions, key=lambda version: -version.load.file.generation)
    archived = None if live or services.archive is None else services.archive.find(current)
    return FileHistory(status=status, is_landed=live is not None, archive=archived or "", versions=tuple(in_order))


def find_overview(all_services: AllServices, feeds: Sequence[Feed], dagster: DagsterClient | None) -> Overview:
    """Return the last files of `feeds`, and the number of those that are not loaded.

    This lists the landing zones and reads every ledger, as the hourly check for stuck files does.

    Raises:
        StoreError: a ledger or the landing zone cannot be read.
        DagsterError: Dagster stopped answering.
    """
    files: list[FileStatus] = []
    states: dict[State, int] = {}
    stuck = unexamined = 0
    minutes = all_services.config.orchestration.stuck_after_minutes
    since = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    for feed in feeds:
        services = all_services.of(feed)
        missing = find_missing(services)
        stuck += sum(landed_at(version.generation) < since for version in missing)
        unexamined += max(len(missing) - EXAMINED, 0)
        examined = missing[-EXAMINED:]
        recent = {load.file.name: load.file for load in postgres_of(services).recent_loads(SHOWN_FILES)}
        names = {version.name for version in examined}
        loaded = [version for name, version in recent.items() if name not in names]
        found = list(_statuses(services, [*examined, *loaded], dagster))
        for status in found:
            if status.state not in (State.LOADED, State.PARTLY, State.SUPERSEDED):
                states[status.state] = states.get(status.state, 0) + 1
        files += found
    files.sort(key=lambda status: status.loaded_at or status.landed_at, reverse=True)
    return Overview(files=tuple(files[:SHOWN_FILES]), states=states, stuck=stuck, unexamined=unexamined)


def find_missing(services: Services) -> list[FileVersion]:
    """Return the landed versions that a store lacks, oldest first.

    Raises:
        StoreError: a ledger cannot be read.
    """
    landed = [version for version in services.landing.versions() if left_alone(version) is None]
    # Before the first load, reading BigQuery's ledger would create it, which an account that may only read cannot.
    if postgres_of(services).held_versions():
        return missing_versions(landed, services.read_ledgers())
    return sorted(landed, key=lambda version: version.generation)


def postgres_of(services: Services) -> PostgresStore:
    """Return the store whose ledger is asked first, because a query of it costs nothing."""
    store = services.stores["postgres"]
    assert isinstance(store, PostgresStore)
    return store


def _statuses(
    services: Services, versions: Sequence[FileVersion], dagster: DagsterClient | None
) -> Iterator[FileStatus]:
    runs = find_runs(services.feed, versions, dagster)
    found = read_statuses(services, dict(zip(versions, runs, strict=True)))
    for status in found.values():
        if status is not None:
            yield replace(status, url=dagster.address(status.run_id)) if dagster and status.run_id else status


def find_runs(feed: Feed, versions: Sequence[FileVersion], dagster: DagsterClient | None) -> list[RunState | None]:
    """Return the newest run of each of `versions`, with the reason if it failed; None without Dagster or a run.

    Raises:
        DagsterError: Dagster does not answer.
    """
    if dagster is None:
        return [None] * len(versions)
    runs = dagster.runs_of([(feed, version.name) for version in versions])
    return [run and dagster.with_reason(run) for run in runs]


def gone_file(all_services: AllServices, feeds: Iterable[Feed], name: str) -> UserError | None:
    """Return the error for a file that was loaded and whose landed object is gone; None if no ledger knows it."""
    for feed in feeds:
        services = all_services.of(feed)
        if services.archive and (archived := services.archive.newest(name)):
            return UserError(services.archive.archived(archived, feed))
        for load in postgres_of(services).recent_loads(1, name=name):
            landing = services.landing
            return UserError(
                f"{load.file} is loaded, but its landed object is gone from {landing.address}. Land it there again to "
                f"load it again. For some days after it was deleted, the bucket may still have it: `gcloud storage "
                f"restore {shlex.quote(f'{landing.address}{name}#{load.file.generation}')}`."
            )
    return None


def unknown_file(all_services: AllServices, feeds: Iterable[Feed], name: str) -> UserError:
    """Return the error for a file that nothing knows, with the names that are nearest to it."""
    names: set[str] = set()
    for feed in feeds:
        services = all_services.of(feed)
        names.update(postgres_of(services).held_versions())
        names.update(version.name for version in islice(services.landing.versions(), MOST_NAMES))
    of_base = [other for other in names if other.rpartition("/")[2] == name.rpartition("/")[2]]
    near = of_base[:3] or difflib.get_close_matches(name, names, n=3)
    hint = f" Did you mean {' or '.join(map(repr, sorted(near)))}?" if near else ""
    return UserError(f"Neither the landing zone nor a ledger knows a file {name!r}.{hint}")
