"""One upload service for each module of tests, with its own bucket, dataset and schema."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from txn_assets_tests.deployment import Deployment, make_config
from txn_assets_tests.upload.server import Service, serving

ANONYMOUS: Mapping[str, Any] = {"security": {"authentication": "none"}}
"""The subject is `anonymous`, so files land in that folder."""


@pytest.fixture(scope="module")
def module_deployment(
    request: pytest.FixtureRequest, stack_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Yield a deployment for the module, with the configuration in the module's `CONFIG`, if it has one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TXN_HOME", str(stack_home))
        patch.setenv("TXN_TARGET", "local")
        for name in (
            "BUCKET_NAME",
            "TXN_EXECUTOR",
            "TXN_HASH_KEY",
            "TXN_LOG_FORMAT",
            "TXN_DAGSTER_URL",
            "TXN_JWT_SECRET",
        ):
            patch.delenv(name, raising=False)
        config = tmp_path_factory.mktemp("upload") / "pipeline_config.yaml"
        patch.setenv("TXN_CONFIG", str(config))
        make_config(config, getattr(request.module, "CONFIG", ANONYMOUS))
        with Deployment.open(config) as opened:
            yield opened


@pytest.fixture(scope="module")
def service(module_deployment: Deployment) -> Iterator[Service]:
    """Yield a running service for the module."""
    with serving(module_deployment, module_deployment.config_path.with_name("upload.log")) as opened:
        yield opened
