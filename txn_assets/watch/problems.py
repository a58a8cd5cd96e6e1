"""Decide what ended runs mean: which problems are new, which are over, and what to remember between two looks.

Pure: `defs/alerts.py` reads the runs from Dagster, `messages.py` puts the result into words. A problem holds names,
counts and codes, never a message of an error, because those of other software may quote a row. See
docs/how-to/alerts.md.
"""

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

STATE_VERSION = 1

MAX_OPEN = 2_000
"""Maximum number of open problems to remember, so that the state stays small. The newest are kept."""

OPEN_DAYS = 30
"""Days after which an open problem is forgotten: its file may be gone for good."""

FIRST_DELAY, MAX_DELAY = 30.0, 900.0
"""Seconds to wait after the second failed delivery, and at most; each wait is twice the one before."""

type Key = tuple[str, str]
"""What a problem is about: a feed and a file, or a job or check and ''."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check in a run.

    Attributes:
        name: asset and check, such as `landing_zone: no_stuck_files`.
        is_wrong: whether it failed in a way that somebody should know.
        files: the files that it names, if it failed.
        counts: counts to show, such as the number of stuck files.
    """

    name: str
    is_wrong: bool
    files: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def cause(self) -> str:
        """What to show of a failed check."""
        counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in self.counts.items())
        return f"check {self.name}" + (f" ({counts})" if counts else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that has ended for good, or the evaluation of a check without a run.

    Attributes:
        run_id: '' without a run.
        where: the feed whose files it loads, or its job.
        files: the files that it loads.
        steps: the steps that failed, except those that only report a failed check.
    """

    run_id: str
    where: str
    succeeded: bool
    files: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong until a later run says otherwise."""

    where: str
    file: str
    cause: str
    run_id: str
    since: float

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.where, self.file


@dataclass(frozen=True, slots=True)
class News:
    """What to tell: problems that are new or have another cause than before, and those that are over."""

    new: tuple[Problem, ...] = ()
    recovered: tuple[Problem, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.recovered)


def findings(run: EndedRun) -> dict[Key, str | None]:
    """Return what `run` says about each file, job or check: the cause of a problem, or None if all is well."""
    wrong = [check for check in run.checks if check.is_wrong]
    crash = f"at step {', '.join(run.steps)}" if run.steps else "without a failed step"
    if not run.files:
        # If a check stopped the run, the check is the problem.
        of_run = None if run.succeeded or (wrong and not run.steps) else crash
        return {(run.where, ""): of_run} | {
            (f"check {check.name}", ""): check.cause if check.is_wrong else None for check in run.checks
        }
    causes: dict[str, list[str]] = defaultdict(list)
    for check in wrong:
        for file in check.files or run.files:
            causes[file].append(check.cause)
    if run.steps or (not run.succeeded and not wrong):
        for file in run.files:
            causes[file] = causes[file] or [crash]
    return {
        (run.where, file): ", ".join(sorted(set(causes[file]))) or None for file in dict.fromkeys([*run.files, *causes])
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What to remember for one receiver between two looks.

    Attributes:
        after: id of the newest event that was told; None before the first.
        problems: what is wrong, by what it is about.
        succeeded, failed: number of runs since the last heartbeat.
        beat: when the last heartbeat was delivered; 0 for never.
        tries: number of failed deliveries since the last one that worked.
        not_before: when to try again.
    """

    after: int | None = None
    problems: Mapping[Key, Problem] = field(default_factory=dict)
    succeeded: int = 0
    failed: int = 0
    beat: float = 0.0
    tries: int = 0
    not_before: float = 0.0

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Return the state in `text`, or a new one if it is missing or damaged: then some news may be told twice."""
        try:
            content = json.loads(text or "")
            if content.pop("version") != STATE_VERSION:
                return cls()
            problems = [Problem(*one) for one in content.pop("problems")]
            return cls(problems={one.key: one for one in problems}, **content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()

    def text(self) -> str:
        """Return the state as text for Dagster to store."""
        problems = [[one.where, one.file, one.cause, one.run_id, one.since] for one in self.problems.values()]
        rest = {name: getattr(self, name) for name in ("after", "succeeded", "failed", "beat", "tries", "not_before")}
        return json.dumps({"version": STATE_VERSION, "problems": problems, **rest}, separators=(",", ":"))

    def seen(self, runs: Iterable[EndedRun], *, after: int | None, now: float) -> tuple[Self, News]:
        """Return the state after `runs`, up to the event `after`, and the news in them."""
        problems = dict(self.problems)
        new: dict[Key, Problem] = {}
        recovered: dict[Key, Problem] = {}
        succeeded, failed = self.succeeded, self.failed
        for run in runs:
            if run.run_id:
                succeeded, failed = succeeded + run.succeeded, failed + (not run.succeeded)
            for key, cause in findings(run).items():
                known = problems.get(key)
                if cause is None:
                    if known:
                        recovered[key] = problems.pop(key)
                elif known is None or known.cause != cause:
                    problem = Problem(*key, cause, run.run_id, known.since if known else now)
                    problems[key] = new[key] = problem
                    recovered.pop(key, None)
        kept = [one for one in problems.values() if one.since > now - OPEN_DAYS * 86_400][-MAX_OPEN:]
        state = replace(self, after=after, problems={one.key: one for one in kept}, succeeded=succeeded, failed=failed)
        return state, News(tuple(new.values()), tuple(recovered.values()))

    def delivered(self) -> Self:
        """Return the state after a delivery that worked."""
        return replace(self, tries=0, not_before=0.0)

    def undelivered(self, now: float) -> Self:
        """Return the state after a failed delivery: try again at the next look, then at growing intervals."""
        tries = self.tries + 1
        delay = min(FIRST_DELAY * 2 ** min(tries - 2, 10), MAX_DELAY) if tries > 1 else 0.0
        return replace(self, tries=tries, not_before=now + delay)

    def is_heartbeat_due(self, heartbeat: str | None, now: float) -> bool:
        """Return whether the heartbeat of the day, at the time `heartbeat` in UTC, is yet to come; the first is now."""
        if heartbeat is None:
            return False
        today = dt.datetime.fromtimestamp(now, dt.UTC)
        hour, minute = map(int, heartbeat.split(":"))
        due = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if due > today:
            due -= dt.timedelta(days=1)
        return self.beat < due.timestamp()

    def after_heartbeat(self, now: float) -> Self:
        """Return the state after a delivered heartbeat."""
        return replace(self, beat=now, succeeded=0, failed=0)
