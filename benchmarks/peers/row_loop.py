"""The row loop: pandas reads, a Pydantic model validates each row, hashlib hashes, pandas loads.

This project began as a pipeline like this one. `whole_run` loads the three stores with the calls from the clients' own
documentation: to_csv and an upload, load_table_from_dataframe, to_sql with multi-row inserts.
"""

import hashlib
import io
import os
from pathlib import Path

import pandas as pd
import sqlalchemy
from google.cloud import bigquery
from pydantic import ValidationError

from benchmarks.child import Timer
from benchmarks.peers.contract import Transaction
from benchmarks.peers.promise import Promise
from benchmarks.stores import Opened, Totals, parquet_totals

PROMISE = Promise(
    "row loop",
    bad_rows="dropped",
    ids="SHA-256",
    crash="new rows, in some stores",
    repeat="rows twice",
    race="rows twice",
    proof="nothing",
)


def valid_rows(path: str) -> pd.DataFrame:
    """Return the valid rows of the file, with hashed ids."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = []
    for _, row in frame.iterrows():
        try:
            transaction = Transaction.model_validate(row.to_dict()).model_dump()
        except ValidationError:
            continue
        transaction["transaction_id"] = hashlib.sha256(transaction["transaction_id"].encode()).hexdigest()
        rows.append(transaction)
    return pd.DataFrame(rows)


def to_parquet(timer: Timer, *, path: str, folder: str) -> Totals:
    """Turn the CSV file into hashed.parquet in `folder`; return its totals."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    target = Path(folder) / "hashed.parquet"
    with timer():
        valid_rows(path).to_parquet(target)
    return parquet_totals(target)


def whole_run(timer: Timer, *, path: str, config: str) -> None:
    """Load the CSV file into the three stores."""
    with timer():
        os.environ["TXN_CONFIG"] = config
        frame = valid_rows(path)
        opened = Opened()
        text = io.StringIO()
        frame.to_csv(text, index=False)
        opened.bucket.blob("raw/transactions/bench/processed.csv").upload_from_string(text.getvalue(), "text/csv")
        job_config = bigquery.LoadJobConfig(
            schema=[
                bigquery.SchemaField("transaction_id", "STRING"),
                bigquery.SchemaField("product", "STRING"),
                bigquery.SchemaField("price", "NUMERIC"),
                bigquery.SchemaField("quantity", "INT64"),
                bigquery.SchemaField("date", "DATE"),
            ]
        )
        table = f"{opened.dataset}.raw_transactions"
        opened.bq.load_table_from_dataframe(frame, table, job_config=job_config).result()
        engine = sqlalchemy.create_engine(opened.endpoints.postgres_dsn.replace("postgresql:", "postgresql+psycopg2:"))
        with engine.begin() as connection:
            frame.to_sql(
                "transactions",
                connection,
                schema=opened.schema,
                if_exists="append",
                index=False,
                method="multi",
                chunksize=10_000,
            )
