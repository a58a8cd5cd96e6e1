"""The monitoring files fit what is served: every metric in them exists, and every query can be parsed."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from txn_assets.watch.metrics import (
    SECONDS,
    DagsterFigures,
    Durations,
    LedgerFigures,
    billing_metrics,
    dagster_metrics,
    ledger_metrics,
    source_metrics,
)
from txn_assets_tests.deploy.conftest import ROOT
from txn_assets_tests.deploy.manifests import Manifest, containers
from txn_assets_tests.deploy.values_files import FOLDER, merged, user_env, webserver_service

MONITORING = FOLDER / "monitoring"
NAME = "txn-metrics"


class _Everything(Collector):
    """A platform about which everything is known."""

    def collect(self) -> Iterator[Metric]:
        durations = dict.fromkeys(("validate", "lag"), Durations((1,) * (len(SECONDS) + 1), 5.0))
        yield from ledger_metrics({"transactions": LedgerFigures(loads=1, last_load=1.0, durations=durations)})
        yield from dagster_metrics(
            DagsterFigures(
                files={("transactions", "GCS", "loaded"): 1},
                last_success={("transactions", "GCS"): 1.0},
                stuck={"transactions": 0},
                stuck_checked={"transactions": 1.0},
                runs={"queued": 0},
                marts={"sales_by_product": 1.0},
            )
        )
        yield from billing_metrics({"transactions": 1})
        yield from source_metrics({"ledgers": True}, {"ledgers": 0.1})


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    """Return the names of all samples that both services serve, with their labels."""
    # The upload service counts in the registry of its process.
    import_module("txn_assets.upload.metrics")
    registry = CollectorRegistry()
    registry.register(_Everything())
    text = generate_latest(registry).decode() + generate_latest().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found: dict[str, set[str]] = {}
    for sample in samples:
        found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _rules() -> list[dict[str, Any]]:
    content = yaml.safe_load((MONITORING / "alert-rules.yaml").read_text())
    return [rule for group in content["spec"]["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    return list(json.loads((MONITORING / "dashboard.json").read_text())["panels"])


QUERIES = [rule["expr"] for rule in _rules()] + [target["expr"] for panel in _panels() for target in panel["targets"]]


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    """Return the selectors of metrics in `query`."""
    found = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_query_asks_for_what_is_served(served: dict[str, set[str]], query: str) -> None:
    """A query of a rule or a panel can be parsed, and its metrics and labels exist."""
    found = selectors(query)
    assert found
    for selector in found:
        assert selector.name in served, selector.name
        assert {matcher.name for matcher in selector.matchers.matchers} <= served[selector.name]


def test_rules_by_promtool(tmp_path: Path) -> None:
    """Prometheus' own tool accepts the rules, where it is installed."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on the PATH")
    content = yaml.safe_load((MONITORING / "alert-rules.yaml").read_text())
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(content["spec"]))
    subprocess.run([promtool, "check", "rules", str(rules)], check=True)


def test_dashboard_has_whole_panels() -> None:
    """Each panel has a title, a unit and queries, no two share an id or overlap, and all ask the chosen data source."""
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_documented_metrics_are_served(served: dict[str, set[str]]) -> None:
    """The list in docs/how-to/metrics.md has every metric of `txn metrics` with its labels, and no other."""
    text = (ROOT / "docs" / "how-to" / "metrics.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `txn_")]
    listed = {row[1].strip().strip("`"): set(row[2].replace("`", "").replace(",", " ").split()) for row in rows}
    own = {
        name.removesuffix("_bucket").removesuffix("_gcount").removesuffix("_gsum"): labels - {"le"}
        for name, labels in served.items()
        if name.startswith("txn_") and not name.startswith("txn_upload")
    }
    assert listed == own


@pytest.fixture(scope="module")
def objects() -> dict[str, Manifest]:
    """Return the objects of `txn metrics`, by kind."""
    return {
        manifest["kind"]: manifest
        for manifest in merged("prod")["extraManifests"]
        if manifest["metadata"]["name"] == NAME
    }


def test_monitors_find_the_services(objects: dict[str, Manifest]) -> None:
    """Each ServiceMonitor selects one Service and names one of its ports; the Service selects the pods."""
    services = [manifest for manifest in merged("prod")["extraManifests"] if manifest["kind"] == "Service"]
    for monitor in yaml.safe_load_all((MONITORING / "service-monitor.yaml").read_text()):
        labels = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [one for one in services if labels.items() <= one["metadata"].get("labels", {}).items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in ports
    template = objects["Deployment"]["spec"]["template"]
    assert objects["Service"]["spec"]["selector"].items() <= template["metadata"]["labels"].items()


def test_pod_serves_metrics_with_what_it_may_know(objects: dict[str, Manifest]) -> None:
    """The command listens on the port of the Service; its PostgreSQL role only reads."""
    values = merged("prod")
    (container,) = containers(objects["Deployment"])
    (port,) = container["ports"]
    assert container["command"] == [
        *("python", "-m", "txn_assets.cli", "metrics"),
        *(str(port["containerPort"]), "--listen", "0.0.0.0"),  # noqa: S104 - in a pod
    ]
    assert objects["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert container["envFrom"] == [
        {"configMapRef": {"name": user_env(values)}},
        {"secretRef": {"name": "txn-uploads-secrets"}},
    ]
    address = f"http://{webserver_service(values)}:{values['dagsterWebserver']['service']['port']}"
    assert container["env"] == [{"name": "TXN_DAGSTER_URL", "value": address}]
