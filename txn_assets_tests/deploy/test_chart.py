"""The official chart with our values, if a chart and a Helm are available.

Only statements about rendered objects. Without DAGSTER_CHART_DIR they are skipped with the reason; then
`test_values.py` and `test_run_job.py` catch only some of the same mistakes.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

# Dagster reads dagster.yaml and workspace.yaml at startup and has no public way to do only that.
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._serdes import ConfigurableClassData

from txn_assets_tests.deploy.charts import lint, missing, render
from txn_assets_tests.deploy.manifests import Manifest, containers, invalid, name_of, pod_problems, pod_spec
from txn_assets_tests.deploy.network import PODS, selects
from txn_assets_tests.deploy.run_jobs import launcher_config
from txn_assets_tests.deploy.values_files import RELEASE, Values, code_location

REFERENCES = {
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
}
CONFIGURABLE = (
    "compute_logs",
    "run_coordinator",
    "run_launcher",
    "run_storage",
    "event_log_storage",
    "schedule_storage",
)


# Created by hand, with commands of docs/deploy.md that `test_docs.py` checks against the values.
BY_HAND = {
    *("ConfigMap/postgres-ca", "ConfigMap/txn-assets-config", "Secret/dagster-oauth2-proxy"),
    *("Secret/dagster-postgresql-secret", "Secret/google-credentials", "Secret/txn-assets-secrets"),
    *("ConfigMap/txn-uploads-config", "Secret/txn-uploads-secrets"),
}


@pytest.fixture(scope="module")
def objects(environment: str) -> list[Manifest]:
    """Return what an installation of the environment creates."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    return render(environment)


@pytest.fixture(scope="module")
def instance_yaml(objects: list[Manifest]) -> str:
    """Return the dagster.yaml of the webserver and the daemon."""
    return str(the(objects, "ConfigMap", f"{RELEASE}-instance")["data"]["dagster.yaml"])


def the(objects: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the object of that kind and name."""
    (found,) = [manifest for manifest in objects if name_of(manifest) == f"{kind}/{name}"]
    return found


def test_helm_lint_passes(environment: str) -> None:
    """`helm lint --strict` accepts the chart with the values of each environment."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    assert "0 chart(s) failed" in lint(environment)


def test_shared_values_alone_render() -> None:
    """helm-values/values.yaml without an environment's file passes `helm lint --strict` and renders valid objects."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    assert "0 chart(s) failed" in lint("shared")
    assert [problem for manifest in render("shared") for problem in invalid(manifest)] == []


def test_every_object_is_valid(objects: list[Manifest]) -> None:
    """Every rendered object passes the schemas of Kubernetes 1.29 and of the newest version."""
    assert [problem for manifest in objects for problem in invalid(manifest)] == []


def test_every_pod_is_restricted(objects: list[Manifest]) -> None:
    """Every rendered pod, init containers included, meets the restricted standard and has no duplicates."""
    assert [problem for manifest in objects for problem in pod_problems(manifest)] == []


def test_every_container_has_requests_and_limits(objects: list[Manifest]) -> None:
    """Every rendered container, init containers included, has requests and limits of CPU and memory."""
    for manifest in objects:
        for container in containers(manifest):
            for kind in ("requests", "limits"):
                assert {"cpu", "memory"} <= set(container["resources"][kind]), (name_of(manifest), container["name"])


def test_code_location_is_rendered_as_configured(objects: list[Manifest], values: Values) -> None:
    """Replicas and strategy of the code location reach its Deployment; older charts ignore the replicas."""
    deployment = the(objects, "Deployment", "dagster-txn-assets")
    assert deployment["spec"]["replicas"] == code_location(values)["replicaCount"]
    assert deployment["spec"]["strategy"] == code_location(values)["deploymentStrategy"]


def test_config_map_of_runs_has_the_variables_of_the_code_location(objects: list[Manifest]) -> None:
    """The ConfigMap that the run launcher names exists and holds the variables."""
    assert the(objects, "ConfigMap", "dagster-txn-assets-user-env")["data"]["TXN_HOME"] == "/scratch"


def test_everything_that_pods_refer_to_exists(objects: list[Manifest], run_job: Manifest) -> None:
    """Each ConfigMap, Secret and service account of a pod or a run is rendered, or created by a documented command.

    No schema finds a missing name: the pod stays in CreateContainerConfigError.
    """
    made = {name_of(manifest) for manifest in objects} | BY_HAND
    for manifest in [*objects, run_job]:
        assert references(manifest) <= made, name_of(manifest)


def test_proxy_routes_to_a_service_of_the_release(environment: str, objects: list[Manifest]) -> None:
    """The upstream of the oauth2 proxy is a rendered Service and one of its ports."""
    if environment == "local":
        return
    (proxy,) = containers(the(objects, "Deployment", "dagster-oauth2-proxy"))
    (upstream,) = [argument for argument in proxy["args"] if argument.startswith("--upstream=")]
    name, port = upstream.removeprefix("--upstream=http://").split(":")
    assert int(port) in [entry["port"] for entry in the(objects, "Service", name)["spec"]["ports"]]


def test_pods_have_the_labels_that_the_policy_tests_use(environment: str, objects: list[Manifest]) -> None:
    """The labels in `network.py` are those of the rendered pods."""
    pods = {
        "webserver": "dagster-webserver",
        "daemon": "dagster-daemon",
        "code server": "dagster-txn-assets",
        "proxy": "dagster-oauth2-proxy",
        "uploads": "txn-uploads",
        "metrics": "txn-metrics",
    }
    for pod, name in pods.items():
        if environment == "prod" or pod not in ("proxy", "uploads", "metrics"):
            template = the(objects, "Deployment", name)["spec"]["template"]
            assert template["metadata"]["labels"].items() >= PODS[pod].items(), pod


def test_selectors_find_pods(objects: list[Manifest]) -> None:
    """Every selector of a Service, a disruption budget or a network policy matches pods of the release."""
    pods = [m["spec"]["template"]["metadata"]["labels"] for m in objects if m["kind"] in ("Deployment", "StatefulSet")]
    for manifest in objects:
        selector = _selector(manifest)
        if selector is not None:
            assert any(selects(selector, labels) for labels in pods), name_of(manifest)


def test_ingress_is_rendered_and_routes_to_the_proxy(environment: str, objects: list[Manifest]) -> None:
    """In production the ingress exists offline, has TLS, and routes its root to the oauth2 proxy's Service."""
    if environment == "local":
        assert "Ingress" not in {manifest["kind"] for manifest in objects}
        return
    ingress = the(objects, "Ingress", "dagster-ingress")
    root = ingress["spec"]["rules"][0]["http"]["paths"][0]
    backend = root["backend"]["service"]
    service = the(objects, "Service", backend["name"])
    assert root["path"] == "/"
    assert backend["port"]["number"] in [port["port"] for port in service["spec"]["ports"]]
    assert ingress["spec"]["tls"][0]["secretName"]


def test_no_secret_is_rendered(objects: list[Manifest]) -> None:
    """The release holds no Secret: all of them are created by hand."""
    assert [name_of(manifest) for manifest in objects if manifest["kind"] == "Secret"] == []


def test_dagster_reads_its_dagster_yaml(instance_yaml: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed Dagster accepts the rendered dagster.yaml, and each class in it accepts its config."""
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "from a Secret")
    (tmp_path / "dagster.yaml").write_text(instance_yaml)
    config, _ = dagster_instance_config(str(tmp_path))
    for section in CONFIGURABLE:
        content: dict[str, Any] = config[section]
        data = ConfigurableClassData(content["module"], content["class"], "{}")
        outcome = process_config(_config_type(data), content.get("config") or {})
        assert outcome.success, (section, outcome.errors)


def test_dagster_yaml_matches_the_values(instance_yaml: str, values: Values) -> None:
    """Retries, monitoring, run limits, retention and telemetry reach dagster.yaml."""
    config = yaml.safe_load(instance_yaml)
    assert config["run_retries"] == {"enabled": True, "max_retries": 3, "retry_on_asset_or_op_failure": False}
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] == monitoring["freeSlotsAfterRunEndSeconds"]
    # Loads take turns where they have to, in the stores.
    assert "pools" not in config["concurrency"]
    assert config["concurrency"]["runs"]["max_concurrent_runs"] > 0
    assert config["telemetry"] == {"enabled": False}
    assert config["retention"]["sensor"]["purge_after_days"]["skipped"] == 3


def test_launcher_config_of_the_tests_matches_the_chart(instance_yaml: str, values: Values) -> None:
    """The run Job of `test_run_job.py` comes from the same launcher config that the chart writes."""
    assert yaml.safe_load(instance_yaml)["run_launcher"]["config"] == launcher_config(values)


def test_dagster_reads_its_workspace_yaml(objects: list[Manifest], tmp_path: Path) -> None:
    """The installed Dagster finds the code location txn-assets in the rendered workspace.yaml."""
    path = tmp_path / "workspace.yaml"
    path.write_text(the(objects, "ConfigMap", f"{RELEASE}-workspace-yaml")["data"]["workspace.yaml"])
    assert [origin.location_name for origin in location_origins_from_yaml_paths([str(path)])] == ["txn-assets"]


def references(manifest: Manifest) -> set[str]:
    """Return the ConfigMaps, Secrets and service account that the pods of `manifest` require or mount."""
    spec = pod_spec(manifest)
    if spec is None:
        return set()
    found = {f"ServiceAccount/{spec['serviceAccountName']}"} if spec.get("serviceAccountName") else set()
    for volume in spec["volumes"]:
        if "configMap" in volume:
            found.add(f"ConfigMap/{volume['configMap']['name']}")
        if "secret" in volume:
            found.add(f"Secret/{volume['secret']['secretName']}")
    for container in containers(manifest):
        sources = [*(container.get("envFrom") or []), *(v.get("valueFrom") or {} for v in container.get("env") or [])]
        for source in sources:
            for key, kind in REFERENCES.items():
                # The chart adds an optional Secret for Celery, which we do not use.
                if key in source and not source[key].get("optional"):
                    found.add(f"{kind}/{source[key]['name']}")
    return found


def _config_type(data: ConfigurableClassData) -> Any:
    module = __import__(data.module_name, fromlist=[data.class_name])
    return getattr(module, data.class_name).config_type()


def _selector(manifest: Manifest) -> dict[str, Any] | None:
    """Return the pod selector of the object."""
    spec = manifest.get("spec") or {}
    match manifest["kind"]:
        case "Service":
            return {"matchLabels": spec["selector"]}
        case "PodDisruptionBudget":
            return dict(spec["selector"])
        case "NetworkPolicy":
            return dict(spec["podSelector"])
    return None
