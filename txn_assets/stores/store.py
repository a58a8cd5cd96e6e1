"""Base class of the stores, which hold the hashed rows of files. One subclass for each service.

This module has what the stores share. Each subclass replaces files in its own way. See docs/reliability.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from txn_assets.files.erasures import ErasureError, ErasureRequest, ErasureRequests
from txn_assets.files.ledger import Action, FileVersion, Holding, LoadRecord, Replacement
from txn_assets.files.ledgers import HeldVersion
from txn_assets.files.values import HashedFile
from txn_assets.rows import hashed_rows
from txn_assets.rows.contract import RowContract
from txn_assets.stores import google_errors
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import StoreError, StoreUnavailableError
from txn_assets.stores.retries import Budget, retry_transient
from txn_assets.stores.run_files import RunFiles


@dataclass(kw_only=True)
class Store(ABC):
    """A store that holds exactly the rows of the newest loaded version of each file.

    After `load`, the store holds exactly the rows of each file. If `load` raises, the store holds what it held before.
    The methods raise the client's errors; `retry_transient` turns them into a StoreError.

    Attributes:
        retry_seconds: how long to retry transient errors.
        replacements: what the loads so far have replaced, by file name, in a store that compares the rows.
        job_ids: the job that committed the load of each file, by file name, in a store that has jobs.
        notices: what somebody should do, although the loads so far succeeded.
    """

    clients: Clients
    run_files: RunFiles
    retry_seconds: float = 120.0
    replacements: dict[str, Replacement] = field(default_factory=dict, init=False)
    job_ids: dict[str, str] = field(default_factory=dict, init=False)
    notices: set[str] = field(default_factory=set, init=False)
    _has_looked: bool = field(default=False, init=False)
    """Whether this store has looked at the erasure requests before."""

    @property
    def contract(self) -> RowContract:
        """What a row of the feed is."""
        return self.run_files.feed.contract

    @abstractmethod
    def load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
        """Load `files` and return the action taken for each, by name. Must be idempotent, since errors are retried."""

    @abstractmethod
    def holdings(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Holding]:
        """Return the ledger generation and the totals computed by the store for each of `files`, by name.

        For a file that the run `run_id` loaded, return the fingerprint in its ledger row: the store computed it inside
        the transaction that wrote the row.
        """

    @abstractmethod
    def held(self, name: str) -> LoadRecord | None:
        """Return the newest ledger row of the file `name`, or None before its first load."""

    def newest_loads(self, names: Collection[str]) -> dict[str, LoadRecord]:
        """Return the newest ledger row of each of the files `names` that has one; create nothing.

        Readers may not write, so a store whose `held` creates its ledger overrides this.
        """
        return {name: record for name in names if (record := self.held(name))}

    @abstractmethod
    def held_versions(self) -> dict[str, HeldVersion]:
        """Return the newest version in the ledger for each file, by name."""

    @abstractmethod
    def read_rows(self, names: Sequence[str]) -> pa.Table:
        """Return the rows that the store holds for the files in `names`."""

    @abstractmethod
    def erase(self, request: ErasureRequest) -> int:
        """Remove the rows of the person in `request` from each file, and return how many this call removed.

        The ledger row of each file changes with its rows: totals, fingerprint and `erased`. A call that was killed is
        finished by the next one.
        """

    @abstractmethod
    def count_erased_rows(self, request: ErasureRequest) -> int:
        """Return how many rows of the person in `request` the store still has, under any of the request's hashes."""

    def finished_erasures(self) -> frozenset[int] | None:
        """Return the numbers of the requests that the store knows to be finished; None if it keeps no such table.

        One that is missing although it was finished is a sign that the store was restored from a backup.
        """
        return None

    @abstractmethod
    def address(self, version: FileVersion) -> str:
        """Return where the rows of `version` are, for messages and metadata."""

    @abstractmethod
    def is_transient(self, error: Exception) -> bool:
        """Return whether a retry may succeed."""

    @abstractmethod
    def explain(self, error: Exception) -> str:
        """Return the message for `error`: store, cause and remedy."""

    def inexact_columns(self) -> list[str]:
        """Return the columns of decimals that the store keeps as binary floating-point numbers."""
        return []

    def costs(self) -> Mapping[str, int]:
        """Return the cost of the requests so far, by metadata key."""
        return {}

    def as_held(self, file: HashedFile, *, inexact: Collection[str]) -> HashedFile:
        """Return `file` with the totals that the store computes after loading it; see `inexact_columns`."""
        if not inexact:
            return file
        return replace(file, totals=hashed_rows.inexact_totals(self.run_files.hashed_rows(file), self.contract))

    def refuse_erased(self, files: Iterable[HashedFile]) -> int:
        """Refuse files with rows of a person whose erasure was requested after the file was hashed.

        Return the number of the newest request. The first look takes the requests that the run has read before, and
        later ones, with a reason to look again, ask the bucket.

        Raises:
            StoreError: a file has such rows; the message does not say whose.
            StoreUnavailableError: the bucket with the requests does not respond.
        """
        requests = self._erasure_requests() if self._has_looked else self.run_files.erasure_requests
        self._has_looked = True
        for file in files:
            digests = requests.digests(file.key_id) if file.erasures < requests.last else {}
            if digests and hashed_rows.count_rows(self.run_files.hashed_rows(file), digests):
                message = (
                    f"{file.version} was hashed before an erasure request, and has rows of that person: materialize "
                    f"hashed_{self.run_files.feed.name} again, which leaves them out."
                )
                raise StoreError(message)
        return requests.last

    def _erasure_requests(self) -> ErasureRequests:
        register = self.run_files.erasures
        try:
            return register.read()
        except ErasureError as error:
            raise StoreError(str(error)) from error
        except Exception as error:
            if not google_errors.is_out_of_reach(error):
                raise
            raise StoreUnavailableError(google_errors.explain(error, register.address)) from error

    def live_generation(self, version: FileVersion, held: int | None) -> int | None:
        """Return the live generation in the landing zone; look it up only if the store holds a different one.

        Raises:
            StoreUnavailableError: the landing zone does not respond.
        """
        if held in (None, version.generation):
            return None
        landing = self.run_files.landing
        try:
            live = landing.latest(version.name)
        except Exception as error:
            if not google_errors.is_out_of_reach(error):
                raise
            message = google_errors.explain(error, f"Landing zone {landing.address}")
            raise StoreUnavailableError(message) from error
        return live.generation if live else None

    def retry_transient[T](self, attempt: Callable[[], T]) -> T:
        """Return the result of `attempt`, retrying transient errors of the store.

        Raises:
            StoreError: the error is permanent, or lasted longer than `retry_seconds`.
        """
        return retry_transient(
            attempt, is_transient=self.is_transient, explain=self.explain, budget=Budget(seconds=self.retry_seconds)
        )
