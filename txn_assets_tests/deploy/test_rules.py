"""Each rule notices the mistake that it exists for.

Only broken values, one mistake per case. `test_values.py` tests the values as they are.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from txn_assets_tests.deploy.manifests import pod_problems
from txn_assets_tests.deploy.rules import problems
from txn_assets_tests.deploy.values_files import Values, code_location, merged, run_launcher

type Mistake = Callable[[Values], Any]


def in_location(**keys: Any) -> Mistake:
    """Put a mistake into the code location's entry."""
    return lambda values: code_location(values).update(keys)


def in_launcher(**keys: Any) -> Mistake:
    """Put a mistake into the run launcher's settings."""
    return lambda values: run_launcher(values).update(keys)


def in_section(*path: str, **keys: Any) -> Mistake:
    """Put a mistake into the section at `path`."""

    def make(values: Values) -> None:
        section = values
        for key in path:
            section = section[key]
        section.update(keys)

    return make


MISTAKES: dict[str, tuple[Mistake, str]] = {
    "strategy": (in_location(strategy={}), "strategy: the chart does not know this key"),
    "replicas": (in_location(replicas=3), "replicas: the chart does not know this key"),
    "webserver": (in_section(webserver={}), "webserver: the chart does not know this key"),
    "postgresql.host": (in_section("postgresql", host="db"), "postgresql.host: the chart does not know this key"),
    "runMonitoring": (
        in_section("dagsterDaemon", "runMonitoring", maxRuntimeSecond=5),
        "runMonitoring.maxRuntimeSecond: the chart does not know this key",
    ),
    "runK8sConfig section": (
        in_section("runLauncher", "config", "k8sRunLauncher", "runK8sConfig", podSpec={}),
        "podSpec",
    ),
    "runK8sConfig field": (
        in_section("runLauncher", "config", "k8sRunLauncher", "runK8sConfig", "podSpecConfig", serviceAcountName="x"),
        "serviceAcountName: V1PodSpec has no such field",
    ),
    "quantity": (in_location(resources={"limits": {"memory": "512MB"}}), "'512MB' is not a quantity"),
    "requests above limits": (
        in_launcher(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}),
        "requests.cpu is above limits.cpu",
    ),
    "no resources": (in_location(resources={}), "code location.resources.requests: cpu and memory are missing"),
    "name": (in_location(name="txn_assets"), "'txn_assets' is not a DNS label"),
    "host": (in_section("postgresql", postgresqlHost="db:5432"), "'db:5432' is not a host name"),
    "no host": (in_section("postgresql", postgresqlHost=""), "'' is not a host name"),
    "sub-chart's fullnameOverride": (
        in_section("dagster-user-deployments", fullnameOverride="code"),
        "dagster-user-deployments.fullnameOverride: the chart does not know this key",
    ),
    "no prefix of names": (in_section("global", fullnameOverride=""), "global.fullnameOverride: must be dagster"),
    "run's ConfigMap": (
        in_launcher(envConfigMaps=[{"name": "old-user-env"}]),
        "runs do not read dagster-txn-assets-user-env",
    ),
    "webserver's name": (
        in_section("dagsterWebserver", nameOverride=None),
        "is not the webserver's Service, dagster-dagster-webserver:8080",
    ),
    "variable twice in a list": (
        in_section("dagsterDaemon", env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
        "A is set twice",
    ),
    "variable in two places": (in_launcher(envVars=["BUCKET_NAME=x"]), "BUCKET_NAME: set by the code location and by"),
    "inherited volumes": (in_location(includeConfigInLaunchedRuns={"enabled": True}), "tmp reaches the run pod twice"),
    "literal secret": (in_location(env={"TXN_HASH_KEY": "0123"}), "TXN_HASH_KEY has a literal value"),
    "literal password": (in_section("postgresql", postgresqlPassword="x"), "the password comes from a Secret"),
    "latest": (in_section("dagsterWebserver", "image", tag="latest"), "has no tag, or one that moves"),
    "inherited resources": (
        in_location(includeConfigInLaunchedRuns={"enabled": True}),
        "would override the run launcher",
    ),
    "code-server with replicas": (in_location(codeServerArgs=["-m", "x"]), "codeServerArgs: more than one replica"),
    "no strategy": (in_location(deploymentStrategy=None), "maxUnavailable is not 0"),
    "migrate": (in_section("migrate", enabled=True), "migrate.enabled: breaks the next upgrade"),
    "ingress API": (in_section("ingress", apiVersion=None), "ingress.apiVersion"),
    "ingress without TLS": (in_section("ingress", "dagsterWebserver", "tls", enabled=False), "ingress: no TLS"),
    "probe's port": (
        in_section("dagsterWebserver", "readinessProbe", "httpGet", port=80),
        "not the port of the service",
    ),
    "privileged port": (in_section("dagsterWebserver", "service", port=80), "no process may bind it"),
    "limits in two places": (
        in_section("dagsterDaemon", "runCoordinator", "config", "queuedRunCoordinator", maxConcurrentRuns=3),
        "maxConcurrentRuns: set under concurrency and under the run coordinator",
    ),
    "second handler": (
        in_section("pythonLogs", dagsterHandlerConfig={"handlers": {"json": {"class": "logging.StreamHandler"}}}),
        "pythonLogs.dagsterHandlerConfig: writes each event of a run twice",
    ),
    "log as text": (in_location(env={"TXN_LOG_FORMAT": "text"}), "TXN_LOG_FORMAT: must be json"),
    "port without protocol": (
        lambda values: values["extraManifests"][1]["spec"]["ports"][0].pop("protocol"),
        "port 4180 has no protocol",
    ),
    "unverified TLS": (in_section("postgresql", "postgresqlParams", sslmode="require"), "must be verify-full"),
    "CA that is nowhere": (
        in_section("postgresql", "postgresqlParams", sslrootcert="/etc/ca.pem"),
        "nothing is mounted",
    ),
    "root": (in_section("dagsterDaemon", podSecurityContext={"runAsUser": 0}), "sets no uid, or uid 0"),
    "unknown field in a manifest": (
        lambda values: values["extraManifests"][0]["spec"].update(replica=1),
        "Additional properties are not allowed ('replica' was unexpected)",
    ),
    "secret in a manifest": (
        lambda values: values["extraManifests"].append(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
        ),
        "Secret s is created by hand",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_named(name: str) -> None:
    """Each known mistake in the values is found, and named by its key."""
    make, sentence = MISTAKES[name]
    values = copy.deepcopy(merged("prod"))
    make(values)
    found = problems(values)
    assert any(sentence in problem for problem in found), found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"securityContext": {}}, "does not set allowPrivilegeEscalation: false"),
        ({"env": [{"name": "A"}, {"name": "A"}]}, "variable A is set twice"),
        ({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, "mount of x, which is not a volume"),
        ({"resources": {"limits": {"cpu": "one"}}}, "'one' is not a quantity"),
    ],
)
def test_unsafe_container_is_named(change: dict[str, Any], sentence: str) -> None:
    """A container outside the restricted standard, or with a duplicate, is found; init containers too."""
    container = {"name": "main", **change}
    spec = {"containers": [], "initContainers": [container]}
    manifest = {"kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
    assert any(sentence in problem for problem in pod_problems(manifest))
