"""How much may be uploaded at once: uploads in progress, in all and of one subject, and bytes per minute of a subject.

The limits hold in this process: with two replicas, a subject gets up to twice as much. `sections/upload.py` describes
the settings.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import ClientDisconnect

from txn_assets.sections.upload import Upload
from txn_assets.upload.auth import Subject
from txn_assets.upload.metrics import UPLOAD_BYTES, UPLOAD_SECONDS, UPLOADS, UPLOADS_IN_FLIGHT
from txn_assets.upload.problems import Problem

_BUSY_SECONDS = 5
"""What `Retry-After` says while too many uploads are in progress: nobody knows when the next one ends."""
_REMEMBERED = 1000
"""Number of subjects to remember before forgetting those that have used nothing for a minute."""


class Budget:
    """A token bucket: the bytes that a subject may still send.

    It holds the bytes of one minute and fills at that rate. Uploads may overdraw it by the size of the largest file, so
    that a file larger than the bytes of a minute can be uploaded at all. The next upload waits until bytes are left.
    """

    def __init__(self, per_minute: int, overdraft: int, now: float) -> None:
        self._per_minute = per_minute
        self._overdraft = overdraft
        self._left = float(per_minute)
        self._at = now

    def take(self, n_bytes: int, now: float) -> bool:
        """Take bytes; return whether the overdraft allows it."""
        self._left = self.left(now) - n_bytes
        self._at = now
        return self._left >= -self._overdraft

    def left(self, now: float) -> float:
        """Return how many bytes are left; less than 0 if the bucket is overdrawn."""
        return min(self._per_minute, self._left + (now - self._at) * self._per_minute / 60)

    def seconds_until_some(self, now: float) -> float:
        """Return how long it takes until bytes are left; 0 if some are."""
        return max(0.0, (1 - self.left(now)) * 60 / self._per_minute)

    def is_full(self, now: float) -> bool:
        """Return whether nothing was taken lately."""
        return self.left(now) == self._per_minute


@dataclass
class _Usage:
    """What one subject uses. The budget is None if its bytes are not limited."""

    budget: Budget | None
    uploads: int = 0


class Limits:
    """Admits uploads and meters them, in one event loop."""

    def __init__(self, settings: Upload, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._usage: dict[str, _Usage] = {}
        self._uploads = 0

    @asynccontextmanager
    async def upload(self, subject: Subject) -> AsyncIterator["Meter"]:
        """Admit an upload, yield its meter, and count the upload as in progress until the block ends.

        Raises:
            Problem: too many uploads are in progress, or the subject has no bytes left.
        """
        try:
            usage = self._admit(subject)
        except Problem:
            UPLOADS.labels("limited").inc()
            raise
        started = self._clock()
        outcome = "landed"
        self._uploads += 1
        usage.uploads += 1
        UPLOADS_IN_FLIGHT.inc()
        try:
            yield Meter(usage.budget, self._clock)
        except BaseException as error:
            outcome = _outcome_of(error)
            raise
        finally:
            self._uploads -= 1
            usage.uploads -= 1
            UPLOADS_IN_FLIGHT.dec()
            UPLOADS.labels(outcome).inc()
            UPLOAD_SECONDS.observe(self._clock() - started)

    def _admit(self, subject: Subject) -> _Usage:
        now = self._clock()
        usage = self._usage_of(subject.name, now)
        if usage.uploads >= self._settings.max_uploads_per_subject:
            detail = f"{usage.uploads} uploads of yours are in progress, which is the limit. Wait until one has ended."
            raise _limited(detail, _BUSY_SECONDS)
        if self._uploads >= self._settings.max_uploads:
            raise _limited("The service is receiving as many files as it can. Try again later.", _BUSY_SECONDS)
        if usage.budget and (seconds := usage.budget.seconds_until_some(now)):
            raise _over_budget(seconds)
        return usage

    def _usage_of(self, name: str, now: float) -> _Usage:
        if name not in self._usage:
            if len(self._usage) >= _REMEMBERED:
                self._forget(now)
            per_minute = self._settings.bytes_per_minute
            self._usage[name] = _Usage(Budget(per_minute, self._settings.max_bytes, now) if per_minute else None)
        return self._usage[name]

    def _forget(self, now: float) -> None:
        self._usage = {
            name: usage
            for name, usage in self._usage.items()
            if usage.uploads or (usage.budget and not usage.budget.is_full(now))
        }


@dataclass(frozen=True)
class Meter:
    """Counts the bytes of one upload."""

    _budget: Budget | None
    _clock: Callable[[], float]

    def count(self, n_bytes: int) -> None:
        """Count bytes that were received.

        Raises:
            Problem: the subject's uploads together exceed its bytes per minute by more than the largest file.
        """
        UPLOAD_BYTES.inc(n_bytes)
        now = self._clock()
        if self._budget and not self._budget.take(n_bytes, now):
            raise _over_budget(self._budget.seconds_until_some(now))


def _over_budget(seconds: float) -> Problem:
    return _limited("You have sent more bytes per minute than you may. Try again later.", math.ceil(seconds))


def _limited(detail: str, seconds: int) -> Problem:
    return Problem(429, detail, headers={"Retry-After": str(seconds)})


def _outcome_of(error: BaseException) -> str:
    if isinstance(error, (ClientDisconnect, asyncio.CancelledError)):
        return "broken_off"
    if isinstance(error, Problem) and error.status < 500:
        return "limited" if error.status == 429 else "refused"
    return "failed"


def _limits_of(request: Request) -> Limits:
    limits: Limits = request.app.state.limits
    return limits


TheLimits = Annotated[Limits, Depends(_limits_of)]
"""A parameter of a route that receives files."""
