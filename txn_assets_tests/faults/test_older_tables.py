"""Tables that the original pipeline created keep working, with their types and their rows."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from google.cloud import bigquery

from txn_assets_tests.deployment import HEADER, Deployment, failed_checks, many_rows

OLD_ROW = ("OLD", "Halal Phone", 49.5, 3, "2023-01-02")


def make_bigquery_table(deployment: Deployment) -> None:
    """Create the original pipeline's table, with a row."""
    kinds = {"transaction_id": "STRING", "product": "STRING", "price": "FLOAT", "quantity": "INTEGER", "date": "DATE"}
    schema = [bigquery.SchemaField(name, kind) for name, kind in kinds.items()]
    deployment.bq.create_table(bigquery.Table(deployment.bq_table, schema=schema))
    row = "'OLD', 'Halal Phone', 49.5, 3, DATE '2023-01-02'"
    deployment.bq.query(f"INSERT INTO `{deployment.bq_table}` ({HEADER}) VALUES ({row})").result()


def make_postgres_table(deployment: Deployment) -> None:
    """Create the original pipeline's table, with a row."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    deployment.pg.execute(
        f"CREATE TABLE {deployment.pg_table} "
        "(transaction_id TEXT, product TEXT, price REAL, quantity INTEGER, date DATE)"
    )
    deployment.pg.execute(f"INSERT INTO {deployment.pg_table} VALUES (%s, %s, %s, %s, %s)", OLD_ROW)


@pytest.mark.parametrize(
    ("store", "make_table"),
    [("bigquery_raw_transactions", make_bigquery_table), ("postgres_transactions", make_postgres_table)],
)
def test_older_table_keeps_working(
    deployment: Deployment, store: str, make_table: Callable[[Deployment], None]
) -> None:
    """Its rows stay, a file is loaded and replaced next to them, the check passes, and metadata says 'not exact'."""
    make_table(deployment)

    deployment.load("a.csv", *many_rows(5, price="0.1"))
    result = deployment.load("a.csv", *many_rows(3, price="0.1"))

    metadata = result.asset_materializations_for_node(store)[0].metadata
    assert "price" in str(metadata["not exact"].value)
    assert "matches_hashed_transactions" not in failed_checks(result)
    assert len(deployment.rows(store, "a.csv")) == 3
    assert _old_rows(deployment, store) == [("OLD", Decimal("49.5"))]


def _old_rows(deployment: Deployment, store: str) -> list[tuple[str, Decimal]]:
    if store == "postgres_transactions":
        found = deployment.pg.execute(
            f"SELECT transaction_id, price FROM {deployment.pg_table} WHERE source_file IS NULL"
        ).fetchall()
    else:
        query = f"SELECT transaction_id, price FROM `{deployment.bq_table}` WHERE source_file IS NULL"
        found = [tuple(row.values()) for row in deployment.bq.query(query).result()]
    return [(name, Decimal(price)) for name, price in found]
