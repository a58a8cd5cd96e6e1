"""Start runs automatically: the landing-zone sensor, the daily sweep and the upkeep schedules.

This module lists objects, requests runs and reports what it found. `arrival.py` decides which versions are new. See
docs/operations.md.
"""

import datetime as dt
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from txn_assets.defs.failures import without_values
from txn_assets.defs.jobs import LOAD, REMOVE_OLD, WATCH
from txn_assets.defs.landing_events import LandingEvent, Tally, changes, verdict
from txn_assets.defs.names import prefixed
from txn_assets.defs.partitions import landed_files_of, partitions_name
from txn_assets.defs.services import read_ledgers
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import (
    FEW_FILES,
    RELOAD_TAG,
    RUN_KEY_TAG,
    SENSOR,
    Cursor,
    LeftAlone,
    batches,
    left_alone,
    list_left_alone,
    missing_keys,
    missing_versions,
    names_in_runs,
    outdated_versions,
    run_key,
    select,
)
from txn_assets.files.ledger import FileVersion
from txn_assets.files.retention import landed_at
from txn_assets.sections.operation import Orchestration
from txn_assets.stores.services import AllServices

VERSIONS_PER_TICK = 500
"""Maximum number of versions per tick, to keep ticks within their timeout and the run queue readable."""

SHOWN_FILES = 20
"""Maximum number of ignored objects to list by name."""

LISTING_SECONDS = 30.0
"""Seconds after which a tick stops listing, because Dagster gives it one minute. The next tick resumes there."""


def make_sensor(feed: Feed, orchestration: Orchestration) -> dg.SensorDefinition:
    """Return the sensor of the landing zone of `feed`."""

    @dg.sensor(
        name=prefixed(feed, SENSOR),
        job_name=prefixed(feed, LOAD),
        minimum_interval_seconds=orchestration.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests runs for new and overwritten objects in the landing zone.",
    )
    @without_values
    def new_landed_files(
        context: dg.SensorEvaluationContext, services: dg.ResourceParam[AllServices]
    ) -> dg.SensorResult:
        """Request each new version once, oldest first, on its own or with other small files in one run."""
        own = services.of(feed)
        landing = own.landing
        cursor = Cursor.parse(context.cursor)
        ledgers = read_ledgers(own) if cursor.is_lost else None
        now = dt.datetime.now(dt.UTC)
        # After an outage, names older than today's may be new.
        first_new = landing.first_new(min(now, landed_at(cursor.mark)))
        cursor = cursor.begin(now=int(now.timestamp() * 1_000_000), first_new=first_new)
        end = time.monotonic() + LISTING_SECONDS
        tally = Tally.of(feed, now, cursor.start)
        selection = select(
            tally.count(landing.versions(start=cursor.start)),
            cursor,
            limit=VERSIONS_PER_TICK,
            is_held=lambda version: ledgers is not None and not ledgers.missing_in(version),
            out_of_time=lambda: time.monotonic() > end,
        )
        ignored = _report(context.log, selection.left_alone)
        looked_at = f"{selection.looked_at} objects in {landing.address}"
        if selection.cursor.after:
            looked_at += f" up to {selection.cursor.after!r}; the next tick continues there"
        events: list[LandingEvent] = []
        # A listing in several ticks is left to the job that looks for stuck files every hour.
        if tally.is_complete and not cursor.after:
            events = changes(context.instance, feed, tally, waiting=selection.waiting)
            if feed.expected:
                events += verdict(context.instance, feed, landing, tally)
        if not selection.requested:
            message = f"No new files among {looked_at}, and none waiting. {ignored}".strip()
            return dg.SensorResult(skip_reason=message, cursor=selection.cursor.text(), asset_events=events)
        context.log.info(
            f"{len(selection.requested)} new files among {looked_at}; {selection.waiting} more are waiting."
        )
        keys, added = _register(context.instance, feed, selection.requested)
        requested = _without_run(context.instance, selection.requested)
        return dg.SensorResult(
            run_requests=[_request(feed, batch) for batch in batches(requested, keys)],
            dynamic_partitions_requests=[landed_files_of(feed).build_add_request(added)] if added else [],
            cursor=selection.cursor.text(),
            asset_events=events,
        )

    return new_landed_files


def _without_run(instance: dg.DagsterInstance, versions: Sequence[FileVersion]) -> list[FileVersion]:
    """Return the `versions` that the upload service has not requested yet.

    Dagster skips the request of a run whose key exists, but the key of a batch is not that of its files.
    """
    if len(versions) <= FEW_FILES:
        return list(versions)
    keys = [str(version) for version in versions]
    runs = instance.get_runs(filters=dg.RunsFilter(tags={RUN_KEY_TAG: keys}))
    known = {run.tags[RUN_KEY_TAG] for run in runs}
    return [version for version in versions if str(version) not in known]


def make_daily_sweep(feed: Feed, orchestration: Orchestration) -> dg.ScheduleDefinition:
    """Return the schedule that requests landed versions of `feed` that a ledger lacks or has under other rules."""

    @dg.schedule(
        name=prefixed(feed, "daily_sweep"),
        job_name=prefixed(feed, LOAD),
        cron_schedule=orchestration.schedule,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Requests every landed version that one of the three stores does not hold, and some of those that "
        "were loaded under other rules or another key.",
    )
    @without_values
    def daily_sweep(
        context: dg.ScheduleEvaluationContext, services: dg.ResourceParam[AllServices]
    ) -> list[dg.RunRequest] | dg.SkipReason:
        own = services.of(feed)
        landing = own.landing
        objects = [(version, left_alone(version)) for version in landing.versions()]
        landed = [version for version, reason in objects if reason is None]
        ignored = _report(context.log, [reason for _, reason in objects if reason])
        queued = _queued(context.instance, feed)
        ledgers = read_ledgers(own)
        missing = [v for v in missing_versions(landed, ledgers) if v.name not in queued]
        key_id = own.run_files.hasher.key_id
        outdated = outdated_versions(landed, ledgers, rules_id=feed.rules_id, key_id=key_id)
        outdated = [version for version in outdated if version.name not in queued]
        reload = {RELOAD_TAG: f"{feed.rules_id}/{key_id}"}
        # Files that fail under the new rules would otherwise be requested every night, and keep the others waiting.
        tried = _names_in(context.instance, feed, tags=reload)
        outdated.sort(key=lambda version: version.name in tried)
        again = outdated[: orchestration.reload_limit]
        again_now = (
            f"{len(outdated)} files were loaded under other rules or another key; {len(again)} are loaded again now."
        )
        if not missing and not again:
            return dg.SkipReason(
                f"All {len(landed)} files in {landing.address} are in the three stores, or among {len(queued)} queued. "
                f"{again_now if outdated else ''} {ignored}".strip()
            )
        if again:
            context.log.info(again_now)
        keys, added = _register(context.instance, feed, missing + again)
        context.instance.add_dynamic_partitions(partitions_name(feed), added)
        at = context.scheduled_execution_time.isoformat()
        return [
            *(_request(feed, batch, sweep=at) for batch in batches(missing, keys)),
            *(_request(feed, batch, sweep=at, tags=reload) for batch in batches(again, keys)),
        ]

    return daily_sweep


def _report(log: logging.Logger, objects: Sequence[LeftAlone]) -> str:
    """Log which objects are ignored and return the message."""
    sentence = list_left_alone(objects, shown=SHOWN_FILES)
    if sentence:
        log.log(logging.INFO if all(one.is_meant for one in objects) else logging.WARNING, sentence)
    return sentence


def upkeep_schedules(feed: Feed) -> list[dg.ScheduleDefinition]:
    """Return the schedules that look for stuck files of `feed` every hour and remove its old data every day."""
    running = dg.DefaultScheduleStatus.RUNNING
    return [
        dg.ScheduleDefinition(
            job_name=prefixed(feed, WATCH),
            cron_schedule="0 * * * *",
            default_status=running,
            description="Looks for landed files that are missing from a store, and for files that should have landed.",
        ),
        dg.ScheduleDefinition(
            job_name=prefixed(feed, REMOVE_OLD),
            cron_schedule="30 3 * * *",
            default_status=running,
            description="Removes old partition keys, staged values and, if so configured, landed objects.",
        ),
    ]


def _queued(instance: dg.DagsterInstance, feed: Feed) -> set[str]:
    """Return the files of queued runs, which load the newest version when they start."""
    return _names_in(instance, feed, statuses=[dg.DagsterRunStatus.QUEUED])


def _names_in(instance: dg.DagsterInstance, feed: Feed, **runs: Any) -> set[str]:  # noqa: ANN401 - passed to RunsFilter
    """Return the files of the `runs` that load files of `feed`."""
    found = instance.get_runs(filters=dg.RunsFilter(job_name=prefixed(feed, LOAD), **runs))
    keys = list(instance.get_dynamic_partitions(partitions_name(feed)))
    return names_in_runs([run.tags for run in found], keys)


def _register(instance: dg.DagsterInstance, feed: Feed, versions: Sequence[FileVersion]) -> tuple[list[str], list[str]]:
    """Return all partition keys in order, with those of `versions` appended, and the list of added keys."""
    keys = list(instance.get_dynamic_partitions(partitions_name(feed)))
    added = missing_keys(versions, keys)
    return keys + added, added


def _request(
    feed: Feed, batch: Sequence[FileVersion], *, sweep: str = "", tags: Mapping[str, str] | None = None
) -> dg.RunRequest:
    # The sweep requests a version again if its run failed, so its runs need their own run keys.
    suffix = f"#{sweep}" if sweep else ""
    return dg.RunRequest(
        run_key=run_key(batch, suffix),
        partition_key=batch[0].name if len(batch) == 1 else None,
        tags={**feed.run_tags(batch), **(tags or {})},
    )
