"""The wheel works on its own: `txn` runs from it in a folder that knows nothing of the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from txn_assets.environment import project_root
from txn_assets_tests.deployment import Deployment, make_file, make_row

TXN = "import sys; from importlib.metadata import entry_points as e; sys.exit(e(name='txn')['txn'].load()())"
"""Calls the command as the script that pip writes does."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and return a folder that has it installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=project_root(), check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _txn(installed: Path, folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", TXN, *arguments],
        env=os.environ | {"PYTHONPATH": str(installed)} | environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help(installed: Path, tmp_path: Path) -> None:
    """`txn --help` names the configuration in the package, and `.local` in the working folder as TXN_HOME."""
    done = _txn(installed, tmp_path, "--help", TXN_CONFIG="", TXN_HOME="")

    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.strip() for line in done.stdout.splitlines()}
    assert {str(installed / "txn_assets/project/data/pipeline_config.yaml"), str(tmp_path / ".local")} <= lines


def test_servers_that_are_not_installed(installed: Path, tmp_path: Path) -> None:
    """Without the local servers, `txn up` says in one sentence how to install them from the package's own lock file."""
    done = _txn(installed, tmp_path, "up", TXN_HOME="", TXN_SERVERS_VENV=str(tmp_path / "servers"))

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    lock = installed / "txn_assets" / "project" / "requirements-servers.lock"
    assert f"{tmp_path}/servers/bin/pip install -r {lock}`" in done.stderr
    assert lock.exists()


@pytest.mark.parametrize("command", ["token", "upload"])
def test_without_the_upload_extra(installed: Path, command: str) -> None:
    """Without the packages of the extra `upload`, its commands say in one sentence how to install them."""
    without = f"import sys; sys.modules |= dict.fromkeys(('jwt', 'uvicorn')); {TXN}"
    done = subprocess.run(
        [sys.executable, "-c", without, command],
        env=os.environ | {"PYTHONPATH": str(installed), "TXN_DAGSTER_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'txn-assets[upload]'" in done.stderr


def test_load(installed: Path, deployment: Deployment, tmp_path: Path) -> None:
    """`txn run` loads a file into the three stores."""
    (tmp_path / "a.csv").write_bytes(make_file(make_row()))

    done = _txn(installed, tmp_path, "run", "a.csv", DAGSTER_HOME="")

    assert done.returncode == 0, done.stderr
    assert "PostgreSQL           1  loaded" in done.stdout
    assert len(deployment.rows_everywhere("a.csv")) == 1
