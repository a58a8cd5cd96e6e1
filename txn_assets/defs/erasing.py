"""The job that does what erasure requests still have to do, and the schedule that starts it every day.

`txn erase` makes the requests, because the value that identifies a person must not enter Dagster. See
docs/how-to/erase-a-person.md.
"""

import dagster as dg

from txn_assets.defs.failures import without_values
from txn_assets.defs.names import prefixed
from txn_assets.errors import UserError
from txn_assets.feeds.feed import Feed
from txn_assets.stores.errors import StoreError
from txn_assets.stores.services import AllServices

ERASE = "erase"
"""Name of the job of the first feed."""

HOUR = "30 4 * * *"
"""When the job looks for work: after the daily sweep."""


def define_erasure(feed: Feed) -> dg.Definitions:
    """Return the job and the schedule of `feed`."""
    job = _make_job(feed)
    return dg.Definitions(jobs=[job], schedules=[_make_schedule(feed, job)])


def _make_job(feed: Feed) -> dg.JobDefinition:
    @dg.op(name=prefixed(feed, "finish_erasure_requests"))
    @without_values
    def finish_erasure_requests(context: dg.OpExecutionContext, services: dg.ResourceParam[AllServices]) -> None:
        """Remove the rows of the persons whose requests are open, or that a restored database has again."""
        from txn_assets.erasure.carrying_out import carry_out, due  # noqa: PLC0415 - imports the clients

        own = services.of(feed)
        removed: dict[str, dict[str, int]] = {}
        left = []
        try:
            for request in due(own):
                done = carry_out(own, request, say=context.log.info)
                removed[request.id] = dict(done.removed)
                left += [] if done.is_complete else [request.id]
        except (StoreError, UserError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        finally:
            context.add_output_metadata({"removed": dg.MetadataValue.json(removed)})
        if left:
            message = f"Rows are left of {', '.join(left)}: `txn erase verify` says where. Run this job again."
            raise dg.Failure(message, allow_retries=False)

    @dg.job(
        name=prefixed(feed, ERASE),
        description="Does what erasure requests still have to do: removes the rows of these persons from every place.",
    )
    def erase() -> None:
        finish_erasure_requests()

    return erase


def _make_schedule(feed: Feed, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=prefixed(feed, "daily_erasure"),
        job=job,
        cron_schedule=HOUR,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Finishes open erasure requests, and erases again what a restored database has again.",
    )
    @without_values
    def daily_erasure(services: dg.ResourceParam[AllServices]) -> dg.RunRequest | dg.SkipReason:
        if not services.of(feed).erasures.read().in_force:
            return dg.SkipReason(f"There is no erasure request for {feed.name}.")
        return dg.RunRequest()

    return daily_erasure
