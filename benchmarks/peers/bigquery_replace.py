"""BigQuery's client with a promise like ours, as an engineer would write it by hand for this one table.

A load job into a staging table, then one transaction that replaces the file's rows and notes the load. It promises that
readers find all rows of the old version or all of the new one, and that a second load leaves the same rows. It compares
the number of rows before the commit, but no value in them, so it computes no fingerprint. A load that resumes after a
newer one replaces it, one of two loads at once fails, a retry after a lost response runs both jobs again, and existing
tables are not looked at.
"""

import os

from google.cloud import bigquery
from pyarrow.parquet import read_metadata

from benchmarks.child import Timer
from benchmarks.ours import NAME
from benchmarks.peers.promise import Promise
from benchmarks.stores import Opened
from txn_assets.feeds.transaction import CONTRACT

PROMISE = Promise(
    "BigQuery's client, staging table and transaction",
    bad_rows="file refused",
    ids="as sent",
    crash="the earlier rows",
    repeat="the same rows",
    race="one of them fails",
    proof="the number of rows",
)

COLUMNS = ", ".join(CONTRACT.staged_columns)

SCRIPT = f"""
BEGIN TRANSACTION;
DELETE FROM {{table}} WHERE source_file = @file;
INSERT INTO {{table}} ({COLUMNS}) SELECT {COLUMNS} FROM {{table}}_staging;
DELETE FROM {{table}}_loads WHERE source_file = @file;
INSERT INTO {{table}}_loads (source_file, generation, row_count, loaded_at)
SELECT @file, @generation, IF(COUNT(*) = @rows, COUNT(*), ERROR('rows are missing')), CURRENT_TIMESTAMP()
FROM {{table}} WHERE source_file = @file;
COMMIT TRANSACTION;
"""


def load(timer: Timer, *, config: str, parquet: str) -> None:
    """Replace the rows of a file with those in `parquet`, in a table with our columns, and note the load."""
    os.environ["TXN_CONFIG"] = config
    opened = Opened()
    client, table = opened.bq, f"{opened.dataset}.raw_transactions"
    blob = opened.bucket.blob("staging/bench.parquet")
    blob.upload_from_filename(parquet)
    schema = [bigquery.SchemaField(name, kind.bigquery) for name, kind in CONTRACT.staged_columns.items()]
    data = bigquery.Table(table, schema=schema)
    data.time_partitioning = bigquery.TimePartitioning(type_="MONTH", field="date")
    data.clustering_fields = ["date", "source_file"]
    kinds = {"source_file": "STRING", "generation": "INT64", "row_count": "INT64", "loaded_at": "TIMESTAMP"}
    loads = bigquery.Table(f"{table}_loads", schema=[bigquery.SchemaField(*column) for column in kinds.items()])
    load_config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_TRUNCATE", schema=schema)
    parameters = [
        bigquery.ScalarQueryParameter("file", "STRING", NAME),
        bigquery.ScalarQueryParameter("generation", "INT64", 1),
        bigquery.ScalarQueryParameter("rows", "INT64", read_metadata(parquet).num_rows),
    ]
    client.create_table(data)
    client.create_table(loads)
    with timer():
        uri = f"gs://{opened.config.data_lake.gcs_bucket}/{blob.name}"
        client.load_table_from_uri(uri, f"{table}_staging", job_config=load_config).result()
        script = SCRIPT.format(table=table)
        client.query_and_wait(script, job_config=bigquery.QueryJobConfig(query_parameters=parameters))
        client.delete_table(f"{table}_staging")
