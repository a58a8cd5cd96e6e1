"""The Job of a run, as it would reach the cluster.

It translates the values into what the chart writes for Dagster (`dagster.yaml`, container context) and launches a run
with Dagster's own K8sRunLauncher on a fake batch API. `manifests.py` checks the Job; `test_chart.py` compares the
translation with a rendered chart.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes.client
import yaml

# Dagster has no public way to launch a run of a job in an image: its code servers create the origins.
from dagster._core.code_pointer import CodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher

from txn_assets_tests.deploy.manifests import Manifest
from txn_assets_tests.deploy.values_files import NAMESPACE, Values, code_location, run_launcher, user_env

SNAKE_CASE = {
    "containerConfig": "container_config",
    "podSpecConfig": "pod_spec_config",
    "podTemplateSpecMetadata": "pod_template_spec_metadata",
    "jobSpecConfig": "job_spec_config",
    "jobMetadata": "job_metadata",
}


class FakeBatchApi:
    """A Kubernetes batch API that creates nothing and keeps what it was asked to create."""

    def __init__(self) -> None:
        """Create an API without any requests."""
        self.jobs: list[tuple[str, Any]] = []

    def create_namespaced_job(self, body: object, namespace: str, **_options: object) -> object:
        """Keep `body`."""
        self.jobs.append((namespace, body))
        return body


def launcher_config(values: Values) -> dict[str, Any]:
    """Return the `run_launcher.config` of dagster.yaml, as the chart's template writes it."""
    launcher = run_launcher(values)
    config: dict[str, Any] = {
        "load_incluster_config": launcher.get("loadInclusterConfig", True),
        "job_namespace": launcher.get("jobNamespace") or NAMESPACE,
        "image_pull_policy": launcher["imagePullPolicy"],
        "service_account_name": values["serviceAccount"]["name"],
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": f"{values['global']['fullnameOverride']}-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
    }
    for key, name in (("envConfigMaps", "env_config_maps"), ("envSecrets", "env_secrets")):
        if launcher.get(key):
            config[name] = [source["name"] for source in launcher[key]]
    for key, name in (
        ("envVars", "env_vars"),
        ("volumeMounts", "volume_mounts"),
        ("volumes", "volumes"),
        ("labels", "labels"),
        ("resources", "resources"),
        ("securityContext", "security_context"),
        ("schedulerName", "scheduler_name"),
        ("failPodOnRunFailure", "fail_pod_on_run_failure"),
    ):
        if launcher.get(key):
            config[name] = launcher[key]
    if launcher.get("runK8sConfig"):
        config["run_k8s_config"] = {
            SNAKE_CASE[section]: content for section, content in launcher["runK8sConfig"].items() if content
        }
    return config


def container_context(values: Values) -> dict[str, Any] | None:
    """Return what the code server adds to the launcher's config; None if the values turn that off."""
    location = code_location(values)
    if not (location.get("includeConfigInLaunchedRuns") or {"enabled": True})["enabled"]:
        return None
    subchart = values["dagster-user-deployments"]
    config: dict[str, Any] = {
        "image_pull_policy": location["image"]["pullPolicy"],
        "env_config_maps": [user_env(values)] + [source["name"] for source in location.get("envConfigMaps") or []],
        "env_secrets": [source["name"] for source in location.get("envSecrets") or []],
        "volume_mounts": location.get("volumeMounts") or [],
        "volumes": location.get("volumes") or [],
        "labels": location.get("labels") or {},
        "namespace": NAMESPACE,
        "service_account_name": subchart["serviceAccount"]["name"],
    }
    if location.get("resources"):
        config["resources"] = location["resources"]
    if isinstance(location.get("env"), list):
        config["env"] = location["env"]
    return {"k8s": config}


def launched_job(values: Values, tags: Mapping[str, str] | None = None) -> Manifest:
    """Return the Job that the launcher would create in the cluster for a run with `tags`.

    A run started by the asset's Materialize button has no job tags.
    """

    @dg.job(name="load_landed_files")
    def job() -> None:
        pass

    with dg.DagsterInstance.local_temp() as instance:
        return launched(values, instance, job, tags)


def launched(
    values: Values, instance: dg.DagsterInstance, job: dg.JobDefinition, tags: Mapping[str, str] | None = None
) -> Manifest:
    """Return the Kubernetes Job for a new run of `job` in `instance`."""
    location = code_location(values)
    origin = RepositoryPythonOrigin(
        executable_path="python",
        code_pointer=CodePointer.from_module("txn_assets.definitions", "defs", None),
        container_image=f"{location['image']['repository']}:{location['image']['tag']}",
        entry_point=["dagster"],
        container_context=container_context(values),
    ).get_job_origin(job.name)
    api = FakeBatchApi()
    with _kubeconfig() as kubeconfig:
        run = instance.create_run_for_job(job, tags=dict(tags or {}), job_code_origin=origin)
        config = {**launcher_config(values), "load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
        launcher = K8sRunLauncher(**config, k8s_client_batch_api=api, k8s_client_core_api=object())
        launcher.register_instance(instance)
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    ((namespace, body),) = api.jobs
    assert namespace == NAMESPACE
    manifest = kubernetes.client.ApiClient().sanitize_for_serialization(body)
    assert isinstance(manifest, dict)
    # Convert through JSON, because that is how it travels: whatever JSON drops would not reach the cluster.
    return dict(json.loads(json.dumps(manifest)))


@contextmanager
def _kubeconfig() -> Iterator[Path]:
    """Return a kubeconfig for a cluster that is never contacted: the launcher needs the file when it is created."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "none",
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        "clusters": [{"name": "none", "cluster": {"server": "https://localhost:1"}}],
        "users": [{"name": "none", "user": {}}],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kubeconfig"
        path.write_text(yaml.safe_dump(content))
        yield path
