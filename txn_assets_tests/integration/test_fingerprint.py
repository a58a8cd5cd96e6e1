"""The fingerprint: the same number for the same rows in three engines, and a different one once any cell differs."""

import datetime as dt
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest
from google.cloud import bigquery

from txn_assets.definitions import build
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.rows.fingerprint import BIGQUERY, POSTGRES, Dialect, select_fingerprint
from txn_assets_tests.deployment import SINKS, Deployment, failed_checks, make_row

ROWS = [
    make_row(transaction_id="A", product='Lamp, "large" | 5', price="0.1234", quantity="1", date="1970-01-01"),
    make_row(transaction_id="B", product="حلال \\N \U0001f600", price="100", quantity="9223372036854775807"),
    make_row(transaction_id="C", product="12|C", price="99999999999999.9999", quantity="2", date="2024-02-29"),
    make_row(transaction_id="C", product="12|C", price="99999999999999.9999", quantity="2", date="2024-02-29"),
]


def rerun_check(deployment: Deployment, store: str, name: str) -> set[str]:
    """Run only the checks of `store`, as the UI's button does; return the names of those that failed."""
    job = build(deployment.config).resolve_implicit_global_asset_job_def()
    wanted = job.asset_layer.asset_graph.get_check_keys_for_assets({dg.AssetKey(store)})
    subset = job.get_subset(asset_selection=set(), asset_check_selection=wanted)
    result = subset.execute_in_process(instance=deployment.instance, partition_key=name, raise_on_error=False)
    evaluations = result.get_asset_check_evaluations()
    assert {check.asset_check_key for check in evaluations} == wanted
    return {check.check_name for check in evaluations if not check.passed}


def execute(deployment: Deployment, store: str, statement: str, *, table: str = "") -> list[tuple[Any, ...]]:
    """Run `statement` in the engine of `store`; {table} is its table, or the given table next to it."""
    if store == "postgres_transactions":
        cursor = deployment.pg.execute(statement.format(table=f"{deployment.pg_table}{table}"))
        return cursor.fetchall() if cursor.description else []
    rows = deployment.bq.query(statement.format(table=f"`{deployment.bq_table}{table}`")).result()
    return [tuple(row.values()) for row in rows]


EDITS = {
    "product": "UPDATE {table} SET product = 'Lamp' WHERE source_row = 1",
    "transaction_id": "UPDATE {table} SET transaction_id = 'x' WHERE source_row = 1",
    "two prices swapped": "UPDATE {table} SET price = CASE source_row WHEN 1 THEN 100 ELSE 0.1234 END "
    "WHERE source_row IN (1, 2)",
    "two quantities swapped": "UPDATE {table} SET quantity = CASE source_row WHEN 1 THEN 2 ELSE 1 END "
    "WHERE source_row IN (1, 3)",
    "date": "UPDATE {table} SET date = DATE '2023-10-02' WHERE source_row = 2",
    "two record numbers swapped": "UPDATE {table} SET source_row = 3 - source_row WHERE source_row IN (1, 2)",
    "text gone": "UPDATE {table} SET product = NULL WHERE source_row = 1",
    "one of two equal rows": "DELETE FROM {table} WHERE source_row = 4",
}


@pytest.mark.parametrize("store", ["bigquery_raw_transactions", "postgres_transactions"])
def test_each_changed_cell_turns_the_check_red(deployment: Deployment, store: str) -> None:
    """The check fails and names the file, although counts, sums and dates stay the same in most of these edits."""
    deployment.load("a.csv", *ROWS)
    assert not rerun_check(deployment, store, "a.csv")
    for what in ("product", "two prices swapped"):
        execute(deployment, store, EDITS[what])
        assert rerun_check(deployment, store, "a.csv"), what
        # The next load of the same version sees it too and restores the rows.
        deployment.materialize("a.csv")
    assert not rerun_check(deployment, store, "a.csv")


@pytest.mark.parametrize(
    ("store", "dialect"), [("bigquery_raw_transactions", BIGQUERY), ("postgres_transactions", POSTGRES)]
)
def test_each_changed_cell_changes_the_fingerprint(deployment: Deployment, store: str, dialect: Dialect) -> None:
    """A changed cell changes the fingerprint even if counts, sums, dates and ids stay the same."""
    deployment.load("a.csv", *ROWS)
    fingerprint = f"SELECT {select_fingerprint(dialect, CONTRACT)} FROM {{table}}"
    found = execute(deployment, store, fingerprint)
    for number, statement in enumerate(EDITS.values()):
        copy = f"_{number}"
        source = deployment.pg_table if dialect is POSTGRES else f"`{deployment.bq_table}`"
        execute(deployment, store, f"CREATE TABLE {{table}} AS SELECT * FROM {source}", table=copy)
        execute(deployment, store, statement, table=copy)
        found += execute(deployment, store, fingerprint, table=copy)
    assert len(set(found)) == 1 + len(EDITS)


@pytest.mark.parametrize(("old", "new"), [(b"12|C", b"12|D"), (b"0.1234", b"0.1235"), (b"1970-01-01", b"1970-01-02")])
def test_changed_object_turns_the_check_red(deployment: Deployment, old: bytes, new: bytes) -> None:
    """An edited object of the lake fails the check even if its metadata is kept."""
    deployment.load("a.csv", *ROWS)
    blob = deployment.bucket.get_blob(f"{deployment.config.data_lake.path}/a/processed.csv")
    content, metadata = blob.download_as_bytes(), blob.metadata
    assert old in content
    edited = deployment.bucket.blob(blob.name)
    edited.metadata = metadata
    edited.upload_from_string(content.replace(old, new, 1), content_type="text/csv")

    assert rerun_check(deployment, "gcs_raw", "a.csv")


def test_two_edits_of_a_price_that_cancel(deployment: Deployment) -> None:
    """Two edits beyond the fourth decimal that cancel out are found, because prices are compared unrounded."""
    deployment.load("a.csv", *ROWS[:2])
    for store in SINKS[1:]:
        assert not rerun_check(deployment, store, "a.csv")
    deployment.pg.execute(f"ALTER TABLE {deployment.pg_table} ALTER COLUMN price TYPE numeric(24,9)")
    change = "UPDATE {table} SET price = price + CASE source_row WHEN 1 THEN {more} ELSE -{more} END WHERE TRUE"
    more = "CAST('0.00001' AS NUMERIC)"
    deployment.pg.execute(change.format(table=deployment.pg_table, more=more))
    deployment.bq.query(change.format(table=f"`{deployment.bq_table}`", more=more)).result()
    for store in SINKS[1:]:
        assert rerun_check(deployment, store, "a.csv")


def test_optional_fields_may_be_missing(deployment: Deployment) -> None:
    """Every engine distinguishes a missing value from an empty one and from the next field."""
    deployment.configure({"ingestion": {"validation": {"required_fields": ["transaction_id"]}}})
    rows = [
        make_row(price="", quantity="", date=""),
        make_row(transaction_id="B", product=""),
        make_row(transaction_id="C", product="C", quantity=""),
    ]

    assert not failed_checks(deployment.load("a.csv", *rows))


def test_live_version_with_a_smaller_generation_wins(deployment: Deployment) -> None:
    """The live version wins with a smaller generation too: GCS promises unique generations, not increasing ones."""
    generation = deployment.land("a.csv", b"transaction_id,product,price,quantity,date\nA,Tea,1.00,1,2024-01-01\n")
    deployment.materialize("a.csv")
    _pretend_larger_generation(deployment, "a.csv", generation)
    deployment.land("a.csv", b"transaction_id,product,price,quantity,date\nB,Milk,2.00,2,2024-01-02\n")

    result = deployment.materialize("a.csv")

    assert not failed_checks(result)
    ((_, product, price, _, _),) = deployment.rows_everywhere("a.csv")
    assert (product, price) == ("Milk", Decimal("2.00"))
    newest = f"SELECT max(generation) FROM {deployment.pg_table}_loads"
    assert deployment.pg.execute(newest).fetchone() == (
        deployment.bucket.get_blob("landing/transactions/a.csv").generation,
    )


def _pretend_larger_generation(deployment: Deployment, name: str, generation: int) -> None:
    """Make each ledger say that its rows came from a generation far in the future."""
    later = generation + int(dt.timedelta(days=365).total_seconds() * 1e6)
    deployment.pg.execute(f"UPDATE {deployment.pg_table}_loads SET generation = {later}")
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("name", "STRING", name)])
    deployment.bq.query(
        f"UPDATE `{deployment.bq_table}_loads` SET generation = {later} WHERE source_file = @name", job_config=config
    ).result()
    blob = deployment.bucket.get_blob(f"{deployment.config.data_lake.path}/{name.removesuffix('.csv')}/processed.csv")
    blob.metadata = blob.metadata | {"source_generation": str(later)}
    blob.patch()
