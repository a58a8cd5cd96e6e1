"""`gcloud storage`, `bq` and `gsutil` with the variables that `python -m txn_assets.local env` prints.

The tools come with Google's Cloud CLI. test_gcs_shim.py covers their special requests for machines without it.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from google.cloud.storage import Bucket

from txn_assets.local import exports
from txn_assets_tests.local.conftest import Stack


def _run(stack: Stack, *command: str) -> str:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    environ = exports.variables(stack.endpoints, project_id=stack.seed.project_id, home=stack.home)
    done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_settings_are_separate(stack: Stack) -> None:
    """The tools get the stack's addresses and project; the user's account and settings are neither used nor changed."""
    environ = exports.variables(stack.endpoints, project_id=stack.seed.project_id, home=stack.home)

    files = {name: Path(environ[name]) for name in ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "BIGQUERYRC", "BOTO_CONFIG")}

    assert files["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"].read_text() == "local\n"
    assert environ["CLOUDSDK_CORE_PROJECT"] == stack.seed.project_id
    assert environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE"] == f"{stack.endpoints.gcs_url}/storage/v1/"
    bigquery = f"api = {stack.endpoints.bigquery_url}\nproject_id = {stack.seed.project_id}\n"
    assert files["BIGQUERYRC"].read_text() == bigquery
    assert "use_gcloud_storage = True" in files["BOTO_CONFIG"].read_text()
    assert all(path.is_relative_to(stack.home) for path in [*files.values(), Path(environ["CLOUDSDK_CONFIG"])])


@pytest.mark.parametrize("tool", ["gcloud storage", "gsutil"])
def test_copy_and_remove(bucket: Bucket, stack: Stack, tmp_path: Path, tool: str) -> None:
    """An object is uploaded, listed and removed."""
    (tmp_path / "a.csv").write_bytes(b"content")
    address = f"gs://{bucket.name}/in/a.csv"

    _run(stack, *tool.split(), "cp", str(tmp_path / "a.csv"), address)
    assert bucket.blob("in/a.csv").download_as_bytes() == b"content"
    assert _run(stack, *tool.split(), "ls", f"gs://{bucket.name}/in/").split() == [address]
    _run(stack, *tool.split(), "rm", address)

    assert bucket.get_blob("in/a.csv") is None


def test_query(stack: Stack) -> None:
    """A query is answered without a flag or a login."""
    assert "| 42 |" in _run(stack, "bq", "query", "--use_legacy_sql=false", "SELECT 42 AS n")
