"""The project's own rules for Helm values.

They catch mistakes that the chart's schema accepts; each of them has broken a deployment. A rule is a function that
takes merged values and yields sentences. `manifests.py` checks Kubernetes objects. The keys below are those of chart
1.13.27. See docs/deploy.md, "What is known to go wrong".
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import kubernetes.client

from txn_assets_tests.deploy.manifests import invalid, pod_problems, resource_problems
from txn_assets_tests.deploy.values_files import (
    RELEASE,
    Values,
    code_location,
    run_launcher,
    user_env,
    webserver_service,
)

type Rule = Callable[[Values], Iterable[str]]

TOP_LEVEL_KEYS = {
    *("additionalInstanceConfig", "busybox", "computeLogManager", "concurrency", "dagster-user-deployments"),
    *("dagsterDaemon", "dagsterWebserver", "extraManifests", "flower", "fullnameOverride"),
    *("generateCeleryConfigSecret", "generatePostgresqlPasswordSecret", "global", "imagePullSecrets", "ingress"),
    *("migrate", "nameOverride", "pipelineRun", "postgresql", "pythonLogs", "rabbitmq", "rbacEnabled", "redis"),
    *("retention", "runLauncher", "scheduler", "serviceAccount", "telemetry"),
}
# Without nameOverride and fullnameOverride: the schema accepts them, but no template reads them here.
USER_DEPLOYMENTS_KEYS = {
    *("deployments", "enabled", "enableSubchart", "imagePullSecrets", "includeInstance", "rbacEnabled"),
    "serviceAccount",
}
CODE_LOCATION_KEYS = {
    *("affinity", "annotations", "codeServerArgs", "dagsterApiGrpcArgs", "deploymentNamespace", "deploymentStrategy"),
    *("env", "envConfigMaps", "envSecrets", "image", "includeConfigInLaunchedRuns", "initContainers", "labels"),
    *("livenessProbe", "name", "nodeSelector", "podSecurityContext", "port", "readinessProbe", "replicaCount"),
    *("resources", "schedulerName", "securityContext", "service", "sidecarContainers", "startupProbe", "tolerations"),
    *("volumeMounts", "volumes"),
}
POSTGRESQL_KEYS = {
    *("authProvider", "enabled", "image", "postgresqlDatabase", "postgresqlHost", "postgresqlParams"),
    *("postgresqlPassword", "postgresqlScheme", "postgresqlUsername", "service"),
}
RUN_MONITORING_KEYS = {
    *("cancelTimeoutSeconds", "enabled", "freeSlotsAfterRunEndSeconds", "maxResumeRunAttempts"),
    *("pollIntervalSeconds", "startTimeoutSeconds"),
}
RUN_K8S_CONFIG = {
    "containerConfig": kubernetes.client.V1Container,
    "podSpecConfig": kubernetes.client.V1PodSpec,
    "podTemplateSpecMetadata": kubernetes.client.V1ObjectMeta,
    "jobSpecConfig": kubernetes.client.V1JobSpec,
    "jobMetadata": kubernetes.client.V1ObjectMeta,
}

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|(^|_)KEY$|CREDENTIALS", re.IGNORECASE)
MOVING_TAGS = {"", "latest", "main", "stable"}


def problems(values: Values) -> list[str]:
    """Return every problem that the rules find in `values`."""
    return [problem for rule in RULES for problem in rule(values)]


def keys_are_known(values: Values) -> Iterator[str]:
    """Reject keys that no template reads, because the chart ignores them silently."""
    for path, found, known in (
        ("", values, TOP_LEVEL_KEYS),
        ("dagster-user-deployments.", values["dagster-user-deployments"], USER_DEPLOYMENTS_KEYS),
        ("dagster-user-deployments.deployments[0].", code_location(values), CODE_LOCATION_KEYS),
        ("postgresql.", values["postgresql"], POSTGRESQL_KEYS),
        ("dagsterDaemon.runMonitoring.", values["dagsterDaemon"]["runMonitoring"], RUN_MONITORING_KEYS),
        ("runLauncher.config.k8sRunLauncher.runK8sConfig.", run_launcher(values)["runK8sConfig"], set(RUN_K8S_CONFIG)),
    ):
        for key in sorted(set(found) - known):
            yield f"{path}{key}: the chart does not know this key"


def run_k8s_config_is_known(values: Values) -> Iterator[str]:
    """Reject unknown keys in runK8sConfig: the chart accepts any key there, and a typo stops every run at launch."""
    for section, content in run_launcher(values)["runK8sConfig"].items():
        model = RUN_K8S_CONFIG.get(section)
        if model is None:
            continue
        for key in sorted(set(content) - {*model.attribute_map, *model.attribute_map.values()}):
            yield f"runK8sConfig.{section}.{key}: {model.__name__} has no such field"


def resources_are_valid(values: Values) -> Iterator[str]:
    """Reject quantities that do not parse, because the schema accepts any string."""
    for path, resources in _find(values, {"resources", "initContainerResources"}):
        # A StatefulSet's volume claim has the key too, in the same format.
        yield from (f"{path}: {problem}" for problem in resource_problems(resources))


def containers_have_resources(values: Values) -> Iterator[str]:
    """Require requests and limits: a pod without requests is the first one evicted from a node under pressure."""
    for path, section in _containers(values):
        for kind in ("requests", "limits"):
            if not {"cpu", "memory"} <= set((section.get("resources") or {}).get(kind) or {}):
                yield f"{path}.resources.{kind}: cpu and memory are missing"


def names_are_dns_names(values: Values) -> Iterator[str]:
    """Reject names that are not DNS names, which fail in the cluster after the upgrade has begun."""
    location = code_location(values)
    labels = [
        ("code location", location["name"]),
        ("service account", values["serviceAccount"]["name"]),
        ("code location's service account", values["dagster-user-deployments"]["serviceAccount"]["name"]),
        *((f"volume at {path}", volume["name"]) for path, volumes in _find(values, {"volumes"}) for volume in volumes),
    ]
    for what, name in labels:
        if not DNS_LABEL.fullmatch(name):
            yield f"{what}: {name!r} is not a DNS label"
    host = (values["ingress"].get("dagsterWebserver") or {}).get("host")
    for what, name in (("postgresql.postgresqlHost", values["postgresql"].get("postgresqlHost")), ("ingress", host)):
        if what == "ingress" and not values["ingress"]["enabled"]:
            continue
        if not name or len(name) > 253 or not DNS_NAME.fullmatch(name):
            yield f"{what}: {name!r} is not a host name"


def names_match_the_chart(values: Values) -> Iterator[str]:
    """Require names that match what the chart computes: a wrong one shows only when a pod starts or a user logs in."""
    if values["global"].get("fullnameOverride") != RELEASE:
        yield f"global.fullnameOverride: must be {RELEASE}, because the other names here begin with it"
        return
    if {"name": user_env(values)} not in (run_launcher(values).get("envConfigMaps") or []):
        yield f"runLauncher.envConfigMaps: runs do not read {user_env(values)}, which the chart creates from env"
    service = f"{webserver_service(values)}:{values['dagsterWebserver']['service']['port']}"
    for path, arguments in _find(values.get("extraManifests") or [], {"args"}):
        for upstream in (argument for argument in arguments if argument.startswith("--upstream=")):
            if upstream != f"--upstream=http://{service}":
                yield f"extraManifests{path}: {upstream} is not the webserver's Service, {service}"


def variables_are_set_once(values: Values) -> Iterator[str]:
    """Reject variables set twice: lists of variables are joined instead of merged, and one of the values loses."""
    launcher = run_launcher(values)
    for path, env in _find(values, {"env"}):
        for name in _repeats([variable["name"] for variable in env] if isinstance(env, list) else []):
            yield f"{path}: {name} is set twice"
    location_env = code_location(values).get("env") or {}
    location = {variable["name"] for variable in location_env} if isinstance(location_env, list) else set(location_env)
    for variable in launcher.get("envVars") or []:
        if variable.split("=")[0] in location:
            yield f"{variable.split('=')[0]}: set by the code location and by runLauncher.envVars"
    inherits = (code_location(values).get("includeConfigInLaunchedRuns") or {"enabled": True})["enabled"]
    for key in ("envConfigMaps", "envSecrets", "volumes", "volumeMounts"):
        names = [entry["name"] for entry in launcher.get(key) or []]
        if inherits:
            names += [entry["name"] for entry in code_location(values).get(key) or []]
        for name in _repeats(names if key != "volumeMounts" else []):
            yield f"{key}: {name} reaches the run pod twice"


def no_secret_is_literal(values: Values) -> Iterator[str]:
    """Reject literal secrets: values are in git and in the release's Secret, which many people can read."""
    for path, env in _find(values, {"env"}):
        pairs = env.items() if isinstance(env, dict) else ((v["name"], v.get("value")) for v in env)
        for name, value in pairs:
            # A path says where a secret is mounted and is not the secret itself.
            if value is not None and SECRET_NAME.search(name) and not str(value).startswith("/"):
                yield f"{path}: {name} has a literal value"
    for variable in run_launcher(values).get("envVars") or []:
        if "=" in variable and SECRET_NAME.search(variable.split("=")[0]):
            yield f"runLauncher.envVars: {variable.split('=')[0]} has a literal value"
    if values["postgresql"].get("postgresqlPassword") or values.get("generatePostgresqlPasswordSecret") is not False:
        yield "postgresql.postgresqlPassword: the password comes from a Secret that is created by hand"
    for manifest in values.get("extraManifests") or []:
        if manifest["kind"] == "Secret":
            yield f"extraManifests: Secret {manifest['metadata']['name']} is created by hand, not in values"


def images_have_fixed_tags(values: Values) -> Iterator[str]:
    """Reject moving tags: they run whatever image is on the node, and replicas of one Deployment may differ."""
    for path, image in _find(values, {"image"}):
        tag = image.rpartition(":")[2] if isinstance(image, str) else str(image.get("tag") or "")
        if tag in MOVING_TAGS or (isinstance(image, str) and ":" not in image):
            yield f"{path}: {image} has no tag, or one that moves"


def runs_do_not_inherit_the_code_server(values: Values) -> Iterator[str]:
    """Reject `resources` of a code location in launched runs, because they override the run launcher's."""
    if (code_location(values).get("includeConfigInLaunchedRuns") or {"enabled": True})["enabled"]:
        yield "includeConfigInLaunchedRuns: the code server's resources would override the run launcher's"


def replicas_have_a_fixed_server_id(values: Values) -> Iterator[str]:
    """Require `dagster api grpc` for several replicas, because only that command gets the fixed server id they need."""
    location = code_location(values)
    if location.get("replicaCount", 1) > 1 and location.get("codeServerArgs"):
        yield "codeServerArgs: more than one replica needs dagsterApiGrpcArgs"
    strategy = (location.get("deploymentStrategy") or {}).get("rollingUpdate") or {}
    if strategy.get("maxUnavailable") != 0:
        yield "deploymentStrategy: maxUnavailable is not 0, so an upgrade takes the code location down"


def migration_is_manual(values: Values) -> Iterator[str]:
    """Reject the chart's migration: it is a Job, Jobs are immutable, and the next upgrade fails on it."""
    if values["migrate"]["enabled"]:
        yield "migrate.enabled: breaks the next upgrade"


def ingress_renders_offline(values: Values) -> Iterator[str]:
    """Require the API version of the ingress: without it, and without a cluster to ask, the chart omits the ingress."""
    if values["ingress"].get("apiVersion") != "networking.k8s.io/v1/Ingress":
        yield "ingress.apiVersion: must be networking.k8s.io/v1/Ingress"
    if values["ingress"]["enabled"] and not values["ingress"]["dagsterWebserver"]["tls"]["enabled"]:
        yield "ingress: no TLS"


def probes_use_the_service_port(values: Values) -> Iterator[str]:
    """Require probes on the service port: the chart's default probes stay at port 80 when service.port changes."""
    webserver = values["dagsterWebserver"]
    for probe in ("readinessProbe", "livenessProbe"):
        if webserver[probe]["httpGet"]["port"] != webserver["service"]["port"]:
            yield f"dagsterWebserver.{probe}: not the port of the service"
    if webserver["service"]["port"] < 1024:
        yield "dagsterWebserver.service.port: no process may bind it without capabilities"


def events_are_written_once(values: Values) -> Iterator[str]:
    """Reject log handlers in dagster.yaml that write each event in addition to Dagster's console logger."""
    for key in ("dagsterHandlerConfig", "managedPythonLoggers"):
        if values["pythonLogs"].get(key):
            yield f"pythonLogs.{key}: writes each event of a run twice; TXN_LOG_FORMAT=json is enough"
    if (code_location(values).get("env") or {}).get("TXN_LOG_FORMAT") != "json":
        yield "TXN_LOG_FORMAT: must be json; otherwise events are lines of text, and a traceback is many lines"


def ports_name_their_protocol(values: Values) -> Iterator[str]:
    """Require a protocol on ports: server-side apply merges by number and protocol, and older API servers need it."""
    for path, ports in _find(values.get("extraManifests") or [], {"ports"}):
        for port in ports:
            if "protocol" not in port:
                yield f"extraManifests{path}: port {port.get('containerPort') or port.get('port')} has no protocol"


def run_limits_are_in_one_place(values: Values) -> Iterator[str]:
    """Reject run limits in two places (`concurrency`, run coordinator): the chart does so only at render time."""
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    for key in ("maxConcurrentRuns", "tagConcurrencyLimits"):
        if queue.get(key) and values["concurrency"]["runs"].get(key):
            yield f"{key}: set under concurrency and under the run coordinator"


def database_is_verified(values: Values) -> Iterator[str]:
    """Require TLS that verifies the server's name, because anything less can be intercepted. One machine is exempt."""
    parameters = values["postgresql"]["postgresqlParams"]
    local = values["postgresql"]["postgresqlHost"] == "local-servers"
    if not local and parameters.get("sslmode") != "verify-full":
        yield "postgresql.postgresqlParams.sslmode: must be verify-full"
    mounts = [mount["mountPath"] for _, mounts in _find(values, {"volumeMounts"}) for mount in mounts]
    authority = parameters.get("sslrootcert", "")
    if authority and not any(authority.startswith(f"{mount}/") for mount in mounts):
        yield f"postgresql.postgresqlParams.sslrootcert: nothing is mounted at {authority}"


def extra_manifests_are_valid(values: Values) -> Iterator[str]:
    """Check the extra manifests, because the chart passes them on unread."""
    for manifest in values.get("extraManifests") or []:
        yield from invalid(manifest)
        yield from pod_problems(manifest)


def pods_are_restricted(values: Values) -> Iterator[str]:
    """Require the restricted Pod Security standard in every security context that the chart takes from the values."""
    launcher = run_launcher(values)
    contexts = {
        "code server": (code_location(values)["podSecurityContext"], code_location(values)["securityContext"]),
        "webserver": (values["dagsterWebserver"]["podSecurityContext"], values["dagsterWebserver"]["securityContext"]),
        "daemon": (values["dagsterDaemon"]["podSecurityContext"], values["dagsterDaemon"]["securityContext"]),
        "run": (launcher["runK8sConfig"]["podSpecConfig"]["securityContext"], launcher["securityContext"]),
    }
    for name, (pod, container) in contexts.items():
        template = {"securityContext": pod, "containers": [{"name": name, "securityContext": container}]}
        manifest = {"kind": "Pod", "metadata": {"name": name}, "spec": template}
        yield from pod_problems(manifest)


RULES: list[Rule] = [
    keys_are_known,
    run_k8s_config_is_known,
    resources_are_valid,
    containers_have_resources,
    names_are_dns_names,
    names_match_the_chart,
    variables_are_set_once,
    no_secret_is_literal,
    images_have_fixed_tags,
    runs_do_not_inherit_the_code_server,
    replicas_have_a_fixed_server_id,
    migration_is_manual,
    ingress_renders_offline,
    probes_use_the_service_port,
    events_are_written_once,
    ports_name_their_protocol,
    run_limits_are_in_one_place,
    database_is_verified,
    extra_manifests_are_valid,
    pods_are_restricted,
]


def _containers(values: Values) -> list[tuple[str, Values]]:
    return [
        ("code location", code_location(values)),
        ("runLauncher", run_launcher(values)),
        ("dagsterWebserver", values["dagsterWebserver"]),
        ("dagsterDaemon", values["dagsterDaemon"]),
        ("dagsterWebserver init", {"resources": values["dagsterWebserver"].get("initContainerResources")}),
        ("dagsterDaemon init", {"resources": values["dagsterDaemon"].get("initContainerResources")}),
    ]


def _find(content: Any, keys: set[str], path: str = "") -> Iterator[tuple[str, Any]]:
    """Return every value under one of `keys`, at any depth, with its path."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in keys and value:
                yield f"{path}.{key}".lstrip("."), value
            yield from _find(value, keys, f"{path}.{key}")
    elif isinstance(content, list):
        for index, item in enumerate(content):
            yield from _find(item, keys, f"{path}[{index}]")


def _repeats(names: list[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
