"""One upload service for each module of tests, with its own bucket, dataset and schema."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from txn_assets.local.tokens import make_token
from txn_assets_tests.deployment import Deployment, make_config
from txn_assets_tests.upload.server import Service, serving

ANONYMOUS: Mapping[str, Any] = {"security": {"authentication": "none"}}
"""The subject is `anonymous`, so files land in that folder."""

type Sign = Callable[..., dict[str, str]]


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
            "TXN_HASH_KEY_PREVIOUS",
            "TXN_LOG_FORMAT",
            "TXN_DAGSTER_URL",
            "TXN_JWT_SECRET",
        ):
            patch.delenv(name, raising=False)
        config = tmp_path_factory.mktemp("upload") / "pipeline_config.yaml"
        patch.setenv("TXN_CONFIG", str(config))
        make_config(config, getattr(request.module, "CONFIG", ANONYMOUS))
        with Deployment.temporary(config) as opened:
            yield opened


@pytest.fixture(scope="module")
def service(module_deployment: Deployment) -> Iterator[Service]:
    """Yield a running service for the module."""
    with serving(module_deployment, module_deployment.config_path.with_name("upload.log")) as opened:
        yield opened


@pytest.fixture(scope="module")
def sign(stack_home: Path, module_deployment: Deployment) -> Sign:
    """Return a function that makes the header with a token of the local issuer."""

    def header(*, subject: str = "ann", scope: str = "transactions:write", minutes: int = 5) -> dict[str, str]:
        issuer = module_deployment.endpoints.issuer_url
        claims = {"iss": issuer, "aud": "txn-assets", "sub": subject, "scope": scope}
        return {"Authorization": f"Bearer {make_token(stack_home, claims, minutes=minutes)}"}

    return header
