"""helm-values/local-servers.yaml, values-local.yaml and Dockerfile.servers against each other and the code.

Nothing is built or started here: `make cluster-test` does that on a real cluster.
"""

import json
import re
from typing import Any

import pytest
import yaml

from txn_assets.config import load_config
from txn_assets.environment import PG_PASSWORD
from txn_assets.local.endpoints import given_endpoints, seed_from
from txn_assets.local.in_container import PORTS
from txn_assets_tests.cluster.__main__ import main as cluster_test
from txn_assets_tests.deploy.conftest import ROOT
from txn_assets_tests.deploy.manifests import Manifest, containers, invalid, name_of, pod_problems, pod_spec
from txn_assets_tests.deploy.values_files import FOLDER, code_location, load, merged

MANIFESTS: list[Manifest] = list(yaml.safe_load_all((FOLDER / "local-servers.yaml").read_text()))
SERVICE, PODS = MANIFESTS
(SERVERS,) = containers(PODS)
DOCKERFILE = (ROOT / "Dockerfile.servers").read_text()
PRODUCT = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_manifest_is_valid_and_restricted(manifest: Manifest) -> None:
    """The servers' manifests fit the API's schemas, and their pod the restricted standard."""
    assert invalid(manifest) == []
    assert pod_problems(manifest) == []


def test_platform_is_given_the_ports_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address in TXN_LOCAL_ENDPOINTS is a port of the Service, and leads to the port of that server."""
    values = merged("local")
    monkeypatch.setenv("TXN_LOCAL_ENDPOINTS", code_location(values)["env"]["TXN_LOCAL_ENDPOINTS"])
    monkeypatch.setenv(PG_PASSWORD, "password")
    given = given_endpoints(seed_from(load_config()))
    assert given is not None
    name = SERVICE["metadata"]["name"]
    ports = {port["name"]: port["port"] for port in SERVICE["spec"]["ports"]}
    assert (given.gcs_url, given.bigquery_url) == (
        f"http://{name}:{ports['gcs']}",
        f"http://{name}:{ports['bigquery']}",
    )
    assert (given.postgres_host, given.postgres_port) == (name, ports["postgres"])
    assert (values["postgresql"]["postgresqlHost"], values["postgresql"]["service"]["port"]) == (
        name,
        ports["postgres"],
    )
    assert SERVICE["spec"]["selector"].items() <= PODS["spec"]["template"]["metadata"]["labels"].items()
    assert {port["name"]: port["containerPort"] for port in SERVERS["ports"]} == {name: PORTS[name] for name in ports}
    assert {port["targetPort"] for port in SERVICE["spec"]["ports"]} == {*ports}
    exposed = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE)
    assert [list(map(int, line.split())) for line in exposed] == [[PORTS[name] for name in ports]]


def test_servers_and_platform_share_bucket_password_and_user() -> None:
    """The servers create the platform's bucket, have its password, and run as the user of the product's image."""
    location = code_location(merged("local"))
    env = {variable["name"]: variable for variable in SERVERS["env"]}
    assert env["BUCKET_NAME"]["value"] == location["env"]["BUCKET_NAME"]
    reference = env[PG_PASSWORD]["valueFrom"]["secretKeyRef"]
    assert {"name": reference["name"]} in location["envSecrets"]
    assert (reference["key"], {*env}) == (PG_PASSWORD, {"BUCKET_NAME", PG_PASSWORD, "POD_IP"})
    user = (pod_spec(PODS) or {})["securityContext"]["runAsUser"]
    assert re.findall(r"^USER (\d+):", PRODUCT, re.MULTILINE) == [str(user)]


def test_servers_write_below_their_volumes() -> None:
    """TXN_HOME of the servers' image is the mounted volume, where the readiness probe looks for the stack's file."""
    (home,) = re.findall(r"TXN_HOME=(\S+)", DOCKERFILE)
    assert home in {mount["mountPath"] for mount in SERVERS["volumeMounts"]}
    assert SERVERS["readinessProbe"]["exec"]["command"][-1] == f"{home}/stack.json"


def test_images_are_those_that_make_builds() -> None:
    """`make image-servers` builds the servers' image of the manifest beside the product's image of the values."""
    product = code_location(load(FOLDER / "values-local.yaml"))["image"]["repository"]
    script = (ROOT / "txn_assets_tests" / "deploy" / "image.sh").read_text()
    (suffix,) = re.findall(r'build_with "\$IMAGE(\S+)" --file Dockerfile.servers', script)
    assert SERVERS["image"] == product + suffix


def test_production_knows_nothing_of_the_servers() -> None:
    """Neither the product's image nor the other values have the servers, their lock or their addresses."""
    assert "venv-servers" not in PRODUCT
    assert "requirements-servers" not in PRODUCT
    for name in ("values.yaml", "values-prod.yaml"):
        assert "local-servers" not in json.dumps(load(FOLDER / name))
        assert "TXN_LOCAL_ENDPOINTS" not in json.dumps(load(FOLDER / name))


def test_install_is_locked() -> None:
    """The servers come from their hashed lock, and from wheels only, as in `make setup`."""
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)
    assert copied == ["requirements-servers.lock"]
    assert "--require-hashes --no-build" in DOCKERFILE


def test_uv_is_the_same_in_both_images() -> None:
    """Both images are built with the same uv."""
    version: Any = re.compile(r"^ARG UV_VERSION=(.*)$", re.MULTILINE)
    assert version.findall(DOCKERFILE) == version.findall(PRODUCT)


@pytest.mark.parametrize(("context", "reason"), [("", "no cluster is named"), ("no-such", "kubectl|helm|no-such")])
def test_cluster_test_is_skipped_without_a_cluster(
    context: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a cluster, or the tools for it, `make cluster-test` says why it is skipped, and succeeds."""
    monkeypatch.setattr("sys.argv", ["cluster-test", f"--context={context}"])
    assert cluster_test() == 0
    assert re.match(rf"SKIPPED cluster-test: .*({reason}).*\n$", capsys.readouterr().out)
