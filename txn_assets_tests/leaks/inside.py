"""Read what the stores hold by their own clients, because servers compress some of what they keep on disk."""

import json

import psycopg
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from psycopg import sql

from txn_assets.config import load_config
from txn_assets.local.postgres import SUPERUSER
from txn_assets_tests.leaks.scenarios import endpoints
from txn_assets_tests.leaks.search import Search
from txn_assets_tests.leaks.world import World


def search_stores(world: World, search: Search) -> None:
    """Search every row of every table of both databases, and what GCS says about each object."""
    config, found = load_config(world.config), endpoints(world)
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is untyped
    project = config.data_warehouse.project_id
    _postgres(found.postgres_dsn, search)
    gcs = storage.Client(project, credentials, client_options={"api_endpoint": found.gcs_url})
    for bucket in gcs.list_buckets():
        for blob in gcs.list_blobs(bucket):
            search.add(f"GCS: metadata of {blob.name}", json.dumps(blob._properties).encode())
    bq = bigquery.Client(project, credentials, client_options={"api_endpoint": found.bigquery_url})
    for dataset in bq.list_datasets():
        for table in bq.list_tables(dataset):
            rows = bq.query(f"SELECT * FROM `{table.full_table_id.replace(':', '.')}`").result()
            search.add(f"BigQuery: {table.dataset_id}.{table.table_id}", "\n".join(map(repr, rows)).encode())


def _postgres(dsn: str, search: Search) -> None:
    # Dagster's database belongs to a role of its own.
    with psycopg.connect(dsn, user=SUPERUSER, autocommit=True) as connection:
        databases = [name for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datallowconn")]
        # What is in memory goes to the files too, which are searched afterwards.
        connection.execute("CHECKPOINT")
    for database in databases:
        with psycopg.connect(dsn, user=SUPERUSER, dbname=database, autocommit=True) as connection:
            tables = connection.execute("SELECT schemaname, tablename FROM pg_tables").fetchall()
            for schema, table in tables:
                statement = sql.SQL("COPY (SELECT t::text FROM {} AS t) TO STDOUT").format(
                    sql.Identifier(schema, table)
                )
                with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    search.add(f"PostgreSQL {database}: {schema}.{table}", b"".join(copy))
