"""One local stack for all tests, in its own folder, and a separate deployment for each test that asks for one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from txn_assets_tests.deployment import Deployment, make_config


@pytest.fixture(scope="session")
def stack_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield TXN_HOME with the local stack up; TXN_TEST_HOME names one to keep between runs, which is faster."""
    from txn_assets.config import load_config
    from txn_assets.local.endpoints import seed_from
    from txn_assets.local.stack import down, ensure_up

    kept = os.environ.get("TXN_TEST_HOME")
    home = Path(kept) if kept else tmp_path_factory.mktemp("stack")
    ensure_up(home, seed_from(load_config()))
    yield home
    if not kept:
        down(home)


@pytest.fixture
def deployment(stack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """Yield a deployment with its own bucket, dataset and schema."""
    monkeypatch.setenv("TXN_HOME", str(stack_home))
    monkeypatch.setenv("TXN_TARGET", "local")
    for name in ("BUCKET_NAME", "TXN_EXECUTOR", "TXN_HASH_KEY", "TXN_HASH_KEY_PREVIOUS", "TXN_LOG_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pipeline_config.yaml"
    monkeypatch.setenv("TXN_CONFIG", str(config))
    make_config(config)
    with Deployment.temporary(config) as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the daemon's test first: it mostly waits, so the other tests can run at the same time.

    Run the unit tests last: their files are short, so no worker goes on long after the others have ended.
    """
    items.sort(key=lambda item: (item.path.name != "test_daemon.py", item.path.parent.name == "unit"))
