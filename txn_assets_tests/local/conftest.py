"""One stack for the tests that only look at it, and homes for those that start and stop their own."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client

from txn_assets.environment import project_root
from txn_assets.local import stack as local_stack
from txn_assets.local.endpoints import Endpoints, Seed
from txn_assets.local.home import Home, read_json

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    home: Path
    seed: Seed
    endpoints: Endpoints


def processes_of(home: Path) -> list[psutil.Process]:
    """Return the supervisor and its servers, and whatever those started."""
    supervisor = (read_json(Home(home).processes) or {})["processes"][0]["pid"]
    process = psutil.Process(supervisor)
    return [process, *process.children(recursive=True)]


def bucket_name() -> str:
    """Return a bucket name that no other test has."""
    return f"bucket-{uuid.uuid4()}"


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    """Return the seed of these tests' stacks; `data` has one file."""
    data = tmp_path_factory.mktemp("data")
    shutil.copy(project_root() / "data" / "transactions.csv", data)
    return Seed(
        bucket="some-bucket",
        landing={"transactions": "landing/transactions"},
        project_id="some-project",
        dataset="some_dataset",
        location="US",
        postgres_user="some user",
        postgres_dbname="some-db",
        data=data,
    )


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, seed: Seed) -> Iterator[Stack]:
    """Return a stack that no test stops."""
    home = tmp_path_factory.mktemp("stack")
    yield Stack(home, seed, local_stack.ensure_up(home, seed))
    local_stack.down(home)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a home for a stack of the test's own, stopped afterwards. Its name needs quoting everywhere."""
    path = tmp_path / "o'brien's home"
    yield path
    local_stack.down(path)


@pytest.fixture
def cli() -> RunCli:
    """Return a function that runs `python -m txn_assets.local` and returns its result."""

    def run(
        *arguments: str, home: Path, folder: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "txn_assets.local", *arguments],
            env=os.environ | {"TXN_HOME": str(home)} | environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def bucket(stack: Stack) -> Bucket:
    """Return an empty bucket of the test's own, through the real client."""
    client = Client(
        project="some-project",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # google-auth is untyped here
        client_options={"api_endpoint": stack.endpoints.gcs_url},
    )
    return client.create_bucket(bucket_name())


@pytest.fixture
def another_seed(seed: Seed, tmp_path: Path) -> Seed:
    """Return a seed with a bucket and an empty data folder of the test's own, for the running stack."""
    return replace(seed, bucket=bucket_name(), data=tmp_path)
