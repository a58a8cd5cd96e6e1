"""A permanent error ends a load at once, with a sentence that names the store, the cause and the remedy."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg.errors
import pytest
from google.api_core.exceptions import Forbidden

from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.errors import StoreError
from txn_assets.stores.store import Store
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import Content, make_load
from txn_assets_tests.faults.proxy import through
from txn_assets_tests.unit.feeds import make_feed

LAKE, WAREHOUSE, DATABASE = "gcs_raw", "bigquery_raw_transactions", "postgres_transactions"


def sentence_of(sink: Store, content: Content) -> str:
    """Return the message of a load that must fail, without using up its budget of five seconds."""
    started = time.monotonic()
    with pytest.raises(StoreError) as raised:
        make_load(sink, content)
    assert "Retrying for" not in str(raised.value)
    assert time.monotonic() - started < 20
    return str(raised.value)


@pytest.mark.parametrize(
    ("store", "fields", "parts"),
    [
        (LAKE, {"bucket": "no-such-bucket"}, ["GCS bucket no-such-bucket", "configuration"]),
        (
            WAREHOUSE,
            {"tables": Tables("hijra-project", "no_such_dataset", make_feed())},
            ["BigQuery table", "no_such_dataset", "configuration"],
        ),
    ],
)
def test_missing_container(
    stores: dict[str, Store], old: Content, store: str, fields: dict[str, Any], parts: list[str]
) -> None:
    """A bucket or dataset that does not exist is named with what to correct."""
    sentence = sentence_of(replace(stores[store], **fields), old)

    assert [part for part in parts if part not in sentence] == []


@pytest.mark.parametrize("store", [LAKE, WAREHOUSE])
def test_forbidden(stores: dict[str, Store], store: str) -> None:
    """A 403 is not retried, and the sentence says which roles to grant."""
    error = Forbidden("Access denied")  # type: ignore[no-untyped-call]  # google-api-core is untyped

    assert not stores[store].is_transient(error)
    assert "Grant the service account the roles" in stores[store].explain(error)
    assert {LAKE: "GCS", WAREHOUSE: "BigQuery"}[store] in stores[store].explain(error)


def test_wrong_password(deployment: Deployment, stores: dict[str, Store], old: Content) -> None:
    """A refused password is named with the variable that holds it."""
    store = stores[DATABASE]
    wrong = replace(deployment.endpoints, postgres_password="wrong")

    sentence = sentence_of(replace(store, clients=through(store.clients, wrong, seconds=5.0)), old)

    assert "password authentication failed" in sentence
    assert "TXN_PG_PASSWORD" in sentence


def test_disk_full(stores: dict[str, Store]) -> None:
    """A full disk is permanent, and the sentence says to free space."""
    error = psycopg.errors.DiskFull("could not extend file")

    assert not stores[DATABASE].is_transient(error)
    assert "Free disk space" in stores[DATABASE].explain(error)


def narrow_postgres(deployment: Deployment) -> None:
    """Create a table whose price holds one digit."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    columns = "transaction_id text, product text, price numeric(2,1), quantity int, date date"
    deployment.pg.execute(f"CREATE TABLE {deployment.pg_table} ({columns})")


def other_bigquery(deployment: Deployment) -> None:
    """Create a table whose product is a number."""
    columns = "transaction_id STRING, product INT64, price NUMERIC, quantity INT64, date DATE"
    deployment.bq.query(f"CREATE TABLE `{deployment.bq_table}` ({columns})").result()


@pytest.mark.parametrize(
    "case",
    [
        (DATABASE, narrow_postgres, "ingestion.validation.max_decimals"),
        (WAREHOUSE, other_bigquery, "product is INT64"),
    ],
)
def test_table_cannot_hold_the_rows(
    deployment: Deployment,
    stores: dict[str, Store],
    old: Content,
    case: tuple[str, Callable[[Deployment], None], str],
) -> None:
    """A table with other types fails the load at once and holds no row of the file afterwards."""
    store, make_table, part = case
    make_table(deployment)

    sentence = sentence_of(stores[store], old)

    assert {WAREHOUSE: "BigQuery", DATABASE: "PostgreSQL"}[store] in sentence
    assert part in sentence
    if store == DATABASE:
        held = deployment.pg.execute(f"SELECT count(*) FROM {deployment.pg_table}").fetchall()
    else:
        held = [(deployment.bq.get_table(deployment.bq_table).num_rows,)]
    assert held == [(0,)]
