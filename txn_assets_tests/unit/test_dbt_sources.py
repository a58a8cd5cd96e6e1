"""`txn contract --format dbt-sources`: the tables of a feed as sources of a dbt project."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from txn_assets.cli import main
from txn_assets.config import load_config
from txn_assets_tests.deployment import make_config

FEEDS: dict[str, Any] = {"refunds": {}}


type Sources = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(name="printed")
def _printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sources:
    """Return a function that prints the sources of a feed and returns them by their names."""
    path = tmp_path / "pipeline_config.yaml"
    monkeypatch.setenv("TXN_CONFIG", str(path))

    def sources(feed: str = "transactions", models: Sequence[str] = ("sales_by_product",)) -> dict[str, dict[str, Any]]:
        make_config(path, {"feeds": FEEDS, "transformation": {"dbt_project": "shop", "models": list(models)}})
        assert main(["contract", "--feed", feed, "--format", "dbt-sources"]) == 0
        content = yaml.safe_load(capsys.readouterr().out)
        assert content["version"] == 2
        return {source["name"]: source for source in content["sources"]}

    return sources


def test_columns_tests_and_pii(printed: Sources) -> None:
    """Both tables have every column, described, with hashed ids marked; only current rows have unique ids."""
    sources = printed()
    (rows, ledger), (current,) = sources["shop"]["tables"], sources["shop_marts"]["tables"]
    names = ["transaction_id", "product", "price", "quantity", "date", "source_file", "source_row"]
    for table in (rows, current):
        columns = {column["name"]: column for column in table["columns"]}
        assert list(columns) == names
        assert all(column["description"] for column in columns.values())
        assert all("not_null" in column["data_tests"] for column in columns.values())
        pii = {name for name, column in columns.items() if "pii" in column.get("config", {}).get("tags", [])}
        assert pii == {"transaction_id"}
        assert columns["transaction_id"]["config"]["meta"] == {"pii": "hashed"}
        assert ("unique" in columns["transaction_id"]["data_tests"]) == (table is current)
    assert ledger["config"]["loaded_at_field"] == "loaded_at"


def test_names_of_both_engines(printed: Sources) -> None:
    """An expression has the names in BigQuery and PostgreSQL, and Dagster's asset that loads the rows."""
    sources = printed()
    config = load_config()
    warehouse = config.data_warehouse
    shop, marts = sources["shop"], sources["shop_marts"]
    for expression, bigquery, postgres in (
        (shop["schema"], warehouse.dataset, warehouse.postgres.schema_),
        (shop["tables"][0]["identifier"], warehouse.table, "transactions"),
        (
            marts["tables"][0]["config"]["meta"]["dagster"]["asset_key"][0],
            "bigquery_raw_transactions",
            "postgres_transactions",
        ),
    ):
        assert expression == f'{{{{ "{bigquery}" if target.type == "bigquery" else "{postgres}" }}}}'
    assert shop["database"] == f'{{{{ "{warehouse.project_id}" if target.type == "bigquery" else target.database }}}}'
    assert marts["schema"] == config.data_mart.dataset
    assert marts["tables"][0]["name"] == "transactions_current"


@pytest.mark.parametrize("options", [{"feed": "refunds"}, {"models": []}])
def test_no_view_without_marts(printed: Sources, options: dict[str, Any]) -> None:
    """Another feed, or a configuration without marts, has its rows and its ledger."""
    (source,) = printed(**options).values()
    rows, _ = source["tables"]
    assert rows["config"]["meta"]["dagster"]["asset_key"]
    assert {column["name"] for column in rows["columns"]} >= {"source_file", "source_row"}
