"""The three value files, against the chart's schema and the project's rules.

Only statements about the values as they are. `test_rules.py` shows that each rule notices its mistake.
"""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from txn_assets.config import load_config
from txn_assets.feeds.run_size import DEFAULT_SIZES, OTHER_DISK
from txn_assets.files.scratch_space import parse_size
from txn_assets_tests.deploy.conftest import ROOT
from txn_assets_tests.deploy.rules import RULES, Rule
from txn_assets_tests.deploy.values_files import (
    ENVIRONMENTS,
    FOLDER,
    NAMESPACE,
    Values,
    code_location,
    load,
    merge,
    merged,
    run_launcher,
    user_env,
)


@pytest.mark.parametrize("name", ["values.yaml", "values-local.yaml", "values-prod.yaml"])
def test_no_key_is_unknown_to_the_chart(name: str, deploy_checks: Path) -> None:
    """Every key of a value file is in the chart's schema, made strict about unknown keys."""
    schema = deploy_checks / "values.partial-strict.schema.json"
    command = [sys.executable, str(deploy_checks / "check_values.py"), str(schema), str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_values_follow_our_rules(rule: Rule, values: Values) -> None:
    """Each of the project's own rules holds for each environment's merged values."""
    assert list(rule(values)) == []


def test_values_are_merged_as_helm_does() -> None:
    """Maps of two files are merged, lists replaced, and a null removes its key."""
    base = {"map": {"a": 1, "b": 2}, "list": [1, 2], "gone": 1}
    assert merge(base, {"map": {"b": 3}, "list": [3], "gone": None}) == {"map": {"a": 1, "b": 3}, "list": [3]}


def test_lists_of_values_local_match_the_shared_ones_except_where_marked() -> None:
    """What values-local.yaml repeats, because Helm replaces lists, differs only in the lines marked `local`."""
    shared = load(FOLDER / "values.yaml")
    local = copy.deepcopy(load(FOLDER / "values-local.yaml"))
    location = code_location(local)
    for key in ("image", "replicaCount"):
        location[key] = code_location(shared)[key]
    for key in ("GOOGLE_APPLICATION_CREDENTIALS", "TXN_LOCAL_ENDPOINTS"):
        del location["env"][key]
    location["env"]["TXN_TARGET"] = code_location(shared)["env"]["TXN_TARGET"]
    location["resources"]["requests"] = code_location(shared)["resources"]["requests"]
    for section in (location, run_launcher(local)):
        for key in ("volumes", "volumeMounts"):
            section[key] = [entry for entry in section[key] if entry["name"] != "google-credentials"]
    assert location == code_location(shared)
    for key in ("volumes", "volumeMounts"):
        assert run_launcher(local)[key] == run_launcher(shared)[key]


def test_every_environment_has_the_fixed_shape() -> None:
    """The code location is txn-assets: two replicas in production, started by module, in its own image."""
    location = code_location(merged("prod"))
    assert location["name"] == "txn-assets"
    assert location["replicaCount"] == 2
    assert location["dagsterApiGrpcArgs"] == ["-m", "txn_assets.definitions"]
    assert location["resources"]["limits"] == {"cpu": "500m", "memory": "512Mi"}
    assert run_launcher(merged("prod"))["resources"]["limits"].items() >= {"cpu": "1", "memory": "2Gi"}.items()


def test_run_has_what_the_organization_config_grants() -> None:
    """The cluster's CPU, memory and namespace are those of `kubernetes` in data/pipeline_config.yaml."""
    granted = load_config(ROOT / "data" / "pipeline_config.yaml").kubernetes
    limits = run_launcher(merged("prod"))["resources"]["limits"]
    assert (limits["cpu"], limits["memory"]) == (granted.resources.cpu, granted.resources.memory)
    assert granted.namespace == NAMESPACE


def test_code_gets_every_variable_it_needs(values: Values) -> None:
    """The code gets bucket, target, config, home and log format by ConfigMap, and the two secrets by Secret."""
    location = code_location(values)
    assert {"BUCKET_NAME", "TXN_TARGET", "TXN_CONFIG", "TXN_HOME", "TXN_LOG_FORMAT"} <= set(location["env"])
    assert location["envSecrets"] == [{"name": "txn-assets-secrets"}]
    assert run_launcher(values)["envSecrets"] == location["envSecrets"]


def test_runs_know_the_size_of_their_scratch_space(values: Values) -> None:
    """TXN_SCRATCH_LIMIT fits into the ephemeral storage of a run, as in the size classes."""
    (scratch,) = [volume for volume in run_launcher(values)["volumes"] if volume["name"] == "scratch"]
    assert scratch["emptyDir"] == {}
    storage = parse_size(run_launcher(values)["resources"]["limits"]["ephemeral-storage"])
    limit = parse_size(code_location(values)["env"]["TXN_SCRATCH_LIMIT"])
    assert storage is not None
    assert limit == storage - OTHER_DISK
    assert limit in {size.scratch_bytes for size in DEFAULT_SIZES}


def test_user_code_errors_are_redacted_everywhere(values: Values) -> None:
    """DAGSTER_REDACT_USER_CODE_ERRORS is on in code servers and run pods, webserver and daemon."""
    assert code_location(values)["env"]["DAGSTER_REDACT_USER_CODE_ERRORS"] == "1"
    for section in ("dagsterWebserver", "dagsterDaemon"):
        assert {"name": "DAGSTER_REDACT_USER_CODE_ERRORS", "value": "1"} in values[section]["env"]


def test_run_pods_read_the_variables_of_the_code_server(values: Values) -> None:
    """The run launcher names the ConfigMap that the chart creates from the code location's env."""
    assert {"name": user_env(values)} in run_launcher(values)["envConfigMaps"]


def test_lost_run_is_retried(values: Values) -> None:
    """Run monitoring is on, and only a dead pod is retried."""
    daemon = values["dagsterDaemon"]
    assert daemon["runMonitoring"]["enabled"] is True
    assert daemon["runRetries"] == {"enabled": True, "maxRetries": 3, "retryOnAssetOrOpFailure": False}


def test_no_file_names_this_machine() -> None:
    """No value file contains a machine's path or the host of an image registry."""
    for path in {path for paths in ENVIRONMENTS.values() for path in paths}:
        text = path.read_text()
        assert "/home/" not in text
        assert "/root" not in text
        for image in _images(yaml.safe_load(text)):
            assert "." not in image.split("/")[0].split(":")[0], image


def _images(content: object) -> list[str]:
    if isinstance(content, dict):
        image = content.get("image")
        own = [image] if isinstance(image, str) else [image["repository"]] if isinstance(image, dict) else []
        return own + [name for value in content.values() for name in _images(value)]
    return [name for item in content for name in _images(item)] if isinstance(content, list) else []
