"""What the catalog shows before the first run: places, owners, tags, lineage, freshness and code of each asset."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from txn_assets.config import load_config
from txn_assets.definitions import build
from txn_assets.environment import project_root

LOADING = ("raw_csv", "validated_transactions", "hashed_transactions", "gcs_raw", "bigquery_raw_transactions")
TIERS = {"landing_zone": "source", **dict.fromkeys(LOADING[:3], "internal")}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """Return the definitions of a configuration with owners and two feeds."""
    content = yaml.safe_load((project_root() / "data" / "pipeline_config.yaml").read_text())
    content["orchestration"] = {
        "owners": ["team:sales", "a@b.example.com"],
        "expected": {"by": "23:30", "timezone": "Europe/Berlin"},
        "stuck_after_minutes": 45,
        "mart_minutes": 10,
    }
    content["feeds"] = {"refunds": {"owners": [], "expected": {"every": "6h"}}}
    path: Path = tmp_path_factory.mktemp("catalog") / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return build(load_config(path))


@pytest.fixture(scope="module")
def nodes(definitions: dg.Definitions) -> dict[str, Any]:
    """Return each asset by its key."""
    return {node.key.to_user_string(): node for node in definitions.resolve_asset_graph().asset_nodes}


def test_assets_of_all_feeds_fit_into_one_job(definitions: dg.Definitions) -> None:
    """`dagster asset materialize` can select the assets of two feeds at once."""
    job = definitions.resolve_implicit_global_asset_job_def()

    assert {"validated_transactions", "refunds__validated_refunds"} <= {node.name for node in job.graph.nodes}


def test_every_asset_has_an_owner_and_a_tier(nodes: dict[str, Any]) -> None:
    """Owners are those of the feed, and the tier says who reads an asset."""
    for key, node in nodes.items():
        assert node.owners == ([] if key.startswith("refunds/") else ["team:sales", "a@b.example.com"])
        assert node.tags["tier"] == TIERS.get(key.rpartition("/")[2].replace("refunds", "transactions"), "published")
    clear = {key for key, node in nodes.items() if node.tags.get("pii") == "clear"}
    assert {key for key in clear if "/" not in key} == {"landing_zone", "raw_csv", "validated_transactions"}
    assert {key for key, node in nodes.items() if "pii" not in node.tags} == {"sales_by_product", "sales_by_date"}


@pytest.mark.parametrize(
    ("asset", "key", "value"),
    [
        ("landing_zone", "uri", "gs://hijra-transactions/landing/transactions/"),
        ("gcs_raw", "uri", "gs://hijra-transactions/raw/transactions/"),
        ("bigquery_raw_transactions", "table_name", "hijra-project.transactions_warehouse.raw_transactions"),
        ("bigquery_raw_transactions", "storage_kind", "bigquery"),
        ("postgres_transactions", "table_name", "transactions.public.transactions"),
        ("refunds/postgres_refunds", "table_name", "transactions.public.refunds"),
        ("sales_by_date", "table_name", "transactions.transactions_mart.sales_by_date"),
    ],
)
def test_place(nodes: dict[str, Any], asset: str, key: str, value: str) -> None:
    """The catalog says where the rows are."""
    found = nodes[asset].metadata[f"dagster/{key}"]
    assert getattr(found, "value", found) == value


def test_column_lineage_leads_from_the_marts_to_the_valid_rows(nodes: dict[str, Any]) -> None:
    """Each column of a table comes from existing columns of its inputs."""
    schemas = {key: node.metadata.get("dagster/column_schema") for key, node in nodes.items()}
    columns = {key: {column.name for column in schema.columns} for key, schema in schemas.items() if schema}
    for key, node in nodes.items():
        lineage = node.metadata.get("dagster/column_lineage")
        for name, deps in lineage.deps_by_column.items() if lineage else ():
            assert name in columns[key]
            for dep in deps:
                assert dep.asset_key in node.parent_keys
                assert dep.column_name in columns[dep.asset_key.to_user_string()]
    amounts = nodes["sales_by_date"].metadata["dagster/column_lineage"].deps_by_column["total_amount"]
    assert {dep.column_name for dep in amounts} == {"price", "quantity"}
    assert len(amounts) == 4


def test_code_references_exist(nodes: dict[str, Any]) -> None:
    """Each asset links to source files, and that of the valid rows to the row model."""
    for node in nodes.values():
        references = node.metadata["dagster/code_references"].code_references
        assert references
        for one in references:
            assert Path(one.file_path).is_file()
    model = nodes["validated_transactions"].metadata["dagster/code_references"].code_references[0]
    assert Path(model.file_path).read_text().splitlines()[model.line_number - 1] == "class Transaction(Row):"
    versions = {node.code_version for key, node in nodes.items() if key in LOADING}
    assert len(versions) == 1
    assert all(versions)


def test_freshness_follows_what_is_expected(nodes: dict[str, Any]) -> None:
    """The stores are due `stuck_after_minutes` after the files, and the marts `mart_minutes` after the stores."""
    assert {key for key, node in nodes.items() if node.freshness_policy is None} == {
        f"{prefix}{name}"
        for prefix, feed in (("", "transactions"), ("refunds/", "refunds"))
        for name in ("raw_csv", f"validated_{feed}", f"hashed_{feed}")
    }
    day = dg.FreshnessPolicy.cron("30 23 * * *", lower_bound_delta=dt.timedelta(days=1), timezone="Europe/Berlin")
    assert nodes["landing_zone"].freshness_policy == day
    crons = {key: getattr(node.freshness_policy, "deadline_cron", None) for key, node in nodes.items()}
    assert (crons["gcs_raw"], crons["sales_by_date"]) == ("15 0 * * *", "25 0 * * *")
    assert nodes["refunds/gcs_raw"].freshness_policy == dg.FreshnessPolicy.time_window(
        dt.timedelta(hours=6, minutes=45)
    )
