"""Rows of any contract in all three stores: every kind of values, and columns that come and go."""

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest
from google.cloud import bigquery

from txn_assets.files.ledger import Action
from txn_assets.rows.contract import (
    Day,
    Identifier,
    Money,
    PartitionKey,
    Pii,
    Row,
    RowContract,
    RowId,
    Text,
    Timestamp,
)
from txn_assets.stores.errors import StoreError
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.loader import PARCEL, Loader, Parcel, parcels
from txn_assets_tests.unit.feeds import Note, make_feed


class WiderParcel(Parcel):
    """A parcel with two more columns."""

    note: Text | None = None
    tip: Money | None = None


class NarrowParcel(Row):
    """A parcel without most columns."""

    parcel_id: Annotated[Identifier, Pii, RowId]
    sent_at: Annotated[Timestamp, PartitionKey]


class RetypedParcel(NarrowParcel):
    """A parcel whose fee was money and is text."""

    fee: Text


@pytest.fixture
def loader(deployment: Deployment, tmp_path: Path) -> Iterator[Loader]:
    """Yield a loader for the stores of the deployment."""
    with Loader.open(deployment, tmp_path) as opened:
        yield opened


def test_versions_replace_each_other_across_days(loader: Loader) -> None:
    """A new version replaces rows of other days, to the first and last moment of a day; the same again is kept."""
    feed = parcels()
    edges = ["2024-02-29T00:00:00Z", "2024-02-29T23:59:59.999999Z"]
    loader.load(feed, "a.csv", *(PARCEL | {"parcel_id": edge, "sent_at": edge} for edge in edges))
    other = PARCEL | {"sent_at": "2024-06-01T12:00:00Z"}

    assert set(loader.load(feed, "a.csv", other).values()) == {Action.LOAD}
    assert set(loader.load(feed, "a.csv", other).values()) == {Action.KEEP}

    assert [len(rows) for rows in loader.rows(feed, "a.csv").values()] == [1, 1, 1]


class Order(Row):
    """An order by the day on which it was placed."""

    placed: Annotated[Day, PartitionKey]
    sent: Day


class SentOrder(Row):
    """The same by the day on which it was sent."""

    placed: Day
    sent: Annotated[Day, PartitionKey]


class AnyOrder(Row):
    """The same without a partition key."""

    placed: Day
    sent: Day


@pytest.mark.parametrize("before", [Order, AnyOrder])
def test_other_partition_key(loader: Loader, before: type[Row]) -> None:
    """Under another partition key, each row of the earlier version is replaced, whatever days the ledger has."""
    names = {"name": "orders", "bigquery_table": "orders", "postgres_table": "orders"}
    loader.load(make_feed(before, **names), "a.csv", {"placed": "2024-01-01", "sent": "2024-09-01"})

    feed = make_feed(SentOrder, **names)
    loader.load(feed, "a.csv", {"placed": "2024-01-01", "sent": "2024-01-02"})

    assert [len(rows) for rows in loader.rows(feed, "a.csv").values()] == [1, 1, 1]
    (table,) = loader.deployment.bq.query(
        f"SELECT COUNT(*) FROM `{loader.deployment.bq_table.rpartition('.')[0]}.orders`"
    ).result()
    assert table[0] == 1


def test_feed_without_partition_key(loader: Loader) -> None:
    """Without a partition key, files are loaded and replaced all the same."""
    feed = make_feed(Note, name="notes", bigquery_table="notes", postgres_table="notes")
    loader.load(feed, "a.csv", {"note": "one", "size": "1"}, {"note": "two", "size": ""})

    loader.load(feed, "a.csv", {"note": "three", "size": "3"})

    for rows in loader.rows(feed, "a.csv").values():
        assert [(row["note"], row["size"]) for row in rows] == [("three", 3)]
    table = loader.deployment.bq.get_table(loader.deployment.bq_table.rpartition(".")[0] + ".notes")
    assert (table.time_partitioning, table.clustering_fields) == (None, ["source_file"])


def test_file_without_rows(loader: Loader) -> None:
    """A file without rows is in every ledger, and the same file again changes nothing."""
    feed = parcels()
    columns = tuple(PARCEL)

    assert set(loader.load(feed, "a.csv", columns=columns).values()) == {Action.LOAD}
    assert set(loader.load(feed, "a.csv", columns=columns).values()) == {Action.KEEP}

    for store in loader.services.of(feed).stores.values():
        record = store.held("a.csv")
        assert record is not None
        assert (record.totals.rows, record.totals.min_date) == (0, None)
        rows = store.read_rows(["a.csv"])
        assert rows.num_rows == 0
        assert {*feed.contract.names} <= {*rows.column_names}
    loader.load(feed, "a.csv", PARCEL)
    assert [len(rows) for rows in loader.rows(feed, "a.csv").values()] == [1, 1, 1]


@pytest.mark.parametrize("lake_format", ["csv", "parquet"])
def test_added_columns_are_null_in_older_rows(loader: Loader, lake_format: str) -> None:
    """Columns that are added appear in both tables and ledgers; older rows have null, and their files are replaced."""
    old, new = (parcels(model, lake_format=lake_format) for model in (Parcel, WiderParcel))
    loader.load(old, "a.csv", PARCEL)
    loader.load(old, "b.csv", PARCEL)

    loader.load(new, "b.csv", PARCEL | {"note": "fragile", "tip": "1.50"})

    for key, rows in loader.rows(new, "b.csv").items():
        assert [(row["note"], row["tip"]) for row in rows] == [("fragile", Decimal("1.50"))], key
    for key, rows in loader.rows(new, "a.csv").items():
        assert [(row["note"], row["tip"], row["fee"]) for row in rows] == [(None, None, Decimal("9.99"))], key
    for store in loader.services.of(new).stores.values():
        earlier, later = store.held("a.csv"), store.held("b.csv")
        assert earlier is not None
        assert later is not None
        assert (earlier.totals.sums["tip"], later.totals.sums["tip"]) == (Decimal(0), Decimal("1.50"))
    assert set(loader.load(new, "a.csv", PARCEL).values()) == {Action.LOAD}


def test_dropped_columns_stay_in_the_tables(loader: Loader) -> None:
    """Columns that a feed no longer has stay, with their values in older rows and without in new ones."""
    old, new = parcels(), parcels(NarrowParcel)
    loader.load(old, "a.csv", PARCEL)

    loader.load(new, "b.csv", PARCEL)

    schema = loader.deployment.config.data_warehouse.postgres.schema_
    rows = loader.deployment.pg.execute(f"SELECT source_file, fee FROM {schema}.parcels ORDER BY 1").fetchall()
    assert rows == [("a.csv", Decimal("9.9900")), ("b.csv", None)]
    dataset = loader.deployment.bq_table.rpartition(".")[0]
    found = loader.deployment.bq.query(f"SELECT source_file, fee FROM `{dataset}.raw_parcels` ORDER BY 1").result()
    assert [tuple(row.values()) for row in found] == [("a.csv", Decimal("9.99")), ("b.csv", None)]
    assert [len(rows) for rows in loader.rows(new, "a.csv").values()] == [1, 1, 1]
    assert set(loader.load(new, "a.csv", PARCEL).values()) == {Action.LOAD}


def test_changed_kind_is_refused(loader: Loader) -> None:
    """A column whose kind was changed is refused in one sentence, and the rows that are there stay."""
    loader.load(parcels(), "a.csv", PARCEL)
    new = loader.services.of(parcels(RetypedParcel)).stores

    for key, kinds in {"bigquery": "NUMERIC instead of STRING", "postgres": "instead of text"}.items():
        with pytest.raises(StoreError, match=f"fee.*{kinds}"):
            new[key].retry_transient(partial(new[key].load, [], "run"))

    assert [len(rows) for rows in loader.rows(parcels(), "a.csv").values()] == [1, 1, 1]


def test_bigquery_reads_only_the_partitions_of_the_days(loader: Loader) -> None:
    """A table that requires a filter on its timestamp column is loaded, replaced and read."""
    feed = parcels()
    project, dataset, _ = loader.deployment.bq_table.split(".")
    resource = {
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": "raw_parcels"},
        "schema": {"fields": [{"name": "sent_at", "type": "TIMESTAMP"}]},
        "timePartitioning": {"type": "DAY", "field": "sent_at"},
        "requirePartitionFilter": True,
    }
    loader.deployment.bq.create_table(bigquery.Table.from_api_repr(resource))

    loader.load(feed, "a.csv", PARCEL, PARCEL | {"sent_at": "2024-12-31T23:59:59.5Z"})
    loader.load(feed, "a.csv", PARCEL)

    assert len(loader.rows(feed, "a.csv")["bigquery"]) == 1


def test_contract_of_this_module() -> None:
    """The parcels have one column of each kind, so that the tests above cover them all."""
    assert {kind.name for kind in RowContract.of(Parcel).kinds.values()} == {
        *("identifier", "enumeration", "text", "decimal", "money", "whole", "timestamp", "boolean")
    }
