"""Bare calls of the stores' own clients: COPY, a load job, an upload. No ledger, no replacing, no reconciliation.

If `psql` is installed, `points/sinks.py` uses it for COPY.
"""

import os
from pathlib import Path

import psycopg
from google.cloud import bigquery
from psycopg import sql

from benchmarks.child import Timer
from benchmarks.peers.promise import Promise
from benchmarks.stores import Opened
from txn_assets.feeds.transaction import CONTRACT

PROMISES = (
    Promise(
        "`psql \\copy`",
        bad_rows="file refused",
        ids="as sent",
        crash="the earlier rows",
        repeat="rows twice",
        race="rows twice",
        proof="nothing",
    ),
    Promise(
        "`load_table_from_uri`",
        bad_rows="file refused",
        ids="as sent",
        crash="the earlier rows",
        repeat="rows twice",
        race="rows twice",
        proof="nothing",
    ),
    Promise(
        "`upload_from_filename`",
        bad_rows="kept",
        ids="as sent",
        crash="the earlier object",
        repeat="the same object",
        race="the later object",
        proof="checksum of the bytes",
    ),
)


def copy(timer: Timer, *, dsn: str, schema: str, csv: str) -> None:
    """COPY a prepared CSV file, for machines without psql."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(schema, "transactions"), sql.SQL(", ").join(map(sql.Identifier, CONTRACT.staged_columns))
    )
    with (
        timer(),
        psycopg.connect(dsn) as connection,
        connection.cursor() as cursor,
        Path(csv).open("rb") as file,
        cursor.copy(statement) as target,
    ):
        while block := file.read(1 << 18):
            target.write(block)


def load_table_from_uri(timer: Timer, *, config: str, parquet: str) -> None:
    """Run one load job of the Parquet object into an empty table with our columns, partitioning and clustering."""
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    blob = opened.bucket.blob("staging/bench.parquet")
    blob.upload_from_filename(parquet)
    schema = [bigquery.SchemaField(name, kind.bigquery) for name, kind in CONTRACT.staged_columns.items()]
    table = f"{opened.dataset}.raw_transactions"
    made = bigquery.Table(table, schema=schema)
    made.time_partitioning = bigquery.TimePartitioning(field="date")
    made.clustering_fields = ["source_file"]
    opened.bq.create_table(made)
    job_config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET, write_disposition="WRITE_APPEND", schema=schema
    )
    with timer():
        uri = f"gs://{opened.config.data_lake.gcs_bucket}/{blob.name}"
        opened.bq.load_table_from_uri(uri, table, job_config=job_config).result()


def upload_from_filename(timer: Timer, *, config: str, csv: str) -> None:
    """Upload the prepared CSV file once."""
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    with timer():
        opened.bucket.blob("raw/transactions/bench/processed.csv").upload_from_filename(csv, content_type="text/csv")
