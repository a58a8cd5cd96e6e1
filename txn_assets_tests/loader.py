"""Load files of any feed into the stores as a run does, without Dagster; and a feed with every kind of values."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import Action
from txn_assets.files.values import HashedFile, ValidatedFile
from txn_assets.rows.contract import (
    Flag,
    Identifier,
    Money,
    Number,
    PartitionKey,
    Pii,
    Row,
    RowId,
    Text,
    Timestamp,
    Whole,
)
from txn_assets.rows.hashing import HashKeys
from txn_assets.rows.kinds import EnumerationKind
from txn_assets.stores.assemble import open_services
from txn_assets.stores.services import AllServices
from txn_assets.target import to_access
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.unit.feeds import make_feed


class Parcel(Row):
    """A row with every kind of values."""

    parcel_id: Annotated[Identifier, Pii, RowId]
    status: Annotated[str, EnumerationKind(("sent", "lost"))]
    order: Text
    weight: Number
    fee: Money
    pieces: Whole
    sent_at: Annotated[Timestamp, PartitionKey]
    express: Flag | None = None


PARCEL = {
    "parcel_id": "P1",
    "status": "sent",
    "order": "A\tB",
    "weight": "-0.000000001",
    "fee": "9.99",
    "pieces": "-3",
    "sent_at": "2024-03-01T00:30:00+02:00",
    "express": "yes",
}


@dataclass
class Loader:
    """Loads files of feeds into the stores."""

    services: AllServices
    deployment: Deployment

    @classmethod
    @contextmanager
    def open(cls, deployment: Deployment, home: Path) -> Iterator["Loader"]:
        """Open the stores of `deployment`, with the files of the run in `home`."""
        config = deployment.config
        access = to_access(deployment.endpoints, config.data_warehouse.project_id, config.data_warehouse.location)
        with open_services(config, access, home=home, scratch_limit=None, hash_keys=HashKeys()) as services:
            yield cls(services, deployment)

    def stage(self, feed: Feed, name: str, *rows: Mapping[str, str], columns: tuple[str, ...] = ()) -> HashedFile:
        """Land a file of `rows`, which are valid, and do everything up to the stores."""
        own = self.services.of(feed)
        header = columns or tuple(rows[0])
        lines = [",".join(header), *(",".join(row.get(name, "") for name in header) for row in rows)]
        blob = self.deployment.bucket.blob(f"{feed.landing}/{name}")
        blob.upload_from_string("\n".join([*lines, ""]), content_type="text/csv")
        version = own.landing.latest(name)
        assert version is not None
        report = own.run_files.validate_file(version)
        assert report.rejected == 0
        hashed = own.run_files.hash_file(ValidatedFile(version, feed.rules_id, report))
        return own.staging.upload(hashed, own.run_files.folder(version), "run")

    def load(self, feed: Feed, name: str, *rows: Mapping[str, str], columns: tuple[str, ...] = ()) -> dict[str, Action]:
        """Load a file of `rows` into each store, and check that the store holds what was hashed."""
        file = self.stage(feed, name, *rows, columns=columns)
        actions: dict[str, Action] = {}
        for key, store in self.services.of(feed).stores.items():
            actions |= {key: store.retry_transient(lambda store=store: store.load([file], "run"))[name]}  # type: ignore[misc]  # bound now
            for run_id in ("run", "another"):
                held = store.holdings([file], run_id)[name]
                assert held.generation == file.version.generation
                assert held.totals.differences(store.as_held(file, inexact=()).totals) == {}
        return actions

    def rows(self, feed: Feed, name: str) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of a file in each store."""
        stores = self.services.of(feed).stores
        return {key: store.read_rows([name]).to_pylist() for key, store in stores.items()}


def parcels(model: type[Row] = Parcel, **overrides: Any) -> Feed:
    """Return a feed of parcels."""
    names = {"name": "parcels", "bigquery_table": "raw_parcels", "postgres_table": "parcels"}
    return make_feed(model, **names | overrides)
