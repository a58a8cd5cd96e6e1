"""What users add themselves: assets and feeds in `own_defs/`, and definitions merged with those of the platform."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from txn_assets.definitions import defs
from txn_assets.environment import project_root
from txn_assets_tests.deployment import Deployment, make_file, make_row

ORDERS = """\
type: txn_assets.LandedFiles
attributes:
  fields:
    order_id: {kind: identifier, pii: true, row_id: true}
    amount: {kind: money, scale: 2}
    ordered_on: {kind: date, partition_key: true}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with a copy of the project, whose `own_defs/` a test can fill."""
    folder = tmp_path / "project"
    for name in ("txn_assets", "data"):
        shutil.copytree(project_root() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(project_root() / name, folder)
    return folder


def call(project: Path, deployment: Deployment, *command: str) -> str:
    """Run a command of the environment in `project`; return what it printed."""
    (project / "dagster-home").mkdir(exist_ok=True)
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        env=os.environ
        | {
            "PYTHONPATH": str(project),
            "TXN_CONFIG": str(deployment.config_path),
            "DAGSTER_HOME": str(project / "dagster-home"),
        },
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Dagster's own commands warn of their own `--select '*'`.
    warnings = [line for line in done.stderr.splitlines() if "BetaWarning" in line and "include_sources" not in line]
    assert not warnings
    return str(done.stdout)


def example_of_the_page() -> str:
    """Return the module that docs/how-to/add-an-asset.md shows."""
    page = (project_root() / "docs" / "how-to" / "add-an-asset.md").read_text()
    return str(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0])


def test_own_asset(deployment: Deployment, project: Path) -> None:
    """The page's asset is loaded from `own_defs/`, and the command of the page materializes it with the others."""
    (project / "txn_assets" / "own_defs" / "quantities.py").write_text(example_of_the_page())
    deployment.land("a.csv", make_file(make_row(quantity="2"), make_row(transaction_id="T002", quantity="3")))

    call(
        project,
        deployment,
        *("dagster", "asset", "materialize", "-m", "txn_assets.definitions", "--select", "*", "--partition", "a.csv"),
    )

    assert len(deployment.rows_everywhere("a.csv")) == 2
    (stored,) = (project / "dagster-home" / "storage" / "quantity_by_product").iterdir()
    assert stored.name == "a.csv"
    # `*` has the marts too.
    mart = f"{deployment.config.data_mart.dataset}.sales_by_product"
    assert deployment.pg.execute(f"SELECT product, total_quantity FROM {mart}").fetchall() == [("Halal Laptop", 5)]


def test_feed_without_python(deployment: Deployment, project: Path) -> None:
    """`dg` scaffolds a feed, and `txn run --feed` loads a file into it."""
    call(project, deployment, "dg", "scaffold", "defs", "txn_assets.LandedFiles", "orders")
    assert (project / "txn_assets" / "own_defs" / "orders" / "defs.yaml").exists()
    assert "orders/hashed_orders" in call(project, deployment, "dg", "list", "defs")
    (project / "b.csv").write_text("order_id,amount,ordered_on\nO1,2.50,2024-03-02\nO2,x,2024-03-02\n")

    printed = call(project, deployment, "python", "-m", "txn_assets.run", "b.csv", "--feed", "orders")

    assert "PostgreSQL           1  loaded" in printed
    schema = deployment.config.data_warehouse.postgres.schema_
    rows = deployment.pg.execute(f"SELECT length(order_id), amount::text FROM {schema}.orders").fetchall()
    assert rows == [(64, "2.50")]


def test_merged_definitions() -> None:
    """Definitions of a project of one's own can be merged with the platform's, as the page says."""

    @dg.asset(deps=["postgres_transactions"])
    def report() -> None:
        """Only the graph is loaded."""

    merged = dg.Definitions.merge(defs(), dg.Definitions(assets=[report]))

    assert {"report", "postgres_transactions"} <= {key.to_user_string() for key in merged.resolve_all_asset_keys()}
