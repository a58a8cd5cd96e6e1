"""docs/deploy.md against the rest of the project.

Only names that the page shares with helm-values/ and with its own commands. It takes a cluster to show that a command
does what the page says.
"""

import re
import subprocess
from pathlib import Path

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


def function(name: str) -> str:
    """Return the definition of a shell function on the page."""
    pattern = rf"^{name}\(\) \{{(?:.*; \}}$|.*\n(?:.*\n)*?^\}}$)"
    (definition,) = re.finditer(pattern, SCRIPT, re.MULTILINE)
    return definition[0]


def install_options() -> list[str]:
    """Return the options of the documented `release` command, each variable replaced by its own name in lowercase."""
    options = re.findall(r'--set-string "(.*?)" \\', function("release"))
    return [re.sub(r"\$([A-Z_]+)", lambda name: name[1].lower().replace("_", "-"), option) for option in options]


def test_every_block_is_bash() -> None:
    """Every command block of the page is valid bash."""
    for block in BLOCKS:
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, block + done.stderr


def test_every_variable_is_set_before_its_use() -> None:
    """Every variable in a command is exported, or set by a loop, in an earlier line of the page."""
    named = set(FROM_THE_SHELL)
    for line in SCRIPT.splitlines():
        code = "" if line.lstrip().startswith("#") else line
        named |= set(re.findall(r"\bfor ([a-z]+) in\b", code))
        # A value may use what the same line has not set yet, so names count from the next line on.
        used = set(re.findall(r"(?<!\\)\$\{?([A-Za-z_][A-Za-z_0-9]*)", code))
        assert used <= named, line
        named |= set(re.findall(r"\bexport ([A-Z_]+)=", code))


@pytest.mark.parametrize("kind", ["secret", "configmap"])
def test_page_creates_what_the_values_refer_to(kind: str) -> None:
    """Every Secret and ConfigMap that the production values only name is created by a command of the page."""
    made = set(re.findall(rf"create {kind} (?:generic |tls )?([a-z0-9-]+)", SCRIPT))
    assert _named(merged("prod"))[kind] <= made


@pytest.mark.parametrize("key", ["pipeline_config.yaml", "server-ca.pem", "TXN_HASH_KEY", "TXN_PG_PASSWORD"])
def test_keys_of_secrets_have_the_names_that_the_code_reads(key: str) -> None:
    """The files and variables inside the Secrets and ConfigMaps have the names that the code looks for."""
    assert re.search(rf"--from-file=(\S+/|\"\$WORK/)?{re.escape(key)}", SCRIPT)


def test_documented_config_loads(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The pipeline_config.yaml that the page writes is one that the code accepts."""
    (content,) = re.findall(r'^cat >"\$WORK/pipeline_config.yaml" <<EOF\n(.*?)^EOF', SCRIPT, re.MULTILINE | re.DOTALL)
    path = tmp_path_factory.mktemp("config") / "pipeline_config.yaml"
    own = {"ISSUER": "https://issuer.example", "MART_DATASET": "marts"}
    path.write_text(re.sub(r"\$([A-Z_]+)", lambda name: own.get(name[1], name[1].lower().replace("_", "-")), content))
    config = load_config(path)
    assert config.security.hash.algorithm == "hmac-sha256"
    assert config.kubernetes.namespace == "namespace"


def test_every_install_option_is_a_key_of_the_values() -> None:
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


def test_install_options_reach_the_manifests_that_they_mean() -> None:
    """An index into `extraManifests` is that of the manifest whose image, account or host the page sets."""
    reached = {}
    for option in install_options():
        if found := re.match(r"extraManifests\[(\d+)\]\..*=(.*)", option):
            reached[name_of(merged("prod")["extraManifests"][int(found[1])])] = found[2]
    assert reached == {
        "Deployment/dagster-oauth2-proxy": "registry/oauth2-proxy:v7.12.0",
        "Deployment/txn-uploads": "registry/txn-assets:tag",
        "ServiceAccount/txn-uploads": "upload-account",
        "Ingress/txn-uploads": "upload-host",
        "Deployment/txn-metrics": "registry/txn-assets:tag",
        "ServiceAccount/txn-metrics": "metrics-account",
    }


def test_documented_install_takes_every_image_from_one_registry() -> None:
    """Rendered with the page's options, every container has our image or one that the page copies to our registry."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    objects = render("prod", options=install_options())
    images = {container["image"] for manifest in objects for container in containers(manifest)}
    assert images == {"registry/txn-assets:tag", *(f"registry/{image}" for image in COPIED)}
    for image in COPIED:
        assert f"`{image}`" in PAGE


def test_page_names_objects_that_exist() -> None:
    """Every Deployment and Service that a command of the page names is created by the chart or our manifests."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    made = {name_of(manifest) for environment in ENVIRONMENTS for manifest in render(environment)}
    named = re.findall(r"\b(deploy|service|ingress)[/ ](dagster-[a-z0-9-]+)", PAGE)
    assert named
    kinds = {"deploy": "Deployment", "service": "Service", "ingress": "Ingress"}
    assert {f"{kinds[kind]}/{name}" for kind, name in named} <= made


@pytest.mark.parametrize("is_signed", [True, False])
def test_publish_pins_what_it_signed(is_signed: bool, tmp_path: Path) -> None:
    """`publish` signs and verifies the digest that was pushed, and pins it only if the signature holds."""
    stubs = f"""
    REGISTRY=registry TAG=1.0 WORK={tmp_path} SIGNING_KEY=key
    podman() {{ echo sha256:abc >"$3"; }}
    make() {{ :; }}
    cosign() {{ echo "$1 ${{!#}}" >>{tmp_path}/log; [ "$1" != verify ] || [ {is_signed} = True ]; }}
    """
    script = "\n".join(
        [stubs, function("publish"), function("verify_image"), "publish; code=$?; echo $TAG; exit $code"]
    )
    done = subprocess.run(["bash", "-u"], input=script, text=True, capture_output=True, check=False)
    expected = "1.0@sha256:abc" if is_signed else "1.0"
    assert (done.returncode == 0, done.stdout.strip()) == (is_signed, expected), done.stderr
    signed = (tmp_path / "log").read_text().splitlines()
    assert signed[:3] == [f"{verb} registry/txn-assets@sha256:abc" for verb in ("sign", "attest", "verify")]
    # Each release does it before it deploys.
    assert [
        block.index("publish\n") < block.index("deploy\n")
        for block in BLOCKS
        if "\ndeploy\n" in block and "make image" in block
    ]
    assert SCRIPT.count("podman push") == 1


@pytest.mark.parametrize("image", ["registry/txn-assets:new", "registry/txn-assets:old"])
def test_deploy_asks_each_webserver_for_its_definitions(image: str, tmp_path: Path) -> None:
    """`deploy` restarts the webservers, waits, asks each of them, and fails if one has other definitions."""
    stubs = f"""
    NAMESPACE=n
    release() {{ echo release "$@" >>{tmp_path}/log; }}
    kubectl() {{
      echo "$*" >>{tmp_path}/log
      case "$*" in
        *"get pods"*) echo "web-1 web-2 " ;;
        *"get deploy/dagster-txn-assets"*) printf registry/txn-assets:new ;;
        *"exec web-2"*"txn_assets.defs.loaded_image registry/txn-assets:new") [ {image} = registry/txn-assets:new ] ;;
      esac
    }}
    """
    script = "\n".join([stubs, *map(function, ("webservers", "fresh_webservers", "deploy")), "deploy --some-option"])
    done = subprocess.run(["bash", "-u"], input=script, text=True, capture_output=True, check=False)
    log = (tmp_path / "log").read_text()
    assert (done.returncode == 0) == (image == "registry/txn-assets:new"), done.stderr
    assert log.startswith("release --atomic --some-option\n-n n rollout restart deploy/dagster-webserver\n")
    assert log.index("rollout status deploy/dagster-webserver") < log.index("exec web-1 ") < log.index("exec web-2 ")


def test_restart_of_code_servers_ends_with_the_webservers() -> None:
    """Only functions that end with fresh_webservers restart pods, and a rollback calls it too."""
    functions = [function(name) for name in ("fresh_webservers", "restart_all")]
    assert "&& fresh_webservers" in functions[1]
    assert SCRIPT.count("rollout restart") == "".join(functions).count("rollout restart")
    (roll_back,) = [block for block in BLOCKS if re.search(r"^helm .* rollback", block, re.MULTILINE)]
    assert roll_back.rstrip().endswith("\nfresh_webservers")


def test_chart_can_be_fetched_again(tmp_path: Path) -> None:
    """`check_chart` replaces the previous version's chart: `helm pull --untar` fails if its folder exists."""
    stubs = f"""
    WORK={tmp_path}
    CHART_VERSION=1
    helm() {{ [ ! -e "$WORK/dagster" ] && mkdir "$WORK/dagster"; }}
    make() {{ echo "$DAGSTER_CHART_DIR $*"; }}
    """
    script = "\n".join([stubs, function("check_chart"), "check_chart && check_chart"])
    done = subprocess.run(["bash", "-eu"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/dagster deploy-check\n" * 2)


def test_no_secret_is_an_argument() -> None:
    """No password, key or token is in the arguments of a command, where every user of the machine can read it."""
    for line in SCRIPT.splitlines():
        assert not re.search(r"--(?:password|from-literal=\S*(?:PASSWORD|SECRET|KEY|TOKEN|password))=", line), line
        for value in re.findall(r"--[\w-]+=\S*\$\(cat ([^)]*)\)", line):
            pytest.fail(f"{value} becomes an argument: {line}")


def test_each_database_has_its_own_instance() -> None:
    """Dagster and the transactions have separate instances, because users of one can read each other's databases."""
    made = re.findall(r"^create_database (\w+) \"\$(\w+)\"", SCRIPT, re.MULTILINE)
    assert sorted(name for name, _ in made) == ["dagster", "transactions"]
    assert len({instance for _, instance in made}) == 2


def test_commands_inside_pods_need_no_bash() -> None:
    """Commands inside pods need no bash: the image's shell is dash, which has no `time`."""
    for command in re.findall(r"sh -c '([^']*)'", PAGE):
        assert subprocess.run(["dash", "-n"], input=command, text=True, check=False).returncode == 0
        assert "time " not in command


def test_page_names_the_options_for_a_build_in_a_closed_network() -> None:
    """The page mentions IMAGE_BUILD_ARGS of `make image` and Helm's way around a schema that it cannot fetch."""
    for name in ("IMAGE_BUILD_ARGS", "--skip-schema-validation", "HELM_OPTIONS"):
        assert name in PAGE


def _named(values: Values) -> dict[str, set[str]]:
    """Return the Secrets and ConfigMaps that the values refer to and that nothing in the chart creates."""
    found: dict[str, set[str]] = {"secret": {values["global"]["postgresqlSecretName"]}, "configmap": set()}
    location = code_location(values)
    found["secret"] |= {source["name"] for source in location["envSecrets"]}
    found["secret"].add(values["ingress"]["dagsterWebserver"]["tls"]["secretName"])
    for volume in location["volumes"]:
        if "configMap" in volume:
            found["configmap"].add(volume["configMap"]["name"])
    for manifest in values["extraManifests"]:
        pod = pod_spec(manifest) or {"containers": []}
        for container in pod["containers"]:
            found["secret"] |= {s["secretRef"]["name"] for s in container.get("envFrom") or [] if "secretRef" in s}
        found["configmap"] |= {v["configMap"]["name"] for v in pod.get("volumes") or [] if "configMap" in v}
        if manifest["kind"] == "Ingress":
            found["secret"] |= {entry["secretName"] for entry in manifest["spec"]["tls"]}
    return found
