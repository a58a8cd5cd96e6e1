"""The marts as Dagster assets: what a refresh records, what `make run` shows of them, and what stays without them."""

import io
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest

from txn_assets.definitions import build
from txn_assets.defs.charts import MAX_BARS, draw
from txn_assets.defs.marts import REFRESH
from txn_assets.environment import project_root
from txn_assets.job import execute
from txn_assets.marts.mart import plain
from txn_assets.run import run
from txn_assets_tests.charts import read_charts
from txn_assets_tests.deployment import Deployment, make_row

MODELS = ["sales_by_product", "sales_by_date", "fact_sales", "pg_sales", "summary_sales"]


def refresh(deployment: Deployment, marts: Sequence[str] = (), **options: Any) -> dg.JobExecutionResult:
    """Run the job that refreshes the marts, or only `marts`."""
    selection = [dg.AssetKey(mart) for mart in marts] or None
    return execute(deployment.config, deployment.instance, job=REFRESH, asset_selection=selection, **options)


def metadata_of(result: dg.JobExecutionResult) -> dict[str, dict[str, Any]]:
    """Return the metadata of each mart in `result`."""
    events = [event.step_materialization_data for event in result.all_events if event.is_step_materialization]
    return {
        data.materialization.asset_key.to_user_string(): {
            name: value.value for name, value in data.materialization.metadata.items()
        }
        for data in events
    }


def test_refresh(deployment: Deployment) -> None:
    """A refresh records rows, versions, duplicates, a table and a chart; the next one finds nothing to do."""
    deployment.configure({"transformation": {"models": MODELS}})
    deployment.load("a.csv", make_row(), make_row(transaction_id="T002", product="$5 or $6", price="29.99"))
    deployment.load("b.csv", make_row(quantity="3"))

    results = [refresh(deployment) for _ in range(2)]

    first, second = map(metadata_of, results)
    assert [check.passed for check in results[0].get_asset_check_evaluations()] == [True] * len(MODELS)
    assert set(first) == set(MODELS)
    rows = {name: mart["dagster/row_count"] for name, mart in first.items()}
    assert rows == dict.fromkeys(MODELS, 2) | {"sales_by_date": 1}
    assert {mart["superseded_rows"] for mart in first.values()} == {1}
    assert {mart["is_unchanged"] for mart in first.values()} == {False}
    assert {mart["is_unchanged"] for mart in second.values()} == {True}
    (record,) = first["sales_by_date"]["first_rows"].records
    assert record.data == {
        "sale_date": "2023-10-01", "transaction_count": 2, "total_quantity": "5", "total_amount": "3059.95",
    }  # fmt: skip
    for mart in first.values():
        (chart,) = read_charts(mart["chart"])
        assert {"$5 or $6", "2023-10-01"} & set(chart.itertext())
    versions = {name: [mart[key] for key in mart if key.startswith("version_")] for name, mart in first.items()}
    assert {name: len(found) for name, found in versions.items()} == {
        "sales_by_product": 2, "sales_by_date": 2, "fact_sales": 1, "pg_sales": 1, "summary_sales": 2,
    }  # fmt: skip

    exported = deployment.objects()["marts/sales_by_date.csv"].decode().splitlines()
    assert exported[0] == "sale_date,transaction_count,total_quantity,total_amount"
    assert "marts/pg_sales.json" in first["pg_sales"]["exports"]

    # One wrong cell, which the ledgers cannot tell.
    table = f"{deployment.config.data_mart.dataset}.sales_by_product"
    deployment.pg.execute(f"UPDATE {table} SET avg_price = avg_price + 0.01 WHERE product = 'Halal Laptop'")
    (check,) = refresh(deployment, ["sales_by_product"], raise_on_error=False).get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "sales_by_product: avg_price differs between the engines in 1 rows."

    config = {"ops": {"pg_sales": {"config": {"force": True}}}}
    again = metadata_of(execute_with(deployment, config))
    assert again["pg_sales"]["is_unchanged"] is False


def execute_with(deployment: Deployment, config: dict[str, Any]) -> dg.JobExecutionResult:
    """Refresh `pg_sales` with a run configuration, as the launchpad of the UI does."""
    job = build(deployment.config).resolve_job_def(REFRESH)
    return job.execute_in_process(  # type: ignore[return-value]  # both have the events
        run_config=config, instance=deployment.instance, asset_selection=[dg.AssetKey("pg_sales")]
    )


def test_chart_is_bounded() -> None:
    """A chart stays small, however long and many the names are; without rows there is no chart."""
    names = [(f"$x_{n}^{{\n \u4e2d" * 20, Decimal(n)) for n in range(400)]
    assert len(names) > MAX_BARS
    chart = draw("sales", names)
    assert chart
    assert len(chart) < 50_000
    (image,) = read_charts(chart)
    assert len(image.findall(".//{*}g[@class='series bars']/{*}rect")) == MAX_BARS
    assert draw("sales", []) is None


@pytest.mark.parametrize(
    ("value", "text"), [("249.9000", "249.90"), ("0.0125", "0.0125"), ("3", "3"), ("1E+3", "1000"), ("5.000", "5.00")]
)
def test_plain_number(value: str, text: str) -> None:
    """Numbers are shown exactly, with two decimals or as many as they need."""
    assert plain(Decimal(value)) == text


def test_run_ends_with_the_marts(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """`make run` ends with the first rows of the marts, those of `data_mart.table` first."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    deployment.configure({"data_mart": {"table": "sales_by_date"}})
    out = io.StringIO()

    assert run(project_root() / "data" / "transactions.csv", deployment.config, out) == 0

    marts = out.getvalue().partition("  sales_by_date: 4 rows in BigQuery and PostgreSQL\n")[2].splitlines()
    lines = [line.split() for line in marts if line]
    assert lines[:2] == [
        ["sale_date", "transaction_count", "total_quantity", "total_amount"],
        ["2023-10-01", "1", "2", "1999.98"],
    ]
    assert ["Halal", "Mouse", "1", "10", "249.90", "24.99", "2023-10-02", "2023-10-02"] in lines


def test_no_marts(deployment: Deployment) -> None:
    """Without models there is no mart, no job, no sensor and no schedule, and a run does not mention them."""
    with_marts = build(deployment.config).get_repository_def()
    deployment.configure({"transformation": {"models": []}})
    without = build(deployment.config).get_repository_def()

    def names(repository: dg.RepositoryDefinition) -> set[str]:
        keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
        jobs = {job.name for job in repository.get_all_jobs()}
        schedules = {schedule.name for schedule in repository.schedule_defs}
        return keys | jobs | schedules | {sensor.name for sensor in repository.sensor_defs}

    assert names(with_marts) - names(without) == {
        "sales_by_product", "sales_by_date", "refresh_marts", "refresh_marts_schedule", "marts_follow_files",
    }  # fmt: skip
    load = with_marts.get_job("load_landed_files")
    assert not {"sales_by_product", "sales_by_date"} & {node.name for node in load.nodes}


def test_definitions_load_without_clients() -> None:
    """The definitions load without the clients, which take a second."""
    code = (
        "import sys; from txn_assets.definitions import defs; defs();"
        "print([name for name in ('psycopg', 'requests', 'google.cloud.bigquery') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
