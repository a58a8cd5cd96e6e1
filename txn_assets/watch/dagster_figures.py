"""Read the figures of the metrics from Dagster's web server, with one question over GraphQL."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import requests

from txn_assets.feeds.feed import Feed
from txn_assets.stores.registry import STORES
from txn_assets.watch.metrics import DagsterFigures

ANSWER_SECONDS = 8.0
"""How long Dagster may take for an answer."""

DAY = 24 * 3600.0

_STATES = {"loaded": "numMaterialized", "failed": "numFailed", "loading": "numMaterializing"}
_ASSET = "{ ... on AssetNode { partitionStats { numMaterialized numFailed numMaterializing numPartitions } "
_LAST = "assetMaterializations(limit: 1) { timestamp }"
_CHECK = """assetCheckExecutions(checkName: "no_stuck_files", limit: 1, assetKey: $%s) {
  evaluation { timestamp metadataEntries { label ... on IntMetadataEntry { intRepr } } }
}"""


class DagsterError(Exception):
    """Raised when Dagster does not answer with what was asked for."""


def read_figures(url: str, feeds: Sequence[Feed], marts: Iterable[str]) -> DagsterFigures:
    """Return the figures of the feeds and marts that the web server at `url` has.

    Raises:
        DagsterError: it answers with an error.
        RequestException: it does not answer.
    """
    keys: dict[str, dict[str, list[str]]] = {}
    asked: list[str] = []
    for number, feed in enumerate(feeds):
        for entry in STORES:
            keys[f"f{number}_{entry.key}"] = _key(feed, entry.asset(feed))
        keys[f"z{number}"] = _key(feed, "landing_zone")
    marts = list(marts)
    keys |= {f"m{number}": {"path": [mart]} for number, mart in enumerate(marts)}
    for name in keys:
        if name[0] == "f":
            asked.append(f"{name}: assetNodeOrError(assetKey: ${name}) {_ASSET} {_LAST} }} }}")
        elif name[0] == "m":
            asked.append(f"{name}: assetNodeOrError(assetKey: ${name}) {{ ... on AssetNode {{ {_LAST} }} }}")
        else:
            asked.append(f"{name}: {_CHECK % name}")
    asked += [
        "queued: runsOrError(filter: {statuses: [QUEUED]}) { ... on Runs { count } }",
        "running: runsOrError(filter: {statuses: [STARTING, STARTED, CANCELING]}) { ... on Runs { count } }",
        "failed: runsOrError(filter: {statuses: [FAILURE], updatedAfter: $since}) { ... on Runs { count } }",
    ]
    declared = ", ".join(f"${name}: AssetKeyInput!" for name in keys)
    answer = _ask(
        url, f"query ($since: Float!, {declared}) {{ {' '.join(asked)} }}", {"since": time.time() - DAY, **keys}
    )
    return _figures(answer, feeds, marts)


def _ask(url: str, query: str, variables: dict[str, Any]) -> Mapping[str, Any]:
    content: dict[str, Any] = {"query": query, "variables": variables}
    response = requests.post(f"{url}/graphql", json=content, timeout=ANSWER_SECONDS)
    response.raise_for_status()
    answer = response.json()
    if "errors" in answer or not isinstance(answer.get("data"), dict):
        message = f"Dagster at {url} does not understand the question for metrics"
        raise DagsterError(message)
    data: Mapping[str, Any] = answer["data"]
    return data


def _figures(answer: Mapping[str, Any], feeds: Sequence[Feed], marts: Sequence[str]) -> DagsterFigures:
    files: dict[tuple[str, str, str], int] = {}
    success: dict[tuple[str, str], float] = {}
    stuck: dict[str, int] = {}
    checked: dict[str, float] = {}
    for number, feed in enumerate(feeds):
        for entry in STORES:
            asset = answer[f"f{number}_{entry.key}"]
            if stats := asset.get("partitionStats"):
                counts = {state: stats[name] for state, name in _STATES.items()}
                counts["waiting"] = stats["numPartitions"] - sum(counts.values())
                files |= {(feed.name, entry.label, state): count for state, count in counts.items()}
            if (last := _last(asset)) is not None:
                success[feed.name, entry.label] = last
        found = [one["evaluation"] for one in answer[f"z{number}"] if one["evaluation"]]
        for evaluation in found:
            numbers = {entry["label"]: entry.get("intRepr") for entry in evaluation["metadataEntries"]}
            stuck[feed.name] = int(numbers.get("stuck_files") or 0)
            checked[feed.name] = float(evaluation["timestamp"])
    refreshed = {mart: _last(answer[f"m{number}"]) for number, mart in enumerate(marts)}
    return DagsterFigures(
        files=files,
        last_success=success,
        stuck=stuck,
        stuck_checked=checked,
        runs={state: answer[state]["count"] for state in ("queued", "running", "failed")},
        marts={mart: moment for mart, moment in refreshed.items() if moment is not None},
    )


def _last(asset: Mapping[str, Any]) -> float | None:
    """Return when the asset was last materialized; Dagster says so in milliseconds, as text."""
    found = asset.get("assetMaterializations") or []
    return float(found[0]["timestamp"]) / 1000 if found else None


def _key(feed: Feed, name: str) -> dict[str, list[str]]:
    return {"path": [feed.prefix, name] if feed.prefix else [name]}
