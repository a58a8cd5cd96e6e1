"""BigQuery tables that others created, changed or lost: a load refuses them, or leaves them correct."""

import datetime as dt
from typing import Any

import pytest
from google.cloud import bigquery

from txn_assets_tests.deployment import SINKS, Deployment, failed_checks, failure, make_file, many_rows

STORE = "bigquery_raw_transactions"
DAY_MS = 86_400_000


def make_table(deployment: Deployment, **overrides: Any) -> None:
    """Create the data table with the columns of a file; an override replaces the type of a column or an option."""
    kinds = {"transaction_id": "STRING", "product": "STRING", "price": "NUMERIC", "quantity": "INT64", "date": "DATE"}
    columns = overrides.pop("columns", kinds) | {name: overrides.pop(name) for name in kinds if name in overrides}
    project, dataset, table = deployment.bq_table.split(".")
    resource = {
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
        "schema": {"fields": [{"name": name, "type": kind} for name, kind in columns.items()]},
    }
    deployment.bq.create_table(bigquery.Table.from_api_repr(resource | overrides))


def load_only(deployment: Deployment, name: str, *rows: str) -> Any:
    """Land a file and load it into BigQuery only."""
    deployment.land(name, make_file(*rows))
    return deployment.materialize(name, select=f"*{STORE}", raise_on_error=False)


def test_column_that_rounds_is_refused_before_the_first_row(deployment: Deployment) -> None:
    """An INT64 price is refused first: it would keep 9 and 11 of 9.40 and 10.60, whose sum is the same."""
    make_table(deployment, price="INT64")

    result = load_only(deployment, "a.csv", *many_rows(1, price="9.40"), *many_rows(1, start=1, price="10.60"))

    sentence = failure(result)
    assert "Column price is INT64 instead of NUMERIC" in sentence
    assert f"ALTER TABLE `{deployment.bq_table}` ALTER COLUMN price SET DATA TYPE NUMERIC" in sentence
    assert deployment.bq.get_table(deployment.bq_table).num_rows == 0


def test_column_names_are_compared_without_case(deployment: Deployment) -> None:
    """A table with `Transaction_ID` gets only the two missing columns, and the rows."""
    kinds = {"Transaction_ID": "STRING", "Product": "STRING", "PRICE": "NUMERIC", "Quantity": "INT64", "Date": "DATE"}
    make_table(deployment, columns=kinds)

    result = load_only(deployment, "a.csv", *many_rows(3))

    assert result.success
    assert "matches_hashed_transactions" not in failed_checks(result)
    columns = [field.name for field in deployment.bq.get_table(deployment.bq_table).schema]
    assert columns == [*kinds, "source_file", "source_row"]
    assert len(deployment.rows(STORE, "a.csv")) == 3


@pytest.mark.parametrize("day", ["2023-10-01", "2024-02-29"])
def test_lost_ledger_duplicates_nothing(deployment: Deployment, day: str) -> None:
    """With the ledger lost, the next version of the file still replaces its rows, whatever dates they have."""
    load_only(deployment, "a.csv", *many_rows(5))
    load_only(deployment, "b.csv", *many_rows(2))
    deployment.bq.delete_table(f"{deployment.bq_table}_loads")

    result = load_only(deployment, "a.csv", *many_rows(3, day=day))

    assert result.success
    assert len(deployment.rows(STORE, "a.csv")) == 3
    assert len(deployment.rows(STORE, "b.csv")) == 2


def test_lost_ledger_row_duplicates_nothing(deployment: Deployment) -> None:
    """A lost ledger row, as after a restore of only the ledger, duplicates nothing."""
    load_only(deployment, "a.csv", *many_rows(5))
    deployment.bq.query(f"DELETE FROM `{deployment.bq_table}_loads` WHERE source_file = 'a.csv'").result()

    load_only(deployment, "a.csv", *many_rows(3))

    assert len(deployment.rows(STORE, "a.csv")) == 3


def test_table_that_requires_a_date_filter(deployment: Deployment) -> None:
    """Load, replace, check and read back all filter by date, so a table may require that filter."""
    partitioning = {"type": "DAY", "field": "date"}
    make_table(deployment, timePartitioning=partitioning, requirePartitionFilter=True)

    for count in (4, 2):
        result = load_only(deployment, "a.csv", *many_rows(count))
        assert result.success
        assert "matches_hashed_transactions" not in failed_checks(result)
    query = f"SELECT COUNT(*) FROM `{deployment.bq_table}` WHERE date >= '2000-01-01'"
    assert [tuple(row.values()) for row in deployment.bq.query(query).result()] == [(2,)]


def test_default_expiration_of_the_dataset_is_cleared(deployment: Deployment) -> None:
    """Default expirations of the dataset are removed, because rows and ledgers are kept permanently."""
    dataset = deployment.bq.get_dataset(deployment.bq_table.rpartition(".")[0])
    dataset.default_table_expiration_ms = 60 * DAY_MS
    deployment.bq.update_dataset(dataset, ["default_table_expiration_ms"])

    assert load_only(deployment, "a.csv", *many_rows(2)).success

    for table in (deployment.bq_table, f"{deployment.bq_table}_loads"):
        assert deployment.bq.get_table(table).expires is None


def test_expiring_partitions_are_refused(deployment: Deployment) -> None:
    """Expiring partitions are refused, because rows older than 60 days would vanish at once."""
    make_table(deployment, timePartitioning={"type": "DAY", "field": "date", "expirationMs": str(60 * DAY_MS)})

    sentence = failure(load_only(deployment, "a.csv", *many_rows(2)))

    assert "expire 60 days after their date" in sentence
    assert "SET OPTIONS (partition_expiration_days = NULL)" in sentence


def test_table_is_partitioned_as_configured(deployment: Deployment) -> None:
    """The table is clustered and partitioned by month (or day if configured); the metadata shows the load's cost."""
    result = load_only(deployment, "a.csv", *many_rows(2))

    table = deployment.bq.get_table(deployment.bq_table)
    assert table.time_partitioning.type_ == "MONTH"
    assert table.clustering_fields == ["date", "source_file"]
    metadata = result.asset_materializations_for_node(STORE)[0].metadata
    assert {"bytes_billed", "slot_milliseconds"} <= metadata.keys()


def test_file_with_too_many_partitions_is_refused_before_the_stores(deployment: Deployment) -> None:
    """A file with too many partitions is refused, because a BigQuery job writes at most 4,000."""
    deployment.configure({"data_warehouse": {"partition_by": "day"}})
    first = dt.date(1990, 1, 1)
    rows = [many_rows(1, start=n, day=str(first + dt.timedelta(days=n)))[0] for n in range(4001)]

    deployment.land("a.csv", make_file(*rows))
    result = deployment.materialize("a.csv", raise_on_error=False)

    sentence = failure(result)
    assert "a.csv" in sentence
    assert "4,001 days" in sentence
    assert "data_warehouse.partition_by" in sentence
    assert not {event.step_key for event in result.all_events if event.is_step_success} & set(SINKS)
