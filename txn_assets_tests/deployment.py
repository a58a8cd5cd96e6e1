"""A deployment as tests use it: land a file, materialize it, read the stores with their own clients."""

import copy
import csv
import datetime as dt
import gzip
import io
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage

from txn_assets.config import PipelineConfig, load_config
from txn_assets.defs.assets import make_assets
from txn_assets.defs.jobs import LOAD
from txn_assets.defs.names import prefixed
from txn_assets.environment import project_root, txn_home
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.feed import Feed
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.arrival import KEY_TAG
from txn_assets.job import execute
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.stack import find_endpoints

FIELDS = CONTRACT.names
HEADER = ",".join(FIELDS)
SINKS = ("gcs_raw", "bigquery_raw_transactions", "postgres_transactions")


type Row = tuple[Any, ...]
"""The columns of a row, with dates as text and moments in UTC."""


def make_row(**overrides: str) -> str:
    """Return a valid row of a CSV file, with a test's overrides."""
    row = {
        "transaction_id": "T001",
        "product": "Halal Laptop",
        "price": "999.99",
        "quantity": "2",
        "date": "2023-10-01",
    } | overrides
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([row[name] for name in FIELDS])
    return text.getvalue()


def make_file(*rows: str, header: str = HEADER) -> bytes:
    """Return a CSV file."""
    return "".join(f"{line}\n" for line in (header, *rows)).encode()


def many_rows(count: int, *, start: int = 0, price: str = "1.50", day: str = "2023-10-01") -> list[str]:
    """Return valid rows with consecutive ids."""
    return [make_row(transaction_id=f"T{start + n:07d}", price=price, date=day) for n in range(count)]


def make_config(path: Path, overrides: Mapping[str, Any] | None = None) -> None:
    """Write the project's configuration with unique names and `overrides` merged in."""
    content = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    name = uuid.uuid4().hex[:12]
    content["data_lake"]["gcs_bucket"] = f"bucket-{name}"
    content["data_mart"]["dataset"] = f"mart_{name}"
    content["data_warehouse"] |= {"dataset": f"dataset_{name}", "postgres": {"schema": f"schema_{name}"}}
    path.write_text(yaml.safe_dump(_merged(content, overrides or {}), sort_keys=False))


def _merged(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(copy.deepcopy(content))
    for key, value in overrides.items():
        merged[key] = _merged(merged.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


@dataclass
class Deployment:
    """A bucket, a dataset and a schema on the local stack, and a Dagster instance."""

    config_path: Path
    instance: dg.DagsterInstance
    endpoints: Endpoints
    gcs: storage.Client
    bq: bigquery.Client
    pg: "psycopg.Connection[Any]"

    @classmethod
    @contextmanager
    def open(cls, config_path: Path) -> Iterator["Deployment"]:
        """Open a deployment for the configuration at `config_path`."""
        config = load_config(config_path)
        endpoints = find_endpoints(txn_home(), seed_from(config))
        project, credentials = config.data_warehouse.project_id, AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is untyped
        gcs = storage.Client(project, credentials, client_options={"api_endpoint": endpoints.gcs_url})
        bq = bigquery.Client(project, credentials, client_options={"api_endpoint": endpoints.bigquery_url})
        with (
            dg.DagsterInstance.ephemeral() as instance,
            psycopg.connect(endpoints.postgres_dsn, autocommit=True) as pg,
        ):
            yield cls(config_path, instance, endpoints, gcs, bq, pg)
        gcs.close()
        bq.close()  # type: ignore[no-untyped-call]  # google-cloud-bigquery is untyped here

    @classmethod
    @contextmanager
    def temporary(cls, config_path: Path) -> Iterator["Deployment"]:
        """Open a deployment for the configuration that `make_config` wrote, and delete its datasets afterwards."""
        opened = dt.datetime.now(dt.UTC)
        with cls.open(config_path) as deployment:
            yield deployment
            config = deployment.config
            _shrink(deployment.bq, (config.data_warehouse.dataset, config.data_mart.dataset), opened)

    @property
    def config(self) -> PipelineConfig:
        """Return the configuration in force."""
        return load_config(self.config_path)

    def configure(self, overrides: Mapping[str, Any]) -> None:
        """Change the configuration for subsequent runs."""
        content = yaml.safe_load(self.config_path.read_text())
        self.config_path.write_text(yaml.safe_dump(_merged(content, overrides), sort_keys=False))

    @property
    def bucket(self) -> storage.Bucket:
        """Return the bucket."""
        return self.gcs.bucket(self.config.data_lake.gcs_bucket)

    @property
    def bq_table(self) -> str:
        """Return the BigQuery table."""
        return self.bq_table_of(self.feed())

    @property
    def pg_table(self) -> str:
        """Return the PostgreSQL table."""
        return self.pg_table_of(self.feed())

    def bq_table_of(self, feed: Feed) -> str:
        """Return the BigQuery table of `feed`."""
        warehouse = self.config.data_warehouse
        return f"{warehouse.project_id}.{warehouse.dataset}.{feed.bigquery_table}"

    def pg_table_of(self, feed: Feed) -> str:
        """Return the PostgreSQL table of `feed`."""
        return f"{self.config.data_warehouse.postgres.schema_}.{feed.postgres_table}"

    def feed(self, name: str = "transactions") -> Feed:
        """Return the feed `name`."""
        (feed,) = (feed for feed in feeds_of(self.config) if feed.name == name)
        return feed

    def land(self, name: str, content: bytes, *, feed: str = "transactions") -> int:
        """Upload a file to the landing zone of `feed`; return its generation."""
        blob = self.bucket.blob(f"{self.feed(feed).landing}/{name}")
        blob.upload_from_string(content, content_type="text/csv")
        return int(blob.generation)

    def materialize(
        self,
        name: str | None,
        *,
        feed: str = "transactions",
        select: str = "*",
        raise_on_error: bool = True,
        tags: Mapping[str, str] | None = None,
    ) -> dg.JobExecutionResult:
        """Run the assets of `feed` in `select` for the landed file `name`."""
        of = self.feed(feed)
        assets = make_assets(of, self.config).loading
        keys = dg.AssetSelection.from_string(select).resolve(assets)
        return execute(
            self.config,
            self.instance,
            job=prefixed(of, LOAD),
            raise_on_error=raise_on_error,
            asset_selection=list(keys),
            tags={KEY_TAG: name} if name else tags,
        )

    def materialize_batch(self, *names: str, select: str = "*") -> dg.JobExecutionResult:
        """Run the assets for several landed files in one run, as a backfill of their partitions does."""
        self.instance.add_dynamic_partitions("landed_files", list(names))
        in_order = [name for name in self.instance.get_dynamic_partitions("landed_files") if name in names]
        tags = {"dagster/asset_partition_range_start": in_order[0], "dagster/asset_partition_range_end": in_order[-1]}
        return self.materialize(None, select=select, raise_on_error=False, tags=tags)

    def load(self, name: str, *rows: str) -> dg.JobExecutionResult:
        """Land a file of `rows` and materialize all assets for it."""
        self.land(name, make_file(*rows))
        return self.materialize(name)

    def rows(self, store: str, name: str, *, feed: str = "transactions") -> list[Row]:
        """Return the rows that a store holds of the file `name`, in order; use the store's own client.

        `store` is one of `SINKS`, whatever the feed.
        """
        read = {"gcs_raw": self._gcs_rows, "bigquery_raw_transactions": self._bq_rows}.get(store, self._pg_rows)
        rows = [tuple(map(_plain, row)) for row in read(self.feed(feed), name)]
        return sorted(rows, key=lambda row: [(value is not None, value) for value in row])

    def rows_everywhere(self, name: str, *, feed: str = "transactions") -> list[Row]:
        """Return the rows of the file `name` after checking that all three stores agree on them."""
        gcs, bq, pg = (self.rows(store, name, feed=feed) for store in SINKS)
        assert gcs == bq == pg
        return pg

    def _gcs_rows(self, feed: Feed, name: str) -> Iterator[Iterable[Any]]:
        # Not `get_blob`: its download follows a link on which the servers of a cluster cannot be reached.
        blob = self.bucket.blob(f"{feed.path}/{name.removesuffix('.csv')}/processed.csv")
        if not blob.exists():
            return
        read: dict[str, Callable[[str], Any]] = {
            "money": Decimal,
            "decimal": Decimal,
            "whole": int,
            "timestamp": dt.datetime.fromisoformat,
            "boolean": "true".__eq__,
        }
        of_column = {column: read.get(kind.name, str) for column, kind in feed.contract.kinds.items()}
        for row in csv.DictReader(io.StringIO(blob.download_as_text(), newline="")):
            yield [of_column[column](text) if text else None for column, text in row.items()]

    def _bq_rows(self, feed: Feed, name: str) -> Iterator[Iterable[Any]]:
        columns = ", ".join(f"`{column}`" for column in feed.contract.names)
        query = f"SELECT {columns} FROM `{self.bq_table_of(feed)}` WHERE source_file = @name"
        config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("name", "STRING", name)])
        return (row.values() for row in self.bq.query(query, job_config=config).result())

    def _pg_rows(self, feed: Feed, name: str) -> list[tuple[Any, ...]]:
        columns = ", ".join(f'"{column}"' for column in feed.contract.names)
        query = f"SELECT {columns} FROM {self.pg_table_of(feed)} WHERE source_file = %s"
        return self.pg.execute(query, [name]).fetchall()

    def quarantined(self, name: str) -> list[dict[str, str]]:
        """Return the rows in the quarantine of the file `name`."""
        blob = self.bucket.get_blob(f"{self.config.data_lake.quarantine}/{name}/rejected.csv")
        return list(csv.DictReader(io.StringIO(blob.download_as_text(), newline=""))) if blob else []

    def objects(self) -> dict[str, bytes]:
        """Return every object of the bucket, uncompressed."""
        contents = {blob.name: blob.download_as_bytes() for blob in self.gcs.list_blobs(self.bucket)}
        return {n: gzip.decompress(c) if c.startswith(b"\x1f\x8b") else c for n, c in contents.items()}


def _shrink(bq: bigquery.Client, datasets: Iterable[str], before: dt.datetime) -> None:
    """Delete `datasets`, and the results of the queries of earlier deployments.

    local-bigquery lists all its tables several times per statement, and keeps the result of each query as a table. A
    list of 1,500 results takes 20 ms; with 200 tables of other datasets it takes 340 ms.
    """
    for dataset in datasets:
        bq.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
    for job in bq.list_jobs(state_filter="done", max_creation_time=before):
        bq.delete_job_metadata(job)


def _plain(value: Any) -> Any:
    """Return a date as text, and a moment in UTC."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC)
    return value.isoformat() if isinstance(value, dt.date) else value


def failure(result: dg.JobExecutionResult | dg.ExecuteInProcessResult) -> str:
    """Return the message of the first step that failed."""
    event = next(event for event in result.all_events if event.is_step_failure)
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    assert data.error
    return str(data.error.message)


def failed_checks(result: dg.JobExecutionResult) -> set[str]:
    """Return the names of the checks that did not pass."""
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}
