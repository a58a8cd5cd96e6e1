"""A store is one module and one entry of the registry: the change in docs/how-to/add-a-store.md, applied to a copy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from txn_assets.environment import project_root
from txn_assets_tests.deployment import Deployment, make_file, make_row


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package that has the store of the page."""
    folder = tmp_path / "package"
    for name in ("txn_assets", "data"):
        shutil.copytree(project_root() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    page = (project_root() / "docs" / "how-to" / "add-a-store.md").read_text()
    (change,) = re.findall(r"```diff\n(.*?)```", page, re.DOTALL)
    subprocess.run(["git", "apply", "--verbose", "-"], cwd=folder, input=change, text=True, check=True)
    return folder


def test_new_store_is_loaded_and_checked(deployment: Deployment, package: Path, tmp_path: Path) -> None:
    """The file goes into all four stores, and the check of the new one reads its rows back."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row(), make_row(transaction_id="T002")))
    environment = os.environ | {
        "PYTHONPATH": str(package),
        "TXN_CONFIG": str(deployment.config_path),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
    }
    (tmp_path / "dagster").mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "txn_assets.run", str(file)],
        env=environment,
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Archive +2 +loaded", done.stdout), done.stdout
    assert re.search(r"PostgreSQL +2 +loaded", done.stdout)
