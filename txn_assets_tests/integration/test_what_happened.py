"""One file, asked about in the UI, in `txn status`, in SQL in both databases and in the metrics: all say the same."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from txn_assets.cli import main
from txn_assets_tests.deployment import SINKS, Deployment, make_file, make_row
from txn_assets_tests.exporter import Scrape, exporting

NAME = "orders.csv"
NO_DAGSTER = "http://127.0.0.1:9"

UI = """
query ($key: AssetKeyInput!, $name: String!) {
  assetOrError(assetKey: $key) {
    ... on Asset {
      assetMaterializations(partitions: [$name], limit: 1) {
        metadataEntries {
          label
          ... on IntMetadataEntry { intValue }
          ... on FloatMetadataEntry { floatValue }
          ... on TextMetadataEntry { text }
          ... on PathMetadataEntry { path }
          ... on UrlMetadataEntry { url }
          ... on JsonMetadataEntry { jsonString }
        }
      }
    }
  }
}"""


def in_ui(deployment: Deployment, asset: str) -> dict[str, Any]:
    """Return the metadata of the asset's materialization of the file, as the UI asks for it."""
    with WorkspaceProcessContext(deployment.instance, EmptyWorkspaceTarget()) as process:
        variables = {"key": {"path": [asset]}, "name": NAME}
        answer = execute_dagster_graphql(process.create_request_context(), UI, variables)
    (materialization,) = answer.data["assetOrError"]["assetMaterializations"]
    found = {}
    for entry in materialization["metadataEntries"]:
        label = entry.pop("label")
        found[label] = next(iter(entry.values()), None)
    return found


@pytest.fixture
def stored(deployment: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """Yield a deployment whose Dagster keeps its events on disk, as the UI's API requires."""
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        yield replace(deployment, instance=instance)


def test_four_answers(stored: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """When, which version, how many rows, how many rejected and why, where they are, and how long it took."""
    monkeypatch.setenv("TXN_DAGSTER_URL", NO_DAGSTER)
    deployment = stored
    rejected = make_row(transaction_id="T3", product=""), make_row(quantity="0")
    rows = [make_row(), make_row(transaction_id="T2"), *rejected]
    generation = deployment.land(NAME, make_file(*rows))
    deployment.materialize(NAME)
    reasons = {"product: missing": 1, "quantity: greater_than_equal": 1}

    capsys.readouterr()
    assert main(["status", NAME, "--json"]) == 0
    (status,) = json.loads(capsys.readouterr().out)["files"]
    validated = in_ui(deployment, "validated_transactions")
    sinks = {asset: in_ui(deployment, asset) for asset in SINKS}
    dataset, schema = deployment.bq_table.rpartition(".")[0], deployment.pg_table.partition(".")[0]
    columns = (
        "generation, records, valid, rejected, reasons, landed_at, started_at, loaded_at, seconds, table_name, run_id"
    )
    of_file = f"FROM {{}}.file_status WHERE feed = 'transactions' AND source_file = '{NAME}'"
    (in_postgres,) = deployment.pg.execute(f"SELECT {columns} {of_file.format(schema)}").fetchall()
    (in_bigquery,) = deployment.bq.query(f"SELECT {columns} {of_file.format(f'`{dataset}`')}").result()
    log = deployment.config_path.with_name("metrics.log")
    with exporting(log, {"TXN_CONFIG": str(deployment.config_path), "TXN_DAGSTER_URL": NO_DAGSTER}) as exporter:
        scrape = exporter.scrape()

    metric = partial(_metric, scrape)
    # Which version, how many rows, how many rejected, and why.
    of_sql = [(row[0], row[1], row[2], row[3], _reasons(row[4])) for row in (in_postgres, in_bigquery)]
    assert of_sql == [(generation, 4, 2, 2, reasons)] * 2
    assert (status["generation"], status["rows"], status["valid"]) == (str(generation), 4, 2)
    assert status["rejected"] == reasons
    assert (validated["records"], validated["dagster/partition_row_count"], validated["rejected"]) == (4, 2, 2)
    assert (int(validated["generation"]), json.loads(validated["reasons"])) == (generation, reasons)
    assert metric("txn_load_records_total") == 4
    assert (metric("txn_rows", verdict="valid"), metric("txn_rows", verdict="rejected")) == (2, 2)

    # Where they are.
    assert validated["quarantine"] == status["quarantine"]
    assert [one["dagster/partition_row_count"] for one in sinks.values()] == [2, 2, 2]
    assert [store["rows"] for store in status["stores"].values()] == [2, 2, 2]
    addresses = [store["address"] for store in status["stores"].values()]
    assert addresses == [one["address"] for one in sinks.values()]
    assert (in_bigquery[9], in_postgres[9]) == (deployment.bq_table, deployment.pg_table)
    assert addresses[1:] == [deployment.bq_table, deployment.pg_table]
    assert metric("txn_files", verdict="partly") == 1

    # When, and how long it took.
    landed, loaded = dt.datetime.fromisoformat(status["landed_at"]), status["stores"]["PostgreSQL"]["loaded_at"]
    assert in_postgres[5] == in_bigquery[5] == landed
    assert in_postgres[6] == in_bigquery[6] == dt.datetime.fromisoformat(status["started_at"])
    assert in_postgres[7] == dt.datetime.fromisoformat(loaded)
    assert in_bigquery[7] == dt.datetime.fromisoformat(status["stores"]["BigQuery"]["loaded_at"])
    assert metric("txn_last_load_timestamp_seconds") == pytest.approx(in_postgres[7].timestamp(), abs=0.01)
    assert metric("txn_lag_seconds_gsum") == pytest.approx((in_postgres[7] - landed).total_seconds(), abs=0.01)
    seconds = {**status["seconds"], "load": status["stores"]["PostgreSQL"]["seconds"]}
    assert float(in_postgres[8]) == pytest.approx(sum(seconds.values()), abs=0.01)
    for stage, took in seconds.items():
        assert metric("txn_stage_seconds_gsum", stage=stage) == pytest.approx(took, abs=0.01), stage
    assert validated["seconds"] == pytest.approx(seconds["validate"], abs=0.5)
    assert in_postgres[10] == in_bigquery[10] == status["run"]["id"]


def _metric(scrape: Scrape, name: str, **labels: str) -> float:
    value = scrape.value(name, feed="transactions", **labels)
    assert value is not None, name
    return value


def _reasons(value: str | dict[str, int]) -> dict[str, int]:
    return json.loads(value) if isinstance(value, str) else value
