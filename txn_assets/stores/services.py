"""The objects of a run: for each feed the landing zone, the run's files, and the stores.

`assemble.py` builds them. Do not import a client here, so that the definitions can refer to the types.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from txn_assets.files.ledgers import Ledgers
from txn_assets.stores.registry import STORES

if TYPE_CHECKING:
    from txn_assets.config import PipelineConfig
    from txn_assets.feeds.feed import Feed
    from txn_assets.rows.hashing import HashKeys
    from txn_assets.stores.clients import Clients
    from txn_assets.stores.erasures import ErasureRegister
    from txn_assets.stores.landing.archive import LandingArchive
    from txn_assets.stores.landing.zone import LandingZone
    from txn_assets.stores.quarantine import Quarantine
    from txn_assets.stores.run_files import RunFiles
    from txn_assets.stores.staging import Staging
    from txn_assets.stores.store import Store


@dataclass(kw_only=True)
class Services:
    """The objects of a run of one feed.

    The files of the run and the stores are built on first use. A tick of the sensor uses neither, and they import
    Arrow, DuckDB and two more clients, which take a hundred megabytes.

    Attributes:
        archive: where old landed objects go; None if the configuration names no bucket for them.
        home, scratch_limit, hash_keys: see `RunFiles`.
    """

    config: "PipelineConfig"
    feed: "Feed"
    clients: "Clients"
    landing: "LandingZone"
    archive: "LandingArchive | None"
    quarantine: "Quarantine"
    staging: "Staging"
    erasures: "ErasureRegister"
    home: Path
    scratch_limit: int | None
    hash_keys: "HashKeys" = field(repr=False)

    @cached_property
    def run_files(self) -> "RunFiles":
        """The files of the run."""
        from txn_assets.stores.run_files import RunFiles  # noqa: PLC0415 - see the class

        return RunFiles(
            clients=self.clients,
            landing=self.landing,
            erasures=self.erasures,
            feed=self.feed,
            security=self.config.security,
            home=self.home,
            scratch_limit=self.scratch_limit,
            hash_keys=self.hash_keys,
            partition_by=self.config.data_warehouse.partition_by,
        )

    @cached_property
    def stores(self) -> "dict[str, Store]":
        """The stores by their keys in `registry.STORES`, in the same order."""
        return {
            entry.key: import_module(entry.module).make_store(self.config, self.feed, self.clients, self.run_files)
            for entry in STORES
        }

    def read_ledgers(self) -> Ledgers:
        """Read the ledgers of all stores.

        Raises:
            StoreError: a ledger cannot be read.
        """
        stores = {entry.label: self.stores[entry.key] for entry in STORES}
        return Ledgers({label: store.retry_transient(store.held_versions) for label, store in stores.items()})

    def not_landed(self, name: str) -> str:
        """Return the message for a file that is not in the landing zone: where it is, if that is known."""
        archived = self.archive and self.archive.newest(name)
        if self.archive and archived:
            return self.archive.archived(archived, self.feed)
        message = self.landing.not_landed(name)
        if self.config.retention.landing_days is None:
            return message
        return f"{message} Files that every store has loaded leave it after retention.landing_days days."

    def close(self) -> None:
        """Remove the files of the run."""
        if "run_files" in self.__dict__:
            self.run_files.close()


@dataclass
class AllServices:
    """The services of each feed, built on first use, with the same clients.

    Attributes:
        make: return the services of a feed.
    """

    config: "PipelineConfig"
    make: "Callable[[Feed], Services]"

    _made: "dict[Feed, Services]" = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    """Stores are loaded in parallel, from the same run files."""

    def of(self, feed: "Feed") -> Services:
        """Return the services of `feed`."""
        with self._lock:
            if feed not in self._made:
                self._made[feed] = self.make(feed)
            return self._made[feed]

    def close(self) -> None:
        """Remove the files of the run."""
        for services in self._made.values():
            services.close()
