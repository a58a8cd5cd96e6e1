"""Find out what became of a file version: ask the landing zone, the quarantine and the ledgers, and judge.

Nothing is created or changed, so an account that may only read can do it. Each query of BigQuery's ledger costs money,
so it is asked last, and only if its answer decides. `files/file_status.py` judges.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from txn_assets.files.file_status import Facts, FileStatus, RunState, is_undecided, judge
from txn_assets.files.ledger import FileVersion, LoadRecord
from txn_assets.stores import google_errors
from txn_assets.stores.clients import REQUESTS_AT_ONCE
from txn_assets.stores.errors import StoreUnavailableError
from txn_assets.stores.registry import STORES, StoreEntry
from txn_assets.stores.retries import Budget, retry_transient
from txn_assets.stores.services import Services

RETRY_SECONDS = 5.0
"""How long to retry transient errors of a ledger: somebody waits for the answer."""

COSTLY = ("bigquery",)
"""Keys of the stores that are asked last."""


def read_status(services: Services, version: FileVersion, run: RunState | None = None) -> FileStatus | None:
    """Return what became of `version`, given its newest run if Dagster knows one; None if nothing knows the version.

    Only the name and the generation of `version` matter.

    Raises:
        StoreError: a ledger cannot be read.
    """
    return read_statuses(services, {version: run})[version]


def read_statuses(
    services: Services, runs: Mapping[FileVersion, RunState | None]
) -> dict[FileVersion, FileStatus | None]:
    """Return what became of each version in `runs`, with one query per ledger; see `read_status`."""
    versions = list(runs)
    try:
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            live = pool.map(lambda version: services.landing.latest(version.name), versions)
            findings = pool.map(services.quarantine.findings, versions)
            bucket = dict(zip(versions, zip(live, findings, strict=True), strict=True))
    except google_errors.FAULTS as error:
        raise StoreUnavailableError(google_errors.explain(error, services.landing.address)) from error

    def facts(version: FileVersion, loads: Mapping[str, Mapping[str, LoadRecord]], *unread: str) -> Facts:
        live, findings = bucket[version]
        held = {label: of_store.get(version.name) for label, of_store in loads.items()}
        return Facts(feed=services.feed.name, live=live, held=held, unread=unread, findings=findings, run=runs[version])

    names = [version.name for version in versions]
    cheap = {entry.label: _loads(services, entry, names) for entry in STORES if entry.key not in COSTLY}
    costly = [entry for entry in STORES if entry.key in COSTLY]
    found = {version: facts(version, cheap, *(entry.label for entry in costly)) for version in versions}
    undecided = [version for version, one in found.items() if is_undecided(version, one)]
    if undecided:
        names = [version.name for version in undecided]
        loads = cheap | {entry.label: _loads(services, entry, names) for entry in costly}
        in_order = {entry.label: loads[entry.label] for entry in STORES}
        found |= {version: facts(version, in_order) for version in undecided}
    return {version: _with_addresses(services, judge(version, one)) for version, one in found.items()}


def _with_addresses(services: Services, status: FileStatus | None) -> FileStatus | None:
    if status is None:
        return None
    stores = {
        entry.label: replace(holding, address=services.stores[entry.key].address(status.version))
        for entry in STORES
        if (holding := status.stores.get(entry.label))
    }
    quarantine = services.quarantine.address(status.version.name) if status.rejected else ""
    return replace(status, stores=stores, quarantine=quarantine)


def _loads(services: Services, entry: StoreEntry, names: Sequence[str]) -> dict[str, LoadRecord]:
    store = services.stores[entry.key]
    budget = Budget(seconds=RETRY_SECONDS)
    attempt = partial(store.newest_loads, names)
    return retry_transient(attempt, is_transient=store.is_transient, explain=store.explain, budget=budget)
