"""Which pods get which Secret in the production values: what a taken-over pod has in its environment."""

import re
from typing import Any

import yaml

from txn_assets_tests.deploy.manifests import containers
from txn_assets_tests.deploy.values_files import merged


def _secrets(part: Any) -> set[str]:
    """Return the Secrets of ours that a part of the values names."""
    return {*re.findall(r"[\w-]+-secrets\b", yaml.safe_dump(part))}


def test_each_pod_gets_only_its_own_secret() -> None:
    """Code servers and runs have the hash key, uploads and metrics only the password of a reader, Dagster neither."""
    values = merged("prod")
    pods = {"code servers": _secrets(values["dagster-user-deployments"]), "runs": _secrets(values["runLauncher"])}
    pods |= {name: _secrets(values[name]) for name in ("dagsterWebserver", "dagsterDaemon")}
    for manifest in values["extraManifests"]:
        if manifest["kind"] == "Deployment":
            pods[manifest["metadata"]["name"]] = _secrets(containers(manifest))

    assert pods == {
        "code servers": {"txn-assets-secrets"},
        "runs": {"txn-assets-secrets"},
        "dagsterWebserver": set(),
        "dagsterDaemon": set(),
        "dagster-oauth2-proxy": set(),
        "txn-uploads": {"txn-uploads-secrets"},
        "txn-metrics": {"txn-uploads-secrets"},
    }
