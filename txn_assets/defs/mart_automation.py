"""When the marts follow the files: soon after a load, but not during a refresh nor shortly after the last one."""

import datetime as dt
from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class NotRequestedWithin(dg.AutomationCondition[dg.AssetKey]):
    """The condition that an asset was not requested in the last `minutes`, which Dagster does not have.

    See https://docs.dagster.io/guides/automate/declarative-automation/customizing-automation-conditions.
    """

    minutes: int

    @property
    def name(self) -> str:
        """The name in the UI."""
        return f"not requested in the last {self.minutes} minutes"

    def evaluate(self, context: "dg.AutomationContext[dg.AssetKey]") -> "dg.AutomationResult[dg.AssetKey]":
        """Compare the time of this tick with that of the last tick that requested the asset."""
        requested = context.get_previous_requested_subset(context.key)
        last = context.cursor
        if requested is not None and not requested.is_empty and context.previous_evaluation_time:
            last = context.previous_evaluation_time.isoformat()
        is_over = not last or context.evaluation_time - dt.datetime.fromisoformat(last) >= dt.timedelta(
            minutes=self.minutes
        )
        subset = context.candidate_subset if is_over else context.get_empty_subset()
        return dg.AutomationResult(context, subset, cursor=last)


def follow_files(minutes: int) -> dg.AutomationCondition[dg.AssetKey]:
    """Return the condition of a mart: a store was loaded since the last request, and that is `minutes` ago."""
    loaded = dg.AutomationCondition.any_deps_updated()
    # `since_last_handled` would forget a load between the start of a refresh and its end.
    waiting = loaded.since(dg.AutomationCondition.newly_requested() & ~loaded)
    return waiting & ~dg.AutomationCondition.in_progress() & NotRequestedWithin(minutes)
