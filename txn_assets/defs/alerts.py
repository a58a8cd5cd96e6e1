"""Tell people what went wrong: one sensor for each receiver collects what happened since its cursor into one message.

The cursor moves only when the receiver took the message, so a receiver that is down loses nothing, and another receiver
does not wait for it. `watch/` decides what is news, writes the message, and delivers it. See docs/how-to/alerts.md.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster import DagsterEventType as EventType

from txn_assets.config import PipelineConfig
from txn_assets.defs.failures import is_failed_check, without_values
from txn_assets.defs.jobs import LOAD
from txn_assets.defs.names import prefixed
from txn_assets.defs.partitions import partitions_name
from txn_assets.environment import ALERT_WEBHOOK, SMTP_PASSWORD, ConfigError, alert_webhook, smtp_password, txn_target
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import KEY_TAG, RANGE_TAGS, names_in_runs
from txn_assets.watch.delivery import DeliveryError, Mail, Webhook
from txn_assets.watch.messages import Message, Writer
from txn_assets.watch.problems import CheckResult, EndedRun, State

TICK_SECONDS = 30

RUNS_PER_TICK = 500
"""Maximum number of ended runs of each kind per tick, because the checks of each are read."""

CHECKS_PER_TICK = 10_000
"""Maximum number of evaluations of checks per tick, of which only those without a run are kept."""

SETTLE_SECONDS = 2.0
"""Age of an event before it counts: events get their ids before they are committed, so a smaller id may come later."""

FIRST_LOOK_SECONDS = 24 * 3600.0
"""How far back to look without a cursor: after its loss, some news is told twice."""

WILL_RETRY_TAG = "dagster/will_retry"

WARNINGS = ("no_stuck_files",)
"""Checks of severity WARN that count like those of severity ERROR."""

COUNTS = ("stuck_files",)
"""Metadata of checks to show; a change is told again. That of a check of the user's own may hold values of rows."""


def define_alerts(config: PipelineConfig) -> dg.Definitions:
    """Return a sensor for each receiver in the environment and in `config`; none by default.

    Raises:
        ConfigError: the address or the password of a receiver cannot be used.
    """
    feeds = feeds_of(config)
    deployment = f"txn_assets on {config.data_lake.gcs_bucket}"
    url = config.alerts.dashboard_url
    writer = Writer(deployment, str(url) if url else None)
    return dg.Definitions(
        sensors=[_make_sensor(one, writer, config.alerts.heartbeat, feeds) for one in _receivers(config)]
    )


def _receivers(config: PipelineConfig) -> list[Webhook | Mail]:
    receivers: list[Webhook | Mail] = []
    is_local = txn_target() == "local"
    if url := alert_webhook():
        schemes = ("https://", "http://") if is_local else ("https://",)
        if not url.startswith(schemes):
            message = f"{ALERT_WEBHOOK} is not an address that begins with {schemes[0]}. Set it to that of the webhook."
            raise ConfigError(message)
        receivers.append(Webhook(url))
    if smtp := config.alerts.smtp:
        password = smtp_password()
        if smtp.user and not password:
            message = f"alerts.smtp.user is set, but {SMTP_PASSWORD} is not. Set it to the password of {smtp.user}."
            raise ConfigError(message)
        receivers.append(
            Mail(
                host=smtp.host,
                port=smtp.port,
                sender=smtp.sender,
                recipients=smtp.recipients,
                user=smtp.user,
                password=password,
                needs_tls=not is_local,
            )
        )
    return receivers


def _make_sensor(
    receiver: Webhook | Mail, writer: Writer, heartbeat: str | None, feeds: Sequence[Feed]
) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"alerts_by_{receiver.name}",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people about failed runs and checks, stuck files, and what has recovered.",
    )
    @without_values
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        state = State.parse(context.cursor)
        now = time.time()
        if now < state.not_before:
            return dg.SkipReason(
                f"{state.tries} deliveries failed; the next try is {state.not_before - now:.0f} s away."
            )
        runs, after = _ended_runs(context.instance, feeds, state.after, now)
        seen, news = state.seen(runs, after=after, now=now)
        told = []
        try:
            if news:
                _send(context, receiver, writer.news(news))
                told.append(f"{len(news.new)} new problems and {len(news.recovered)} that are over")
            state = seen.delivered()
            if state.is_heartbeat_due(heartbeat, now):
                _send(context, receiver, writer.heartbeat(state))
                told.append("the heartbeat")
                state = state.after_heartbeat(now)
        except DeliveryError as error:
            context.log.error(str(error))  # noqa: TRY400 - a traceback would add nothing
            state = state.undelivered(now)
            context.update_cursor(state.text())
            return dg.SkipReason(f"{error} The next try tells the same.")
        context.update_cursor(state.text())
        return dg.SkipReason(f"Delivered {' and '.join(told)}." if told else f"No news in {len(runs)} ended runs.")

    return alerts


def _send(context: dg.SensorEvaluationContext, receiver: Webhook | Mail, message: Message) -> None:
    if refused := receiver.send(message):
        context.log.warning(refused)


def _ended_runs(
    instance: dg.DagsterInstance, feeds: Sequence[Feed], after: int | None, now: float
) -> tuple[list[EndedRun], int | None]:
    """Return what ended after the event `after`, in order, and the id of the last event among them."""
    ended: dict[int, str] = {}
    checked: dict[int, EndedRun] = {}
    bounds: list[int] = []
    window: dict[str, Any] = {"after_timestamp": now - FIRST_LOOK_SECONDS} if after is None else {}
    for kind in (EventType.RUN_FAILURE, EventType.RUN_SUCCESS):
        changes = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=after, **window)
        records = instance.fetch_run_status_changes(changes, limit=RUNS_PER_TICK, ascending=True).records
        bounds += _bounds(records, RUNS_PER_TICK, now)
        ended |= {one.storage_id: one.run_id for one in records}
    # A sensor may evaluate a check without a run, as that of the landing zone does with `file_expected`.
    evaluations = dg.EventRecordsFilter(EventType.ASSET_CHECK_EVALUATION, after_cursor=after, **window)
    records = instance.event_log_storage.get_event_records(evaluations, limit=CHECKS_PER_TICK, ascending=True)
    bounds += _bounds(records, CHECKS_PER_TICK, now)
    for one in records:
        event = one.event_log_entry.dagster_event
        if not one.run_id and event:
            result = _result(event.asset_check_evaluation_data)
            checked[one.storage_id] = EndedRun(run_id="", where="", succeeded=True, checks=(result,))
    bound = min(bounds, default=None)
    ids = sorted(one for one in (*ended, *checked) if bound is None or one <= bound)
    wanted = [ended[one] for one in ids if one in ended]
    found = instance.get_run_records(dg.RunsFilter(run_ids=wanted)) if wanted else []
    runs = {one.dagster_run.run_id: one.dagster_run for one in found}
    final = {name: run for name, run in runs.items() if run.is_success or run.tags.get(WILL_RETRY_TAG) != "true"}
    keys = {feed: _keys(instance, feed, final.values()) for feed in feeds}
    told = [
        checked[one] if one in checked else _ended_run(instance, final[ended[one]], keys)
        for one in ids
        if one in checked or ended[one] in final
    ]
    return told, ids[-1] if ids else after


def _bounds(records: Sequence[dg.EventLogRecord], limit: int, now: float) -> list[int]:
    """Return the ids up to which `records` are complete; none if they all are."""
    full = [records[-1].storage_id] if len(records) == limit else []
    unsettled = (one.storage_id - 1 for one in records if one.timestamp > now - SETTLE_SECONDS)
    return full + [first for first in (next(unsettled, None),) if first is not None]


def _keys(instance: dg.DagsterInstance, feed: Feed, runs: Iterable[dg.DagsterRun]) -> Sequence[str]:
    """Return the partition keys of `feed`, if a run names only the first and the last of its files."""
    is_needed = any(RANGE_TAGS[0] in run.tags for run in runs)
    return instance.get_dynamic_partitions(partitions_name(feed)) if is_needed else []


def _ended_run(instance: dg.DagsterInstance, run: dg.DagsterRun, keys: Mapping[Feed, Sequence[str]]) -> EndedRun:
    kinds = {EventType.ASSET_CHECK_EVALUATION, EventType.STEP_FAILURE}
    records = instance.get_records_for_run(run.run_id, of_type=kinds).records
    events = [event for one in records if (event := one.event_log_entry.dagster_event)]
    steps = (event for event in events if event.event_type is EventType.STEP_FAILURE)
    checks = (event for event in events if event.event_type is EventType.ASSET_CHECK_EVALUATION)
    feed = _feed_of(run, list(keys))
    return EndedRun(
        run_id=run.run_id,
        where=feed.name if feed else _job_of(run),
        succeeded=run.is_success,
        files=_files_of(run, keys[feed]) if feed else (),
        steps=tuple(sorted({str(event.step_key) for event in steps if not is_failed_check(event)})),
        checks=tuple(_result(event.asset_check_evaluation_data) for event in checks),
    )


def _feed_of(run: dg.DagsterRun, feeds: Sequence[Feed]) -> Feed | None:
    """Return the feed whose files `run` loads; None if it loads none. A run from the UI has no job of the feed."""
    if not {KEY_TAG, *RANGE_TAGS} & run.tags.keys():
        return None
    paths = [key.path for key in run.asset_selection or ()]
    prefixes = {path[0] if len(path) > 1 else "" for path in paths}
    return next((one for one in feeds if run.job_name == prefixed(one, LOAD) or one.prefix in prefixes), None)


def _files_of(run: dg.DagsterRun, keys: Sequence[str]) -> tuple[str, ...]:
    if KEY_TAG in run.tags:
        return (run.tags[KEY_TAG],)
    return tuple(sorted(names_in_runs([run.tags], keys)))


def _job_of(run: dg.DagsterRun) -> str:
    # Dagster's own job for assets that were selected by hand has a name that says nothing.
    keys = sorted(key.to_user_string() for key in run.asset_selection or ())
    return f"assets {', '.join(keys)}" if run.job_name.startswith("__ASSET_JOB") and keys else run.job_name


def _result(evaluation: dg.AssetCheckEvaluation) -> CheckResult:
    is_told = evaluation.severity is dg.AssetCheckSeverity.ERROR or evaluation.check_name in WARNINGS
    files = evaluation.metadata.get("files")
    counts = {name: evaluation.metadata.get(name) for name in COUNTS}
    return CheckResult(
        name=f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}",
        is_wrong=is_told and not evaluation.passed,
        files=tuple(files.data) if isinstance(files, dg.JsonMetadataValue) and isinstance(files.data, dict) else (),
        counts={name: one.value for name, one in counts.items() if isinstance(one, dg.IntMetadataValue) and one.value},
    )
