"""The connections that production needs open, and those that it needs closed.

Only single connections. `network.py` evaluates the policies.
"""

import pytest

from txn_assets_tests.deploy.manifests import Manifest
from txn_assets_tests.deploy.network import PODS, allowed, selects
from txn_assets_tests.deploy.values_files import merged

DATABASE = "10.20.0.3"
GOOGLE_APIS = "199.36.153.8"
METADATA_SERVER = "169.254.169.252"
LOAD_BALANCER = "35.191.10.1"
ANYWHERE = "203.0.113.7"
CLUSTER_DNS = "10.30.0.10"

OPEN = [
    ("webserver", "code server", 3030),
    ("daemon", "code server", 3030),
    ("proxy", "webserver", 8080),
    (LOAD_BALANCER, "proxy", 4180),
    (LOAD_BALANCER, "uploads", 8000),
    ("uploads", "webserver", 8080),
    ("metrics", "webserver", 8080),
    ("prometheus", "metrics", 9464),
    ("prometheus", "uploads", 8000),
    *((pod, DATABASE, 5432) for pod in ("webserver", "daemon", "code server", "run", "uploads", "metrics")),
    *((pod, GOOGLE_APIS, 443) for pod in ("webserver", "daemon", "code server", "run", "proxy", "uploads", "metrics")),
    *((pod, METADATA_SERVER, 988) for pod in ("webserver", "daemon", "code server", "run", "uploads", "metrics")),
    *((pod, CLUSTER_DNS, 53) for pod in ("webserver", "daemon", "code server", "run", "proxy", "uploads", "metrics")),
    ("another tenant", DATABASE, 5432),
]
SHUT = [
    (LOAD_BALANCER, "webserver", 8080),
    (ANYWHERE, "proxy", 4180),
    (ANYWHERE, "uploads", 8000),
    ("another tenant", "uploads", 8000),
    ("run", "uploads", 8000),
    ("proxy", "uploads", 8000),
    ("uploads", "code server", 3030),
    ("metrics", "code server", 3030),
    ("prometheus", "webserver", 8080),
    ("another tenant", "metrics", 9464),
    ("run", "metrics", 9464),
    (LOAD_BALANCER, "metrics", 9464),
    ("another tenant", "proxy", 4180),
    ("another tenant", "webserver", 8080),
    ("another tenant", "code server", 3030),
    ("proxy", DATABASE, 5432),
    ("proxy", "code server", 3030),
    ("run", "code server", 3030),
    ("run", "webserver", 8080),
    ("code server", "webserver", 8080),
    ("run", ANYWHERE, 22),
    ("run", ANYWHERE, 5432),
]


@pytest.fixture(scope="module")
def policies() -> list[Manifest]:
    """Return the production network policies."""
    return [manifest for manifest in merged("prod")["extraManifests"] if manifest["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(("source", "target", "port"), OPEN)
def test_needed_connection_is_open(policies: list[Manifest], source: str, target: str, port: int) -> None:
    """Pods reach what they need: code servers, the database, Google's APIs, the metadata server, DNS, the proxy."""
    assert allowed(policies, PODS.get(source, source), PODS.get(target, target), port)


def test_dns_is_allowed_over_udp(policies: list[Manifest]) -> None:
    """DNS is allowed over UDP, which resolvers try first."""
    assert allowed(policies, PODS["run"], CLUSTER_DNS, 53, "UDP")


@pytest.mark.parametrize(("source", "target", "port"), SHUT)
def test_other_connection_is_closed(policies: list[Manifest], source: str, target: str, port: int) -> None:
    """Proxy, upload service and metrics reach the webserver, load balancer and Prometheus reach those."""
    assert not allowed(policies, PODS.get(source, source), PODS.get(target, target), port)


def test_every_policy_selects_only_our_pods(policies: list[Manifest]) -> None:
    """Each policy selects a pod of the release, and none selects a pod of another tenant of the namespace."""
    for policy in policies:
        found = {name for name, labels in PODS.items() if selects(policy["spec"]["podSelector"], labels)}
        assert found, policy["metadata"]["name"]
        assert not found & {"another tenant", "prometheus"}, policy["metadata"]["name"]


def test_run_pods_have_the_labels_that_the_policies_select(run_job: Manifest) -> None:
    """The run launcher labels run pods as the release's own, so the policies apply to them."""
    assert PODS["run"].items() <= run_job["spec"]["template"]["metadata"]["labels"].items()
