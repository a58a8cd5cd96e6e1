"""Which BigQuery tables can hold every valid row, and how the tables are created."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from txn_assets.feeds.refund import Refund
from txn_assets.feeds.transaction import CONTRACT, ValidationRules
from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.bigquery.tables import (
    PartitionBy,
    column_faults,
    column_types,
    expiration_faults,
    make_schema,
    prepare,
)
from txn_assets.stores.errors import StoreError
from txn_assets_tests.unit.feeds import Note, make_feed

TABLE = "hijra-project.warehouse.raw"
TABLES = Tables("hijra-project", "warehouse", make_feed())
COLUMNS = TABLES.columns
FIELDS = TABLES.contract.names
REFUNDS = Tables("hijra-project", "warehouse", make_feed(Refund, name="refunds"))
DAY_MS = 86_400_000


def make_field(name: str, kind: str, **overrides: Any) -> bigquery.SchemaField:
    """Return a column as the API describes it."""
    return bigquery.SchemaField.from_api_repr({"name": name, "type": kind, "mode": "NULLABLE", **overrides})


def faults_of(*fields: bigquery.SchemaField, **rules: Any) -> list[str]:
    """Return the faults of a table with these columns."""
    contract = ValidationRules(**rules).narrow(CONTRACT)
    return column_faults(Tables("hijra-project", "warehouse", make_feed(contract=contract)), fields)


@pytest.mark.parametrize(
    ("fitting", "rules"),
    [
        (make_field("price", "FLOAT"), {}),
        (make_field("price", "BIGNUMERIC"), {}),
        (make_field("price", "NUMERIC", precision="18", scale="4"), {}),
        (make_field("price", "NUMERIC", precision="10", scale="2"), {"max_decimals": 2}),
        (make_field("quantity", "INTEGER"), {}),
        (make_field("quantity", "NUMERIC"), {}),
        (make_field("product", "STRING", maxLength="3"), {}),
        (make_field("transaction_id", "STRING", maxLength="64"), {}),
        (make_field("Transaction_ID", "STRING", mode="REQUIRED"), {}),
        (make_field("loaded_by", "STRING"), {}),
        (make_field("loaded_by", "STRING", mode="REQUIRED", defaultValueExpression="SESSION_USER()"), {}),
    ],
    ids=repr,
)
def test_fitting(fitting: bigquery.SchemaField, rules: dict[str, Any]) -> None:
    """A table fits if no valid value changes silently and every row finds a place."""
    assert faults_of(fitting, **rules) == []


@pytest.mark.parametrize(
    ("unfit", "rules", "parts"),
    [
        (make_field("price", "INTEGER"), {}, ["price is INT64", "SET DATA TYPE NUMERIC"]),
        (make_field("Price", "INT64"), {}, ["Price is INT64"]),
        (make_field("price", "STRING"), {}, ["price is STRING", "copy the rows"]),
        (
            make_field("price", "NUMERIC", precision="10", scale="2"),
            {},
            ["price keeps 2 decimals", "ingestion.validation.max_decimals is 4", "SET DATA TYPE NUMERIC"],
        ),
        (make_field("price", "BIGNUMERIC", precision="30"), {}, ["price keeps 0 decimals", "SET DATA TYPE BIGNUMERIC"]),
        (make_field("quantity", "FLOAT"), {}, ["quantity is FLOAT64"]),
        (make_field("date", "TIMESTAMP"), {}, ["date is TIMESTAMP"]),
        (make_field("date", "STRING"), {}, ["date is STRING"]),
        (make_field("product", "STRING", mode="REPEATED"), {}, ["product is repeated"]),
        (make_field("transaction_id", "STRING", maxLength="36"), {}, ["takes 36 characters", "SET DATA TYPE STRING"]),
        (make_field("loaded_by", "STRING", mode="REQUIRED"), {}, ["loaded_by is required", "DROP NOT NULL"]),
        (
            make_field("date", "DATE", mode="REQUIRED"),
            {"required_fields": ["transaction_id"]},
            ["date is required", "required_fields"],
        ),
        (make_field("source_file", "STRING", collation="und:ci"), {}, ["ignores case"]),
    ],
    ids=repr,
)
def test_unfit(unfit: bigquery.SchemaField, rules: dict[str, Any], parts: list[str]) -> None:
    """The sentence names column and remedy."""
    (sentence,) = faults_of(unfit, **rules)
    assert [part for part in parts if part not in sentence] == []


@pytest.mark.parametrize(
    ("unfit", "parts"),
    [
        (make_field("amount", "STRING"), ["amount is STRING instead of NUMERIC"]),
        (
            make_field("amount", "NUMERIC", precision="10", scale="1"),
            ["amount keeps 1 decimals", "feeds.refunds.rules.amount.max_decimals is 2"],
        ),
        (make_field("refunded_at", "DATETIME"), ["refunded_at is DATETIME instead of TIMESTAMP"]),
        (make_field("refunded_at", "DATE"), ["refunded_at is DATE instead of TIMESTAMP"]),
        (make_field("partial", "STRING"), ["partial is STRING instead of BOOL"]),
        (make_field("reason", "INTEGER"), ["reason is INT64 instead of STRING"]),
        (make_field("reason", "STRING", mode="REPEATED"), ["reason is repeated"]),
    ],
    ids=repr,
)
def test_column_of_another_kind(unfit: bigquery.SchemaField, parts: list[str]) -> None:
    """A column whose kind was changed is refused with the type that it needs."""
    (sentence,) = column_faults(REFUNDS, [unfit])
    assert [part for part in parts if part not in sentence] == []


@pytest.mark.parametrize("kind", ["BOOL", "BOOLEAN"])
def test_boolean_has_two_names(kind: str) -> None:
    """A boolean column fits under both names that the API uses."""
    assert column_faults(REFUNDS, [make_field("partial", kind)]) == []


def make_table(**resource: Any) -> bigquery.Table:
    """Return a table as the API describes it."""
    names = {"projectId": "hijra-project", "datasetId": "warehouse", "tableId": "raw"}
    return bigquery.Table.from_api_repr({"tableReference": names, **resource})


@pytest.mark.parametrize(
    ("table", "option"),
    [
        (make_table(expirationTime="1800000000000"), "expiration_timestamp = NULL"),
        (
            make_table(timePartitioning={"type": "MONTH", "field": "date", "expirationMs": str(60 * DAY_MS)}),
            "partition_expiration_days = NULL",
        ),
    ],
)
def test_expiration_is_named(table: bigquery.Table, option: str) -> None:
    """An expiration is named with the statement that removes it."""
    (sentence,) = expiration_faults(table)
    assert f"ALTER TABLE `{TABLE}` SET OPTIONS ({option})" in sentence


def test_no_expiration() -> None:
    """Without an expiration there is no fault, because rows and ledger stay."""
    assert expiration_faults(make_table(timePartitioning={"type": "MONTH", "field": "date"})) == []


@dataclass
class FakeClient:
    """A client that keeps tables and gives new ones the expirations of their dataset.

    BigQuery does the same; the emulator does only half of it.

    Attributes:
        keeps_expiring: whether it behaves like the sandbox, which keeps no table permanently.
    """

    defaults: dict[str, Any] = field(default_factory=dict)
    keeps_expiring: bool = False
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)

    def get_table(self, reference: bigquery.TableReference, **_: Any) -> bigquery.Table:
        if reference.table_id not in self.tables:
            raise NotFound("Not found: Table")  # type: ignore[no-untyped-call]  # google-api-core is untyped
        return bigquery.Table.from_api_repr(copy.deepcopy(self.tables[reference.table_id]))

    def create_table(self, table: bigquery.Table, **_: Any) -> bigquery.Table:
        resource = table.to_api_repr()
        if "expirationTime" in self.defaults and "timePartitioning" not in resource:
            resource["expirationTime"] = self.defaults["expirationTime"]
        if "expirationMs" in self.defaults and "timePartitioning" in resource:
            resource["timePartitioning"]["expirationMs"] = self.defaults["expirationMs"]
        self.created.append(table.table_id)
        self.tables[table.table_id] = resource
        return self.get_table(table.reference)

    def update_table(self, table: bigquery.Table, fields: list[str], **_: Any) -> bigquery.Table:
        resource = table.to_api_repr()
        held = self.tables[table.table_id]
        if "schema" in fields:
            held["schema"] = resource["schema"]
        if not self.keeps_expiring and "expires" in fields:
            held["expirationTime"] = resource["expirationTime"]
        if not self.keeps_expiring and "time_partitioning" in fields:
            held["timePartitioning"] = resource["timePartitioning"]
        return self.get_table(table.reference)


def prepare_with(client: FakeClient, partition_by: PartitionBy = "month", tables: Tables = TABLES) -> dict[str, str]:
    """Return the column types that `prepare` finds or creates."""
    return column_types(prepare(client, tables, partition_by, no_retry={}))  # type: ignore[arg-type]  # a fake


@pytest.mark.parametrize("partition_by", ["month", "day"])
def test_new_table(partition_by: PartitionBy) -> None:
    """A new table is partitioned as configured, clustered, and case-sensitive whatever the dataset says."""
    client = FakeClient()

    assert prepare_with(client, partition_by=partition_by) == COLUMNS

    made = client.tables["raw"]
    assert made["timePartitioning"] == {"type": partition_by.upper(), "field": "date"}
    assert made["clustering"] == {"fields": ["date", "source_file"]}
    assert [table["defaultCollation"] for table in client.tables.values()] == ["", "", ""]
    assert client.created == ["raw", "raw_rejects", "raw_loads"]


@pytest.mark.parametrize(
    ("tables", "partitioning", "clustering"),
    [
        (REFUNDS, {"type": "MONTH", "field": "refunded_at"}, ["refunded_at", "source_file"]),
        (Tables("hijra-project", "warehouse", make_feed(Note)), None, ["source_file"]),
    ],
    ids=["timestamp", "no partition key"],
)
def test_layout_follows_the_partition_key(tables: Tables, partitioning: object, clustering: list[str]) -> None:
    """A timestamp partitions a table as a date does; without a partition key, the file only clusters it."""
    client = FakeClient()

    assert prepare_with(client, tables=tables) == tables.columns

    assert client.tables["raw"].get("timePartitioning") == partitioning
    assert client.tables["raw"]["clustering"] == {"fields": clustering}


def test_default_expirations_of_the_dataset_are_cleared() -> None:
    """Both default expirations of the dataset are cleared on all tables."""
    client = FakeClient({"expirationTime": "1800000000000", "expirationMs": str(60 * DAY_MS)})

    prepare_with(client)

    assert [table.get("expirationTime") for table in client.tables.values()] == [None, None, None]
    for name in ("raw", "raw_rejects"):
        assert client.tables[name]["timePartitioning"]["expirationMs"] is None


def test_ledger_of_an_earlier_release_gets_its_columns_and_the_rejects() -> None:
    """A ledger that lacks the details gets their columns, and the table of rejects; a complete one gets no request."""
    client = FakeClient()
    prepare_with(client)
    fields = client.tables["raw_loads"]["schema"]["fields"]
    client.tables["raw_loads"]["schema"]["fields"] = [one for one in fields if one["name"] != "records"]
    del client.tables["raw_rejects"]

    prepare_with(client)

    assert client.created == ["raw", "raw_rejects", "raw_loads", "raw_rejects"]
    assert "records" in [one["name"] for one in client.tables["raw_loads"]["schema"]["fields"]]
    del client.tables["raw_rejects"]
    prepare_with(client)
    assert "raw_rejects" not in client.tables


def test_expirations_that_cannot_be_cleared_are_refused() -> None:
    """Expirations that cannot be cleared, as in the sandbox, are refused, because old rows would vanish silently."""
    client = FakeClient({"expirationMs": str(60 * DAY_MS)}, keeps_expiring=True)

    with pytest.raises(StoreError, match="expire 60 days after their date"):
        prepare_with(client)

    assert client.created == ["raw"]


def test_existing_expiration_is_refused_not_cleared() -> None:
    """An existing expiration is refused instead of cleared, because somebody set it."""
    client = FakeClient()
    prepare_with(client)
    client.tables["raw_loads"]["expirationTime"] = "1800000000000"

    with pytest.raises(StoreError, match="raw_loads expires at 2027-01-15"):
        prepare_with(client)


def test_existing_columns_are_compared_without_case() -> None:
    """An existing column `Transaction_ID` matches regardless of case, and missing columns are added."""
    client = FakeClient()
    prepare_with(client)
    kept = [make_field(name.upper(), COLUMNS[name]) for name in FIELDS]
    client.tables["raw"]["schema"] = {"fields": [one.to_api_repr() for one in kept]}

    assert prepare_with(client) == COLUMNS

    names = [one["name"] for one in client.tables["raw"]["schema"]["fields"]]
    assert names == [*(name.upper() for name in FIELDS), "source_file", "source_row"]


def test_existing_table_keeps_its_partitioning() -> None:
    """An existing table that is partitioned by day stays partitioned by day."""
    client = FakeClient()
    prepare_with(client, partition_by="day")

    prepare_with(client, partition_by="month")

    assert client.tables["raw"]["timePartitioning"]["type"] == "DAY"


def test_view_is_refused() -> None:
    """A view is refused, because nothing can be written to it."""
    client = FakeClient(tables={"raw": make_table(type="VIEW").to_api_repr()})

    with pytest.raises(StoreError, match="is a view"):
        prepare_with(client)


def test_ledger_gets_the_columns_it_lacks() -> None:
    """A ledger that an older version of the platform created gets the columns that it lacks."""
    client = FakeClient()
    prepare_with(client)
    older = dict(list(TABLES.ledger_columns.items())[:-1])
    client.tables["raw_loads"]["schema"] = {"fields": [one.to_api_repr() for one in make_schema(older)]}

    prepare_with(client)

    assert [one["name"] for one in client.tables["raw_loads"]["schema"]["fields"]] == list(TABLES.ledger_columns)
