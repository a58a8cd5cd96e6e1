"""The upload service in the production values: what it listens on, how it ends, and what reaches it."""

import fastapi
import pytest
from fastapi.routing import APIRoute

from txn_assets.config import load_config
from txn_assets.sections.upload import Upload
from txn_assets.stores.landing.upload import CHUNK_BYTES
from txn_assets.upload import app, health, metrics, receive, server
from txn_assets_tests.deploy.conftest import ROOT
from txn_assets_tests.deploy.manifests import Manifest, containers, name_of
from txn_assets_tests.deploy.values_files import code_location, merged, user_env, webserver_service

NAME = "txn-uploads"
GIB = 1 << 30


@pytest.fixture(scope="module")
def objects() -> dict[str, Manifest]:
    """Return the objects of the upload service, by kind."""
    found = [manifest for manifest in merged("prod")["extraManifests"] if manifest["metadata"]["name"] == NAME]
    assert len({name_of(manifest) for manifest in found}) == len(found)
    return {manifest["kind"]: manifest for manifest in found}


@pytest.fixture
def container(objects: dict[str, Manifest]) -> Manifest:
    """Return the container of the service."""
    (found,) = containers(objects["Deployment"])
    return found


def test_each_object_finds_the_pods(objects: dict[str, Manifest]) -> None:
    """Service, disruption budget and network policy select the pods, and autoscaler and ingress name the others."""
    spec = objects["Deployment"]["spec"]
    selector = spec["selector"]["matchLabels"]
    assert selector.items() <= spec["template"]["metadata"]["labels"].items()
    assert objects["Service"]["spec"]["selector"] == selector
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == selector
    assert [rule["labelSelector"]["matchLabels"] for rule in spec["template"]["spec"]["topologySpreadConstraints"]] == [
        selector,
        selector,
    ]
    assert objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == NAME
    backends = {path["backend"]["service"]["name"] for path in _paths(objects)}
    assert backends == {objects["Service"]["metadata"]["name"]}


def test_at_least_two_replicas(objects: dict[str, Manifest]) -> None:
    """The autoscaler keeps two replicas, and an upgrade does not set another number."""
    assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 2
    assert "replicas" not in objects["Deployment"]["spec"]


def test_pod_outlives_the_drain(objects: dict[str, Manifest], container: Manifest) -> None:
    """The pod is killed only after the load balancer has stopped sending, and the service has ended every upload."""
    sleep, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    needed = int(seconds) + server.DRAIN_SECONDS + app.CLOSE_SECONDS
    assert objects["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > needed


def test_probes_ask_the_routes_of_the_service(container: Manifest) -> None:
    """The probes ask /healthz and /readyz, and wait for the latter longer than it waits for the stores."""
    paths = {route.path for route in health.router.routes if isinstance(route, APIRoute)}
    probes = {name: container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["httpGet"]["path"] for probe in probes.values()} == paths
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert probes["readinessProbe"]["timeoutSeconds"] > health.TIMEOUT_SECONDS


def test_service_listens_on_the_port_of_the_container(objects: dict[str, Manifest], container: Manifest) -> None:
    """The command names the port of the container, on all its addresses, and the Service leads there."""
    assert container["command"][:4] == ["python", "-m", "txn_assets.cli", "upload"]
    assert container["command"][4:] == [str(container["ports"][0]["containerPort"]), "--listen", "0.0.0.0"]  # noqa: S104 - in a pod
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_memory_is_enough_for_all_uploads(container: Manifest) -> None:
    """Two chunks of every upload at once, and a quarter of a GiB for the process, fit into the limit."""
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * GIB
    assert 2 * CHUNK_BYTES * Upload().max_uploads + GIB // 4 < limit


def test_ingress_has_the_public_routes(objects: dict[str, Manifest]) -> None:
    """Every public route is behind the ingress, under TLS, and probes and metrics are not."""
    assert objects["Ingress"]["spec"]["tls"][0]["secretName"]
    paths = _paths(objects)
    config = load_config(ROOT / "data" / "pipeline_config.yaml")
    for route in receive.make_router(config).routes:
        assert isinstance(route, APIRoute)
        assert _leads(paths, route.path), route.path
    for hidden in ("/healthz", "/readyz", *(r.path for r in metrics.router.routes if isinstance(r, APIRoute))):
        assert not _leads(paths, hidden), hidden
    assert _leads(paths, str(fastapi.FastAPI().openapi_url))


def test_service_has_the_variables_of_the_code_location(container: Manifest) -> None:
    """Variables come from the ConfigMap of the code location; the secret is its own; the webserver's address fits."""
    values = merged("prod")
    assert container["envFrom"] == [
        {"configMapRef": {"name": user_env(values)}},
        {"secretRef": {"name": f"{NAME}-secrets"}},
    ]
    assert [source["name"] for source in code_location(values)["envSecrets"]] != [f"{NAME}-secrets"]
    port = values["dagsterWebserver"]["service"]["port"]
    assert container["env"] == [{"name": "TXN_DAGSTER_URL", "value": f"http://{webserver_service(values)}:{port}"}]


def test_service_has_an_account_of_its_own(objects: dict[str, Manifest]) -> None:
    """The pods have a service account for Workload Identity, and no token for the API server."""
    spec = objects["Deployment"]["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    assert spec["automountServiceAccountToken"] is False
    assert "iam.gke.io/gcp-service-account" in objects["ServiceAccount"]["metadata"]["annotations"]


def _paths(objects: dict[str, Manifest]) -> list[Manifest]:
    (rule,) = objects["Ingress"]["spec"]["rules"]
    return list(rule["http"]["paths"])


def _leads(paths: list[Manifest], route: str) -> bool:
    """Return whether the ingress forwards the path of a route."""
    return any(
        route == path["path"] or (path["pathType"] == "Prefix" and route.startswith(f"{path['path']}/"))
        for path in paths
    )
