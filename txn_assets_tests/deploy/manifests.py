"""Check that a Kubernetes object is acceptable to a cluster and to the platform team.

For finished objects: run Jobs, rendered manifests, the extraManifests of the values. `rules.py` checks the values
themselves. The restricted standard: kubernetes.io, "Pod Security Standards".
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes_validate
from kubernetes.utils.quantity import parse_quantity
from kubernetes_validate.utils import latest_version

type Manifest = dict[str, Any]

OLDEST = "1.29"
"""Oldest Kubernetes version that the platform supports; the newest is the newest one in the schemas."""

SAFE_VOLUMES = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SAFE_SECCOMP = {"RuntimeDefault", "Localhost"}
POD_TEMPLATES = {"Deployment", "StatefulSet", "DaemonSet", "Job"}


def kubernetes_versions() -> list[str]:
    """Return the versions that every object is validated against."""
    return [OLDEST, latest_version()]


def name_of(manifest: Manifest) -> str:
    """Return kind and name, for messages."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def invalid(manifest: Manifest) -> list[str]:
    """Return the schema errors of `manifest`, including unknown keys."""
    found = []
    for version in kubernetes_versions():
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            found.append(
                f"{name_of(manifest)}: Kubernetes {version} has no {manifest['apiVersion']} {manifest['kind']}"
            )
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            found.append(f"{name_of(manifest)}: Kubernetes {version}: {path}: {error.message}")
    return found


def pod_spec(manifest: Manifest) -> Manifest | None:
    """Return the specification of the pods that `manifest` creates, if any."""
    if manifest["kind"] == "Pod":
        return dict(manifest["spec"])
    if manifest["kind"] not in POD_TEMPLATES:
        return None
    spec = dict(manifest["spec"]["template"]["spec"])
    # A StatefulSet adds a volume of the same name for each claim.
    claims = [
        {"name": claim["metadata"]["name"], "persistentVolumeClaim": {}}
        for claim in manifest["spec"].get("volumeClaimTemplates") or []
    ]
    return {**spec, "volumes": [*(spec.get("volumes") or []), *claims]}


def containers(manifest: Manifest) -> list[Manifest]:
    """Return every container of the pods that `manifest` creates, init containers first; none if it creates no pods."""
    spec = pod_spec(manifest)
    return [] if spec is None else _containers(spec)


def pod_problems(manifest: Manifest) -> list[str]:
    """Return the problems with the pods of `manifest`, by the restricted standard and by our own rules."""
    spec = pod_spec(manifest)
    if spec is None:
        return []
    return [
        f"{name_of(manifest)}: {problem}"
        for problem in [
            *unsafe_pod(spec),
            *(problem for container in _containers(spec) for problem in unsafe_container(container, spec)),
            *(problem for container in _containers(spec) for problem in repeated(container, spec)),
            *(
                f"{container['name']}: {problem}"
                for container in _containers(spec)
                for problem in resource_problems(container.get("resources") or {})
            ),
        ]
    ]


def unsafe_pod(spec: Manifest) -> Iterator[str]:
    """Return what the restricted standard refuses in the pod itself."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is on"
    for volume in spec.get("volumes") or []:
        for kind in set(volume) - {"name"} - SAFE_VOLUMES:
            yield f"volume {volume['name']} is a {kind}"


def unsafe_container(container: Manifest, spec: Manifest) -> Iterator[str]:
    """Return what the restricted standard, or our read-only root file system, refuses in one container."""
    name = container["name"]
    own: Manifest = container.get("securityContext") or {}
    pod: Manifest = spec.get("securityContext") or {}
    if own.get("privileged"):
        yield f"{name} is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} does not set allowPrivilegeEscalation: false"
    if own.get("readOnlyRootFilesystem") is not True:
        yield f"{name} does not set readOnlyRootFilesystem: true"
    if (own.get("capabilities") or {}).get("drop") != ["ALL"]:
        yield f"{name} does not drop all capabilities"
    if (own.get("capabilities") or {}).get("add"):
        yield f"{name} adds capabilities"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"{name} does not set runAsNonRoot: true"
    if not own.get("runAsUser", pod.get("runAsUser")):
        yield f"{name} sets no uid, or uid 0"
    if (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in SAFE_SECCOMP:
        yield f"{name} has no seccompProfile"


def repeated(container: Manifest, spec: Manifest) -> Iterator[str]:
    """Return duplicate variables, volumes and mount points, and mounts without a volume."""
    name = container["name"]
    volumes = [volume["name"] for volume in spec.get("volumes") or []]
    mounts = container.get("volumeMounts") or []
    for what, names in (
        ("variable", [variable["name"] for variable in container.get("env") or []]),
        ("envFrom source", [str(source) for source in container.get("envFrom") or []]),
        ("volume", volumes),
        ("mount path", [mount["mountPath"] for mount in mounts]),
    ):
        for repeat in [key for key, count in Counter(names).items() if count > 1]:
            yield f"{name}: {what} {repeat} is set twice"
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"{name}: mount of {mount['name']}, which is not a volume"


def resource_problems(resources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Return quantities that do not parse, and requests above their limits."""
    parsed: dict[tuple[str, str], Any] = {}
    for kind, amounts in resources.items():
        for resource, amount in amounts.items():
            try:
                parsed[kind, resource] = parse_quantity(amount)
            except ValueError:
                yield f"{kind}.{resource}: {amount!r} is not a quantity"
    for (kind, resource), amount in parsed.items():
        limit = parsed.get(("limits", resource))
        if kind == "requests" and limit is not None and amount > limit:
            yield f"requests.{resource} is above limits.{resource}"


def _containers(spec: Manifest) -> list[Manifest]:
    return [*(spec.get("initContainers") or []), *spec["containers"]]
