"""The same data twice: under another name, and in a new version of a file."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import Changes
from txn_assets.files.values import HashedFile
from txn_assets.stores.bigquery.store import BigQueryStore
from txn_assets.stores.postgres.store import PostgresStore, SharedIds
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.loader import PARCEL, Loader, parcels
from txn_assets_tests.unit.feeds import Note, make_feed

NOTES = make_feed(Note, name="notes", bigquery_table="notes", postgres_table="notes")


@pytest.fixture
def loader(deployment: Deployment, tmp_path: Path) -> Iterator[Loader]:
    """Yield a loader for the stores of the deployment."""
    with Loader.open(deployment, tmp_path) as opened:
        yield opened


def parcel(number: int, **overrides: str) -> dict[str, str]:
    """Return a row with an id of its own."""
    return PARCEL | {"parcel_id": f"P{number}"} | overrides


def load_into(loader: Loader, feed: Feed, key: str, name: str, *rows: dict[str, str]) -> HashedFile:
    """Load a file into one store."""
    file = loader.stage(feed, name, *rows)
    store = loader.services.of(feed).stores[key]
    store.retry_transient(lambda: store.load([file], "run"))
    return file


def postgres(loader: Loader, feed: Feed) -> PostgresStore:
    """Return the PostgreSQL table of a feed."""
    store = loader.services.of(feed).stores["postgres"]
    assert isinstance(store, PostgresStore)
    return store


class TestTwins:
    """Bytes that are loaded under two names."""

    def test_same_bytes_under_other_names(self, loader: Loader) -> None:
        """The other names are found, the one that was loaded first in front."""
        feed = parcels()
        for name in ("b.csv", "a.csv", "week (1).csv"):
            file = load_into(loader, feed, "postgres", name, parcel(1))
        load_into(loader, feed, "postgres", "other.csv", parcel(2))
        assert postgres(loader, feed).twins([file.version]) == {"week (1).csv": ["b.csv", "a.csv"]}

    def test_name_that_has_other_bytes_by_now(self, loader: Loader) -> None:
        """A name is not a twin any more once other bytes were loaded under it."""
        feed = parcels()
        load_into(loader, feed, "postgres", "a.csv", parcel(1))
        load_into(loader, feed, "postgres", "a.csv", parcel(2))
        file = load_into(loader, feed, "postgres", "b.csv", parcel(1))
        assert postgres(loader, feed).twins([file.version]) == {}

    def test_files_without_rows(self, loader: Loader) -> None:
        """Files with a header only are not the same data, because they have none."""
        for name in ("a.csv", "b.csv"):
            file = loader.stage(NOTES, name, columns=("note", "size"))
            postgres(loader, NOTES).load([file], "run")
        assert postgres(loader, NOTES).twins([file.version]) == {}


class TestSharedIds:
    """Row ids that are loaded under two names."""

    def test_ids_of_other_files_on_the_same_days(self, loader: Loader) -> None:
        """Different ids are counted once, and the file that shares most comes first."""
        feed = parcels()
        load_into(loader, feed, "postgres", "few.csv", parcel(1), parcel(9))
        load_into(loader, feed, "postgres", "most.csv", parcel(1), parcel(2), parcel(2))
        file = load_into(loader, feed, "postgres", "new.csv", *map(parcel, (1, 1, 2, 3, 4)))
        assert postgres(loader, feed).shared_ids([file]) == {"new.csv": SharedIds(2, 4, ("most.csv", "few.csv"))}

    def test_files_of_a_batch_are_asked_for_together(self, loader: Loader) -> None:
        """Each file of a batch has its own answer, also for ids that it shares with another file of the batch."""
        feed = parcels()
        files = [
            load_into(loader, feed, "postgres", "a.csv", parcel(1), parcel(2)),
            load_into(loader, feed, "postgres", "b.csv", parcel(2), parcel(3)),
            load_into(loader, feed, "postgres", "c.csv", parcel(4)),
            load_into(loader, feed, "postgres", "d.csv", parcel(1, sent_at="2024-12-24T12:00:00Z")),
        ]
        assert postgres(loader, feed).shared_ids(files) == {
            "a.csv": SharedIds(1, 2, ("b.csv",)),
            "b.csv": SharedIds(1, 2, ("a.csv",)),
        }

    def test_last_moment_of_a_day(self, loader: Loader) -> None:
        """A row at the end of the last day is on that day."""
        feed = parcels()
        load_into(loader, feed, "postgres", "a.csv", parcel(1, sent_at="2024-05-31T23:59:59.999999Z"))
        file = load_into(loader, feed, "postgres", "b.csv", parcel(1, sent_at="2024-05-31T00:00:00Z"))
        assert postgres(loader, feed).shared_ids([file]) == {"b.csv": SharedIds(1, 1, ("a.csv",))}

    def test_rows_are_not_read_if_no_file_has_these_days(self, loader: Loader) -> None:
        """The ledger rules out files of other days without a look at the data table, which may be large."""
        feed = parcels()
        load_into(loader, feed, "postgres", "a.csv", parcel(1, sent_at="2024-05-30T00:00:00Z"))
        file = load_into(loader, feed, "postgres", "b.csv", parcel(1, sent_at="2024-05-31T00:00:00Z"))
        schema = loader.deployment.config.data_warehouse.postgres.schema_
        loader.deployment.pg.execute(f"DROP TABLE {schema}.parcels")
        assert postgres(loader, feed).shared_ids([file]) == {}

    def test_ids_hashed_with_another_key(self, loader: Loader) -> None:
        """Files that were hashed with another key are left out, because their ids cannot be compared."""
        feed = parcels()
        load_into(loader, feed, "postgres", "a.csv", parcel(1))
        schema = loader.deployment.config.data_warehouse.postgres.schema_
        loader.deployment.pg.execute(f"UPDATE {schema}.parcels_loads SET key_id = 'older'")
        file = load_into(loader, feed, "postgres", "b.csv", parcel(1))
        assert postgres(loader, feed).shared_ids([file]) == {}

    def test_feed_without_ids(self, loader: Loader) -> None:
        """A feed without a row id or a partition key has no answer."""
        file = load_into(loader, NOTES, "postgres", "a.csv", {"note": "one", "size": "1"})
        assert postgres(loader, NOTES).shared_ids([file]) == {}


class TestChanges:
    """What a new version of a file changes."""

    def changes_of(self, loader: Loader, feed: Feed, *rows: dict[str, str]) -> Changes | None:
        """Load a new version of a.csv into BigQuery, and return what it changes, by the ledger and by the store."""
        load_into(loader, feed, "bigquery", "a.csv", *rows)
        store = loader.services.of(feed).stores["bigquery"]
        record = store.held("a.csv")
        assert record is not None
        replacement = store.replacements.pop("a.csv", None)
        assert (replacement.after if replacement else None) == (record if record.changes else None)
        return record.changes

    def test_rows_are_compared_by_id(self, loader: Loader) -> None:
        """Ids that are new, gone, or have other values are counted; a row that only moved is the same."""
        feed = parcels()
        assert self.changes_of(loader, feed, *map(parcel, (1, 2, 3))) is None
        changed = parcel(2, fee="10.99")
        assert self.changes_of(loader, feed, parcel(3), changed, parcel(4), parcel(5)) == Changes(2, 1, 1)
        assert self.changes_of(loader, feed, changed, parcel(3), parcel(4), parcel(5)) == Changes(0, 0, 0)

    def test_every_column_counts(self, loader: Loader) -> None:
        """A row is changed if any of its values is, also if it had none."""
        feed = parcels()
        other = {
            "status": "lost",
            "order": "B",
            "weight": "0",
            "fee": "9.9901",
            "pieces": "3",
            "sent_at": "2024-07-01T00:00:00Z",
            "express": "",
        }
        store = loader.services.of(feed).stores["bigquery"]
        store.load([loader.stage(feed, f"{name}.csv", parcel(1)) for name in other], "run")
        changed = [loader.stage(feed, f"{name}.csv", parcel(1, **{name: value})) for name, value in other.items()]
        store.load(changed, "run")
        found = {name: one.after.changes for name, one in store.replacements.items()}
        assert found == {f"{name}.csv": Changes(0, 0, 1) for name in other}

    def test_id_that_a_file_has_twice(self, loader: Loader) -> None:
        """An id that is there once more or less counts as a row more or less."""
        feed = parcels()
        self.changes_of(loader, feed, parcel(1), parcel(1), parcel(2))
        assert self.changes_of(loader, feed, parcel(1), parcel(2), parcel(2)) == Changes(1, 1, 0)

    def test_rows_without_an_id_are_compared_by_their_values(self, loader: Loader) -> None:
        """Without a row id, a changed row is one that is gone and one that is added."""
        one, two, three = ({"note": text, "size": ""} for text in ("one", "two", "three"))
        assert self.changes_of(loader, NOTES, one, one, two) is None
        assert self.changes_of(loader, NOTES, one, two, three) == Changes(1, 1, 0)

    def test_sums_of_both_versions(self, loader: Loader) -> None:
        """The change of each sum follows from the ledger rows of both versions."""
        feed = parcels()
        load_into(loader, feed, "bigquery", "a.csv", parcel(1, fee="10.00"), parcel(2, fee="5.00"))
        load_into(loader, feed, "bigquery", "a.csv", parcel(1, fee="12.50"))
        store = loader.services.of(feed).stores["bigquery"]
        assert store.replacements["a.csv"].sums == {
            "fee": Decimal("-2.50"),
            "weight": Decimal("0.000000001"),
            "pieces": Decimal(3),
        }

    def test_all_rows_gone(self, loader: Loader) -> None:
        """A version without rows leaves none."""
        feed = parcels()
        load_into(loader, feed, "bigquery", "a.csv", parcel(1), parcel(2))
        file = loader.stage(feed, "a.csv", columns=tuple(PARCEL))
        store = loader.services.of(feed).stores["bigquery"]
        store.load([file], "run")
        assert store.replacements["a.csv"].after.changes == Changes(0, 2, 0)

    def test_other_key(self, loader: Loader) -> None:
        """Rows that were hashed with another key are not compared, because every id would differ."""
        feed = parcels()
        load_into(loader, feed, "bigquery", "a.csv", parcel(1))
        dataset = loader.deployment.bq_table.rpartition(".")[0]
        loader.deployment.bq.query(
            f"UPDATE `{dataset}.raw_parcels_loads` SET key_id = 'older' WHERE source_file = 'a.csv'"
        ).result()
        assert self.changes_of(loader, feed, parcel(1, fee="1.00")) is None

    def test_same_bytes_under_other_rules(self, loader: Loader) -> None:
        """The same bytes under other rules are no new version: what differs is not the sender's doing."""
        feed = parcels()
        load_into(loader, feed, "bigquery", "a.csv", parcel(1))
        clear = replace(feed, contract=feed.contract.with_pii(()))
        assert self.changes_of(loader, clear, parcel(1)) is None
        assert loader.services.of(clear).stores["bigquery"].read_rows(["a.csv"])["parcel_id"].to_pylist() == ["P1"]

    def test_files_of_one_load_are_compared_apart(self, loader: Loader) -> None:
        """Files that are loaded together each have their own changes, and a new one has none."""
        feed = parcels()
        for name in ("a.csv", "b.csv"):
            load_into(loader, feed, "bigquery", name, parcel(1))
        files = [
            loader.stage(feed, "a.csv", parcel(1), parcel(2)),
            loader.stage(feed, "b.csv", parcel(1, fee="1.00")),
            loader.stage(feed, "c.csv", parcel(1)),
        ]
        store = loader.services.of(feed).stores["bigquery"]
        assert isinstance(store, BigQueryStore)
        store.load(files, "run")
        found = {name: one.after.changes for name, one in store.replacements.items()}
        assert found == {"a.csv": Changes(1, 0, 0), "b.csv": Changes(0, 0, 1)}
        first = store.held("c.csv")
        assert first is not None
        assert first.changes is None
        assert store.replacements["a.csv"].before.totals.max_date == dt.date(2024, 2, 29)
