"""Ask Dagster's web server for runs, and for what became of them, through its GraphQL API.

For the upload service this is best effort: without an answer within `ANSWER_SECONDS`, the sensor requests the run, and
the ledgers say how it ended. See docs/upload.md, 'What became of a file'.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import requests

from txn_assets.environment import dagster_url, txn_home, txn_target
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import (
    FEW_FILES,
    GENERATION_TAG,
    LOAD_JOB,
    PARTITIONS,
    RANGE_TAGS,
    RUN_KEY_TAG,
    SENSOR,
    missing_keys,
    run_key,
)
from txn_assets.files.file_status import RunState
from txn_assets.files.ledger import FileVersion
from txn_assets.local import dagster_dev

ANSWER_SECONDS = 2.0
"""Maximum wait for Dagster: an upload is answered without it."""

COMMAND_SECONDS = 30.0
"""Maximum wait of a command, which a person has typed."""

RUNS_PER_QUESTION = 50

MAX_EVENTS = 1000
"""Maximum number of events of a failed run to search for the reason."""

SENSOR_TAG, WILL_RETRY_TAG = "dagster/sensor_name", "dagster/will_retry"

UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")

_RUN = "{ runId status creationTime tags { key value } }"

_ADD_PARTITION = """
mutation ($repository: RepositorySelector!, $partitions: String!, $name: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $partitions, partitionKey: $name) {
    __typename
  }
}"""

_LAUNCH = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) { __typename ... on LaunchRunSuccess { run { runId } } }
}"""

_PLACE = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { repository { name location { name } } } }
}"""

_KEYS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode { repository { name location { name } } partitionKeys }
  }
}"""

_BEFORE_LAUNCH = f"""
query ($key: AssetKeyInput!, $name: String!, $unfinished: RunsFilter!) {{
  assetNodeOrError(assetKey: $key) {{
    ... on AssetNode {{ repository {{ name location {{ name }} }} latestRunForPartition(partition: $name) {_RUN} }}
  }}
  runsOrError(filter: $unfinished, limit: {FEW_FILES}) {{ ... on Runs {{ results {{ runId }} }} }}
}}"""

_REASON = """
query ($run: ID!, $limit: Int!) {
  runOrError(runId: $run) {
    ... on Run {
      eventConnection(limit: $limit) { events { ... on ExecutionStepFailureEvent { failureMetadata { description } } } }
    }
  }
}"""


class DagsterError(Exception):
    """Raised when Dagster does not answer in time, or not with what was asked for."""


def find_dagster(*, seconds: float = ANSWER_SECONDS) -> "DagsterClient | None":
    """Return a client of the web server in TXN_DAGSTER_URL or, on the local target, of the one that runs there.

    Return None without one: then the sensor requests the runs. The client waits `seconds` for each answer.
    """
    url = dagster_url()
    if url is None and txn_target() == "local":
        url = dagster_dev.find(txn_home())
    return DagsterClient(url.rstrip("/"), seconds) if url else None


def find_run(feed: Feed, name: str) -> RunState | None:
    """Return the newest run of a file, with the reason if it failed; None if Dagster does not answer or has none."""
    dagster = find_dagster()
    if dagster is None:
        return None
    try:
        (run,) = dagster.runs_of([(feed, name)])
        return run and dagster.with_reason(run)
    except DagsterError:
        return None


@dataclass(frozen=True)
class DagsterClient:
    """The GraphQL API of the web server at `url`, which has `seconds` for each answer."""

    url: str
    seconds: float = ANSWER_SECONDS

    def has(self, feed: Feed) -> bool:
        """Return whether Dagster answers and has loaded the assets of `feed`."""
        try:
            return "repository" in self._ask(_PLACE, key=_key(feed))["assetNodeOrError"]
        except DagsterError:
            return False

    def request_run(self, feed: Feed, version: FileVersion) -> bool:
        """Request the run that loads `version`, as the sensor would, unless a run is about to; return whether one is.

        The run has the sensor's tags, so the sensor does not request it again. While several runs are unfinished, leave
        the file to the sensor, which puts many small files into one run.

        Raises:
            DagsterError: Dagster does not answer, or refuses the run.
        """
        of_job = {"pipelineName": feed.prefixed(LOAD_JOB), "statuses": list(UNFINISHED)}
        known = self._ask(_BEFORE_LAUNCH, key=_key(feed), name=version.name, unfinished=of_job)
        asset = known["assetNodeOrError"]
        run = self._run(asset["latestRunForPartition"])
        if run and run.is_about(version):
            return True
        if len(known["runsOrError"]["results"]) >= FEW_FILES:
            return False
        place = _place(asset)
        self._add_partition(feed, version.name, place)
        self._launch(feed, [version], {RUN_KEY_TAG: run_key([version]), SENSOR_TAG: feed.prefixed(SENSOR)}, place)
        return True

    def add_partitions(self, feed: Feed, versions: Sequence[FileVersion]) -> list[str]:
        """Register the partitions of `versions` that are missing; return all partition keys of `feed` in order.

        Raises:
            DagsterError: Dagster does not answer.
        """
        asset = self._ask(_KEYS, key=_key(feed))["assetNodeOrError"]
        keys = list(asset["partitionKeys"])
        missing = missing_keys(versions, keys)
        for name in missing:
            self._add_partition(feed, name, _place(asset))
        return keys + missing

    def launch(self, feed: Feed, batch: Sequence[FileVersion], tags: Mapping[str, str]) -> str:
        """Request the run that loads `batch`, whose partitions are registered, and return its id.

        `tags` are added to those that every run of these files has.

        Raises:
            DagsterError: Dagster does not answer, or refuses the run.
        """
        asset = self._ask(_PLACE, key=_key(feed))["assetNodeOrError"]
        return self._launch(feed, batch, tags, _place(asset))

    def _add_partition(self, feed: Feed, name: str, place: Mapping[str, str]) -> None:
        self._ask(_ADD_PARTITION, repository=place, partitions=feed.prefixed(PARTITIONS), name=name)

    def _launch(
        self, feed: Feed, batch: Sequence[FileVersion], tags: Mapping[str, str], place: Mapping[str, str]
    ) -> str:
        all_tags = {**feed.run_tags(batch), **tags}
        execution = {
            "selector": {"jobName": feed.prefixed(LOAD_JOB), **place},
            "runConfigData": {},
            "executionMetadata": {"tags": [{"key": key, "value": tag} for key, tag in all_tags.items()]},
        }
        launched = self._ask(_LAUNCH, run=execution)["launchRun"]
        if launched["__typename"] != "LaunchRunSuccess":
            message = f"Dagster does not start a run for {batch[0]}: {launched['__typename']}"
            raise DagsterError(message)
        return str(launched["run"]["runId"])

    def address(self, run_id: str) -> str:
        """Return the address of the page of a run."""
        return f"{self.url}/runs/{run_id}"

    def runs_of(self, files: Sequence[tuple[Feed, str]]) -> list[RunState | None]:
        """Return the newest run of each file, given by feed and name.

        Raises:
            DagsterError: Dagster does not answer.
        """
        runs: list[RunState | None] = []
        for start in range(0, len(files), RUNS_PER_QUESTION):
            some = files[start : start + RUNS_PER_QUESTION]
            variables: dict[str, Any] = {f"k{n}": _key(feed) for n, (feed, _) in enumerate(some)}
            variables |= {f"n{n}": name for n, (_, name) in enumerate(some)}
            declared = ", ".join(f"${name}: {'AssetKeyInput!' if name[0] == 'k' else 'String!'}" for name in variables)
            asked = " ".join(
                f"f{n}: assetNodeOrError(assetKey: $k{n}) "
                f"{{ ... on AssetNode {{ latestRunForPartition(partition: $n{n}) {_RUN} }} }}"
                for n in range(len(some))
            )
            answer = self._ask(f"query ({declared}) {{ {asked} }}", **variables)
            runs += [self._run(answer[f"f{n}"].get("latestRunForPartition")) for n in range(len(some))]
        return runs

    def with_reason(self, run: RunState) -> RunState:
        """Return `run` with the message of the step that failed, if one did and the run loads only one file.

        The message of a batch names other files. Only messages of the platform's own count: others may quote a row.

        Raises:
            DagsterError: Dagster does not answer.
        """
        if run.status != "FAILURE" or run.is_batch:
            return run
        answer = self._ask(_REASON, run=run.run_id, limit=MAX_EVENTS)
        events = answer["runOrError"].get("eventConnection", {}).get("events", [])
        reasons = (event["failureMetadata"]["description"] for event in events if event.get("failureMetadata"))
        return replace(run, message=next((reason for reason in reasons if reason), ""))

    def _run(self, found: Mapping[str, Any] | None) -> RunState | None:
        if found is None:
            return None
        tags = {tag["key"]: tag["value"] for tag in found["tags"]}
        generation = tags.get(GENERATION_TAG)
        return RunState(
            run_id=found["runId"],
            created_at=dt.datetime.fromtimestamp(found["creationTime"], dt.UTC),
            status=found["status"],
            generation=int(generation) if generation else None,
            is_batch=RANGE_TAGS[0] in tags,
            will_retry=tags.get(WILL_RETRY_TAG) == "true",
            url=self.address(found["runId"]),
        )

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        try:
            response = requests.post(
                f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=self.seconds
            )
            response.raise_for_status()
            data = response.json()["data"]
        except (requests.RequestException, ValueError, KeyError) as error:
            message = f"Dagster at {self.url} does not answer: {type(error).__name__}"
            raise DagsterError(message) from error
        if not data or not all(data.values()):
            message = f"Dagster at {self.url} answers without data"
            raise DagsterError(message)
        return dict(data)


def _key(feed: Feed) -> dict[str, list[str]]:
    return {"path": [feed.prefix, "raw_csv"] if feed.prefix else ["raw_csv"]}


def _place(asset: Mapping[str, Any]) -> dict[str, str]:
    """Return where the definitions of `asset` are, as arguments of a mutation."""
    repository = asset["repository"]
    return {"repositoryName": repository["name"], "repositoryLocationName": repository["location"]["name"]}
