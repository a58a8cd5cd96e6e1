"""A benchmark's own names in the three stores, and what the stores hold under those names.

It creates and drops the names and computes the totals that are compared after every timed run: rows, sum of prices, sum
of quantities and a fingerprint of the hashed ids. Each store computes its own totals; DuckDB does so for an object.
Keep this independent of the platform's own reconciliation: it is a second opinion.
"""

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any

import psycopg
import yaml
from google.api_core.exceptions import GoogleAPIError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from psycopg import sql

from benchmarks.child import Timer
from benchmarks.duckdb_session import spilling
from txn_assets.config import PipelineConfig, load_config
from txn_assets.environment import project_root, txn_home
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.stack import ensure_up
from txn_assets.rows.hashed_rows import csv_select
from txn_assets.rows.pipes import read_input
from txn_assets.stores.postgres.catalog import EMPTY, missing
from txn_assets.stores.postgres.sql import Table

Totals = list[Any]
"""Rows, sum of prices as text, sum of quantities, fingerprint."""

_DUCKDB_TOTALS = (
    "SELECT count(*), sum(price::DECIMAL(18,4)), sum(quantity::BIGINT), "
    "bit_xor(('0x' || substr(transaction_id, 1, 15))::BIGINT) FROM "
)


class Opened:
    """The names in the configuration at TXN_CONFIG, and clients for them."""

    def __init__(self) -> None:
        self.config: PipelineConfig = load_config()
        self.endpoints: Endpoints = ensure_up(txn_home(), seed_from(self.config))
        project, credentials = self.config.data_warehouse.project_id, AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is untyped
        self.gcs = storage.Client(project, credentials, client_options={"api_endpoint": self.endpoints.gcs_url})
        self.bq = bigquery.Client(project, credentials, client_options={"api_endpoint": self.endpoints.bigquery_url})

    @property
    def bucket(self) -> storage.Bucket:
        """Return the bucket."""
        return self.gcs.bucket(self.config.data_lake.gcs_bucket)

    @property
    def dataset(self) -> str:
        """Return the BigQuery dataset."""
        return f"{self.config.data_warehouse.project_id}.{self.config.data_warehouse.dataset}"

    @property
    def schema(self) -> str:
        """Return the PostgreSQL schema."""
        return self.config.data_warehouse.postgres.schema_

    def postgres(self) -> "psycopg.Connection[Any]":
        """Return an autocommit connection."""
        return psycopg.connect(self.endpoints.postgres_dsn, autocommit=True)


def make_config(path: Path) -> None:
    """Write the project's configuration with unique names, and without marts, which no peer builds."""
    content = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    name = uuid.uuid4().hex[:12]
    content["data_lake"]["gcs_bucket"] = f"bench-{name}"
    content["data_warehouse"] |= {"dataset": f"bench_{name}", "postgres": {"schema": f"bench_{name}"}}
    content["transformation"] |= {"models": []}
    path.write_text(yaml.safe_dump(content))


def make(_: Timer, *, config: str) -> dict[str, str]:
    """Create a configuration, its names in the stores and the PostgreSQL table; return the connection and the schema."""
    make_config(Path(config))
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    with opened.postgres() as connection:
        for statement in missing(EMPTY, Table(opened.schema, feeds_of(opened.config)[0])):
            connection.execute(statement)
        # Otherwise a checkpoint caused by the previous run falls into the next one.
        connection.execute("CHECKPOINT")
    return {"dsn": opened.endpoints.postgres_dsn, "schema": opened.schema}


def drop(_: Timer, *, config: str) -> None:
    """Drop the names of a configuration and everything under them."""
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    with opened.postgres() as connection:
        for suffix in ("", "_dlt", "_dlt_staging"):
            name = sql.Identifier(opened.schema + suffix)
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))
    opened.bq.delete_dataset(opened.dataset, delete_contents=True, not_found_ok=True)
    for blob in list(opened.gcs.list_blobs(opened.bucket)):
        blob.delete()
    with contextlib.suppress(GoogleAPIError):
        opened.bucket.delete()


def parquet_totals(path: Path) -> Totals:
    """Return the totals of a Parquet file with hashed ids."""
    return totals_of(f"read_parquet('{path}')")


def totals_of(source: str) -> Totals:
    """Return the totals of the rows of `source`, as SQL."""
    with spilling(txn_home()) as connection:
        return _plain(connection.execute(_DUCKDB_TOTALS + source).fetchone())


def _csv_totals(header: bytes, rest: Path) -> Totals:
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in header.decode().strip().split(","))
    return totals_of(f"read_csv('{rest}', header = false, auto_detect = false, columns = {{{columns}}})")


def _plain(row: Any) -> Totals:
    rows, price, quantity, fingerprint = row
    return [int(rows), f"{price or 0:.2f}", int(quantity or 0), int(fingerprint or 0)]


def totals(
    _: Timer, *, config: str, stores: list[str], table: str = "transactions", hashed: bool = True
) -> dict[str, Totals]:
    """Return the totals of each of `stores`. If `hashed` is false, hash the ids here first."""
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    found: dict[str, Totals] = {}
    if "postgres" in stores:
        digits = "transaction_id" if hashed else "encode(sha256(convert_to(transaction_id, 'UTF8')), 'hex')"
        schema, _dot, plain = table.rpartition(".")
        with opened.postgres() as connection:
            row = connection.execute(
                sql.SQL(
                    "SELECT count(*), sum(price::numeric(18,4)), sum(quantity), "
                    "bit_xor(('x' || substr({}, 1, 15))::bit(60)::bigint) FROM {}"
                ).format(sql.SQL(digits), sql.Identifier(schema or opened.schema, plain))
            ).fetchone()
        found["postgres"] = _plain(row)
    if "bigquery" in stores:
        query = (
            "SELECT count(*), sum(price), sum(quantity), "
            f"bit_xor(CAST(concat('0x', substr(transaction_id, 1, 15)) AS INT64)) FROM `{opened.dataset}.raw_transactions`"
        )
        (answer,) = opened.bq.query(query).result()
        found["bigquery"] = _plain(answer.values())
    if "gcs" in stores:
        (blob,) = (b for b in opened.gcs.list_blobs(opened.bucket) if b.name.endswith("processed.csv"))
        # Through a pipe: an object of 100 million rows has 9.8 GB.
        found["gcs"] = read_input(blob.download_to_file, _csv_totals)
    return found


def prepare_rows(_: Timer, *, parquet: str, copy_csv: str, lake_csv: str) -> dict[str, int]:
    """Write the rows of `parquet` as the CSV files that the bare clients load."""
    with spilling(txn_home()) as connection:
        connection.execute(f"COPY (SELECT * FROM read_parquet('{parquet}')) TO '{copy_csv}' (FORMAT csv, HEADER false)")
        connection.execute(
            f"COPY (SELECT {csv_select(CONTRACT)} FROM read_parquet('{parquet}')) TO '{lake_csv}' (FORMAT csv, HEADER)"
        )
    return {"copy_csv": Path(copy_csv).stat().st_size, "lake_csv": Path(lake_csv).stat().st_size}
