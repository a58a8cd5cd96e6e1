"""Build the summary that `txn run` prints: the outcome, row counts per store, and commands to look at the rows.

This module only formats what a run reported; `run.py` executes the run.
"""

import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from txn_assets.config import PipelineConfig
from txn_assets.defs.failures import is_failed_check
from txn_assets.defs.io_managers.sink import CHANGE_OF
from txn_assets.defs.names import asset_key, without_prefix
from txn_assets.environment import txn_target
from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import Action
from txn_assets.stores.landed_names import object_name
from txn_assets.stores.registry import STORES

_ROWS_SHOW_IT = {"no_rejected_rows"}
"""Checks that would repeat what the summary already says about rejected rows."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of the file `name` of `feed` in a run of `txn run`.

    Attributes:
        failures: a sentence for each failed check of severity ERROR and each failed step.
        counts: what `validated_<feed>` recorded; empty if the run did not get that far.
        erased: rows that were left out because of an erasure request.
        stores: rows that each store was found to have, and what the load did; None for what is not known.
        changes: what the new version changed in the stores that compare it.
        stages: seconds of each stage.
    """

    name: str
    config: PipelineConfig
    feed: Feed
    run_id: str
    failures: tuple[str, ...]
    warnings: tuple[str, ...]
    counts: Mapping[str, Any]
    erased: int
    stores: Mapping[str, tuple[int | None, str | None]]
    changes: tuple[str, ...]
    stages: Mapping[str, float]
    seconds: float

    @property
    def outcome(self) -> str:
        """`failed`, or what the loads did: `loaded`, `unchanged` or `superseded`."""
        if self.failures or any(rows is None for rows, _ in self.stores.values()):
            return "failed"
        actions = {action for _, action in self.stores.values()}
        return next((action.value for action in Action if action.value in actions), "failed")

    @property
    def valid(self) -> int:
        """Number of rows to load: what is neither rejected nor erased."""
        return int(self.counts.get("records", 0) - self.counts.get("rejected", 0)) - self.erased

    def text(self) -> str:
        """Return the summary for people: the outcome, then rows, stores, seconds and commands."""
        failures = [f"FAILED  {failure}" for failure in self.failures]
        lines = ["", *(failures or [f"{self.outcome.upper()}  {self._in_words()}"]), "", self.name]
        if self.counts:
            lines.append(f"  rows in   {self.counts['records']:>12,}")
            lines.append(f"  valid     {self.valid:>12,}")
            lines.append(f"  rejected  {self.counts['rejected']:>12,}")
            lines += [f"              {row}" for row in self.counts["rejected_rows"]]
            lines += [f"  erased    {self.erased:>12,}"] if self.erased else []
        lines += [f"  warning     {warning}" for warning in self.warnings]
        for label, (rows, action) in self.stores.items():
            held = f"{'not loaded':>12}" if rows is None else f"{rows:>12,}"
            lines.append(f"  {label:<10}{held}{f'  {action}' if action else ''}")
        lines += [f"  replaces    {change}" for change in self.changes]
        lines += ["", "  seconds per stage"]
        lines += [f"    {stage:<26} {seconds:8.2f}" for stage, seconds in self.stages.items()]
        rate = self.counts.get("records", 0) / self.seconds
        lines.append(f"    {'total, with Dagster startup':<26} {self.seconds:8.2f}   {rate:,.0f} rows per second")
        is_everywhere = all(rows is not None for rows, _ in self.stores.values())
        return "\n".join([*lines, "", *(_commands(self.name, self.config, self.feed) if is_everywhere else []), ""])

    def _in_words(self) -> str:
        labels = list(self.stores)
        where = f"{', '.join(labels[:-1])} and {labels[-1]}"
        rejected = self.counts.get("rejected", 0)
        valid, records = self.valid, self.counts.get("records", 0)
        if self.outcome == Action.STAND_BACK.value:
            return f"{self.name}: the stores hold a newer version."
        quarantine = f"; {rejected:,} rejected, see {self.counts['quarantine']}" if rejected else ""
        return f"{self.name}: {valid:,} of {records:,} rows are in {where}{quarantine}"

    def as_json(self) -> dict[str, Any]:
        """Return the summary for programs."""
        return {
            "outcome": self.outcome,
            "name": self.name,
            "feed": self.feed.name,
            "run_id": self.run_id,
            "rows": self.counts.get("records"),
            "valid": self.valid if self.counts else None,
            "rejected": self.counts.get("rejected"),
            "erased": self.erased,
            "reasons": self.counts.get("reasons", {}),
            "quarantine": self.counts.get("quarantine") if self.counts.get("rejected") else None,
            "stores": {label: {"rows": rows, "action": action} for label, (rows, action) in self.stores.items()},
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "seconds": {**self.stages, "total": round(self.seconds, 3)},
        }


def summarize(
    name: str, results: Sequence[dg.JobExecutionResult], config: PipelineConfig, feed: Feed, *, seconds: float
) -> Summary:
    """Return the summary of the file `name` of `feed`, which the first of `results` loaded."""
    result = results[0]
    checks = result.get_asset_check_evaluations()
    stages = _stage_metadata(result)
    read_back: dict[str, Any] = {
        check.asset_key.to_python_identifier(): check.metadata["rows_read_back"].value
        for check in checks
        if "rows_read_back" in check.metadata
    }
    sinks = {entry.label: _stage(feed, entry.asset(feed)) for entry in STORES}
    validated = stages.get(_stage(feed, f"validated_{feed.name}"), {})
    return Summary(
        name=name,
        config=config,
        feed=feed,
        run_id=result.run_id,
        failures=tuple(failure for one in results for failure in find_failures(one)),
        warnings=tuple(_warnings(checks, name)),
        counts=validated,
        erased=(stages.get(_stage(feed, f"hashed_{feed.name}")) or validated).get("erased", 0),
        stores={
            label: (read_back.get(sink), stages[sink]["action"] if sink in stages else None)
            for label, sink in sinks.items()
        },
        changes=tuple(change for change in map(_change, stages.values()) if change),
        stages={without_prefix(feed, stage): metadata["seconds"] for stage, metadata in stages.items()},
        seconds=seconds,
    )


def _stage(feed: Feed, asset: str) -> str:
    return asset_key(feed, asset).to_python_identifier()


def _change(metadata: Mapping[str, Any]) -> str:
    """Return what the new version changed, if the store compared it with the version that it replaced."""
    if "replaces" not in metadata:
        return ""
    rows = f"{metadata['rows_added']:,} added, {metadata['rows_gone']:,} gone, {metadata['rows_changed']:,} changed"
    sums = [
        f"{name.removeprefix(CHANGE_OF)} {change}" for name, change in metadata.items() if name.startswith(CHANGE_OF)
    ]
    return f"{metadata['replaces']}: {', '.join([rows, *sums])}"


def _stage_metadata(result: dg.JobExecutionResult) -> dict[str, dict[str, Any]]:
    """Return what each asset recorded about the file, even if the asset failed because no row was valid."""
    recorded: dict[str, Mapping[str, dg.MetadataValue]] = {}
    for event in result.all_events:
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            recorded[materialization.asset_key.to_python_identifier()] = materialization.metadata
        elif event.is_step_failure and (failure := event.step_failure_data.user_failure_data) and failure.metadata:
            recorded[str(event.step_key)] = failure.metadata
    return {stage: {key: value.value for key, value in metadata.items()} for stage, metadata in recorded.items()}


def find_failures(result: dg.JobExecutionResult) -> Iterator[str]:
    """Yield a sentence for each failed check of severity ERROR and each failed step."""
    for check in result.get_asset_check_evaluations():
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR:
            yield f"{check.asset_key.to_python_identifier()}, {check.check_name}: {check.description}"
    for event in result.all_events:
        if event.is_step_failure and not is_failed_check(event):
            yield f"{event.step_key}: {_sentence(event.step_failure_data)}"
        # If a step failed, the run's failure adds nothing.
        if event.is_job_failure and not any(other.is_step_failure for other in result.all_events):
            yield _root(event.job_failure_data.error) or str(event.message)


def was_interrupted(result: dg.JobExecutionResult) -> bool:
    """Return whether Ctrl-C ended the run, which Dagster reports as a failure."""
    errors = (event.job_failure_data.error for event in result.all_events if event.is_job_failure)
    return any(error and error.cls_name == dg.DagsterExecutionInterruptedError.__name__ for error in errors)


def _warnings(checks: Iterable[dg.AssetCheckEvaluation], name: str) -> Iterator[str]:
    for check in checks:
        if not check.passed and check.severity is dg.AssetCheckSeverity.WARN and check.check_name not in _ROWS_SHOW_IT:
            yield f"{check.check_name}: {(check.description or '').removeprefix(f'{name}: ')}"


def _commands(name: str, config: PipelineConfig, feed: Feed) -> list[str]:
    warehouse = config.data_warehouse
    python, txn = (_relative(Path(sys.executable).with_name(program)) for program in ("python", "txn"))
    rows = "SELECT * FROM {} LIMIT 5".format
    postgres = rows(f"{warehouse.postgres.schema_}.{feed.postgres_table}")
    bigquery = _quote(rows(f"{warehouse.dataset}.{feed.bigquery_table}"))
    bucket = _quote(config.data_lake.gcs_bucket)
    blob = _quote(object_name(feed.path, name, feed.lake_format))
    ask = f"from google.cloud.bigquery import Client; print(*Client().query({bigquery}), sep={_quote(chr(10))})"
    read = f"from google.cloud.storage import Client; b = Client().bucket({bucket}).blob({blob})"
    show = "print(b.download_as_text()[:500])"
    if feed.lake_format == "parquet":
        show = "import io, pandas; print(pandas.read_parquet(io.BytesIO(b.download_as_bytes())).head())"
    lines = ["  look inside"]
    if txn_target() == "local":
        lines.append(f'    eval "$({txn} env)"')
    return [
        *lines,
        f'    psql "$TXN_PG_DSN" -c {shlex.quote(postgres)}',
        f"    {python} -c {shlex.quote(ask)}",
        f"    {python} -c {shlex.quote(f'{read}; {show}')}",
        f"    {txn} dev   # the Dagster UI on http://127.0.0.1:3000",
    ]


def _relative(path: Path) -> str:
    """Return `path`, relative to the working folder if it is inside, quoted for a shell."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _quote(text: str) -> str:
    """Return `text` as a Python literal in double quotes, safe inside single quotes in a shell."""
    return json.dumps(text, ensure_ascii=False)


def _sentence(data: Any) -> str:  # noqa: ANN401 - Dagster does not export the class
    """Return the message of a Failure, or else the message of the root cause."""
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    return _root(data.error)


def _root(error: Any) -> str:  # noqa: ANN401 - Dagster does not export the class
    """Return the first line of the root cause, or '' if there is none."""
    while error and error.cause:
        error = error.cause
    return str(error.message).strip().splitlines()[0] if error else ""
