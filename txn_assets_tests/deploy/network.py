"""Which connections the network policies of the values allow, decided the way a cluster does.

`test_network.py` says which connections must be open or closed. Pods are identified by the labels that the chart and
the run launcher give them; `test_chart.py` compares those with a rendered chart. The rules (kubernetes.io, "Network
Policies"): a pod that no policy selects is open; one allowing policy is enough; a connection needs its source's egress
and its target's ingress.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from txn_assets_tests.deploy.manifests import Manifest

type Labels = Mapping[str, str]
type Party = Labels | str
"""A pod by its labels, or an address outside the cluster's pods."""

_NAMESPACE = "kubernetes.io/metadata.name"
"""Label of a namespace. A pod that has it here runs in that namespace, the others run in ours."""

_CHART = {"app.kubernetes.io/name": "dagster", "app.kubernetes.io/instance": "dagster"}
PODS: dict[str, Labels] = {
    "webserver": {**_CHART, "component": "dagster-webserver"},
    "daemon": {**_CHART, "component": "dagster-daemon", "deployment": "daemon"},
    "code server": {
        **_CHART,
        "app.kubernetes.io/name": "dagster-user-deployments",
        "component": "user-deployments",
        "deployment": "txn-assets",
    },
    "run": {**_CHART, "app.kubernetes.io/component": "run_worker"},
    "proxy": {**_CHART, "app.kubernetes.io/name": "dagster-oauth2-proxy"},
    "uploads": {"app.kubernetes.io/name": "txn-uploads", "app.kubernetes.io/instance": "dagster"},
    "metrics": {"app.kubernetes.io/name": "txn-metrics", "app.kubernetes.io/instance": "dagster"},
    "prometheus": {"kubernetes.io/metadata.name": "monitoring"},
    "another tenant": {"app": "the pipeline that this one replaces"},
}


def allowed(policies: Sequence[Manifest], source: Party, target: Party, port: int, protocol: str = "TCP") -> bool:
    """Return whether a connection from `source` to `port` of `target` is allowed."""
    entrance = (protocol, port)
    return _direction(policies, source, target, entrance, "Egress") and _direction(
        policies, target, source, entrance, "Ingress"
    )


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Return whether a label selector matches a pod with these labels. An empty one matches every pod."""
    for expression in selector.get("matchExpressions") or []:
        inside = labels.get(expression["key"]) in expression["values"]
        if inside != (expression["operator"] == "In"):
            return False
    return bool((selector.get("matchLabels") or {}).items() <= labels.items())


def _direction(
    policies: Sequence[Manifest], subject: Party, peer: Party, entrance: tuple[str, int], direction: str
) -> bool:
    """Return whether the policies that select `subject` allow it to connect to `peer`, or `peer` to connect to it."""
    if isinstance(subject, str):
        return True
    own = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], subject)
    ]
    return not own or any(_passes(rule, peer, entrance, direction) for rule in _rules(own, direction))


def _rules(specs: Sequence[Manifest], direction: str) -> Iterator[Manifest]:
    for spec in specs:
        yield from spec.get(direction.lower()) or []


def _passes(rule: Manifest, peer: Party, entrance: tuple[str, int], direction: str) -> bool:
    ports = rule.get("ports")
    peers = rule.get("to" if direction == "Egress" else "from")
    port_fits = not ports or any((entry.get("protocol", "TCP"), entry["port"]) == entrance for entry in ports)
    return port_fits and (not peers or any(_is(entry, peer) for entry in peers))


def _is(entry: Manifest, peer: Party) -> bool:
    if isinstance(peer, str):
        block = entry.get("ipBlock")
        return block is not None and ipaddress.ip_address(peer) in ipaddress.ip_network(block["cidr"])
    if "namespaceSelector" in entry:
        return _NAMESPACE in peer and selects(entry["namespaceSelector"], peer)
    return "podSelector" in entry and _NAMESPACE not in peer and selects(entry["podSelector"], peer)
