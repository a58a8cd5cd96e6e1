"""docs/deploy.md against the rest of the project.

Here belong statements about names that the page shares with helm-values/ and with its own commands. Whether a command
does what the page says takes a cluster.
"""

import re
import subprocess

import pytest

from txn_assets.config import load_config
from txn_assets_tests.deploy.charts import missing, render
from txn_assets_tests.deploy.conftest import ROOT
from txn_assets_tests.deploy.manifests import containers, name_of, pod_spec
from txn_assets_tests.deploy.values_files import ENVIRONMENTS, Values, code_location, merged

PAGE = (ROOT / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SCRIPT = "\n".join(BLOCKS)
FROM_THE_SHELL = {"HOME"}
COPIED = ("oauth2-proxy:v7.12.0", "postgres:18", "busybox:1.28")


def install_options() -> list[str]:
    """The options of the documented `deploy` command, each variable replaced by its own name in lower case."""
    (body,) = re.findall(r"^deploy\(\) \{\n(.*?)^\}", SCRIPT, re.MULTILINE | re.DOTALL)
    options = re.findall(r'--set-string "(.*?)" \\', body)
    return [re.sub(r"\$([A-Z_]+)", lambda name: name[1].lower().replace("_", "-"), option) for option in options]


def test_every_block_is_bash() -> None:
    """Every command block of the page is valid bash."""
    for block in BLOCKS:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, block + done.stderr


def test_every_variable_is_named_before_its_use() -> None:
    """Every variable in a command is exported, or set by a loop, in an earlier line of the page."""
    named = set(FROM_THE_SHELL)
    for line in SCRIPT.splitlines():
        code = "" if line.lstrip().startswith("#") else line
        named |= set(re.findall(r"\bfor ([a-z]+) in\b", code))
        # A value may use what the line itself has not set yet, so names count from the next line on.
        used = set(re.findall(r"(?<!\\)\$\{?([A-Za-z_][A-Za-z_0-9]*)", code))
        assert used <= named, line
        named |= set(re.findall(r"\bexport ([A-Z_]+)=", code))


@pytest.mark.parametrize("kind", ["secret", "configmap"])
def test_the_page_creates_what_the_values_ask_for(kind: str) -> None:
    """Every Secret and ConfigMap that the production values name without making it is made by a command of the page."""
    made = set(re.findall(rf"create {kind} (?:generic |tls )?([a-z0-9-]+)", SCRIPT))
    assert _named(merged("prod"))[kind] <= made


@pytest.mark.parametrize("key", ["pipeline_config.yaml", "server-ca.pem", "TXN_HASH_KEY", "TXN_PG_PASSWORD"])
def test_the_page_gives_the_keys_their_names(key: str) -> None:
    """The files and variables inside the Secrets and ConfigMaps have the names that the code looks for."""
    assert re.search(rf"--from-file=(\S+/|\"\$WORK/)?{re.escape(key)}", SCRIPT)


def test_the_documented_config_loads(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The pipeline_config.yaml that the page writes is one that the code accepts."""
    (content,) = re.findall(r'^cat >"\$WORK/pipeline_config.yaml" <<EOF\n(.*?)^EOF', SCRIPT, re.MULTILINE | re.DOTALL)
    path = tmp_path_factory.mktemp("config") / "pipeline_config.yaml"
    path.write_text(re.sub(r"\$([A-Z_]+)", lambda name: name[1].lower().replace("_", "-"), content))
    config = load_config(path, environ={})
    assert config.security.hash.algorithm == "hmac-sha256"
    assert config.kubernetes.namespace == "namespace"


def test_every_option_of_the_install_is_a_key_of_the_values() -> None:
    """Every `--set-string` of the page sets a key that the value files have."""
    for option in install_options():
        path, _, _ = option.partition("=")
        section: object = merged("prod")
        for key in re.findall(r"(?:[^.\\\[\]]|\\.)+|\[\d+\]", path):
            index = re.fullmatch(r"\[(\d+)\]", key)
            name = key.replace("\\.", ".")
            if index:
                assert isinstance(section, list), path
                section = section[int(index[1])]
            else:
                assert isinstance(section, dict), path
                assert name in section, path
                section = section[name]


def test_the_documented_install_takes_every_image_from_one_registry() -> None:
    """Rendered with the page's options, every container has our image or one that the page copies to our registry."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    objects = render("prod", options=install_options())
    images = {container["image"] for manifest in objects for container in containers(manifest)}
    assert images == {"registry/txn-assets:tag", *(f"registry/{image}" for image in COPIED)}
    for image in COPIED:
        assert f"`{image}`" in PAGE


def test_the_page_names_objects_that_exist() -> None:
    """Every Deployment and Service that a command of the page names is one that the chart or our manifests make."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    made = {name_of(manifest) for environment in ENVIRONMENTS for manifest in render(environment)}
    named = re.findall(r"\b(deploy|service|ingress)[/ ](dagster-[a-z0-9-]+)", PAGE)
    assert named
    kinds = {"deploy": "Deployment", "service": "Service", "ingress": "Ingress"}
    assert {f"{kinds[kind]}/{name}" for kind, name in named} <= made


def _named(values: Values) -> dict[str, set[str]]:
    """The Secrets and ConfigMaps that the values refer to and that nothing in the chart makes."""
    found: dict[str, set[str]] = {"secret": {values["global"]["postgresqlSecretName"]}, "configmap": set()}
    location = code_location(values)
    found["secret"] |= {source["name"] for source in location["envSecrets"]}
    found["secret"].add(values["ingress"]["dagsterWebserver"]["tls"]["secretName"])
    for volume in location["volumes"]:
        if "configMap" in volume:
            found["configmap"].add(volume["configMap"]["name"])
    for manifest in values["extraManifests"]:
        for container in (pod_spec(manifest) or {"containers": []})["containers"]:
            found["secret"] |= {s["secretRef"]["name"] for s in container.get("envFrom") or [] if "secretRef" in s}
    return found
