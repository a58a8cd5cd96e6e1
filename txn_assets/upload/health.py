"""Probes: `/healthz` asks this process, `/readyz` also the services that an upload needs.

A readiness probe costs a GET of a GCS object and a SELECT in PostgreSQL, at most every few seconds. BigQuery is not
asked, because each query there costs money.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from google.api_core.exceptions import NotFound

from txn_assets.feeds.configured import feeds_of
from txn_assets.upload.platform import Platform
from txn_assets.upload.problems import Problem

CACHE_SECONDS = 3.0
"""How long an answer of a service is good for."""
TIMEOUT_SECONDS = 3.0
"""How long a probe waits for a service. Give the probe in Kubernetes more than that."""
_PROBED = "readiness-probe"
"""Name of a file that never lands: asking for it answers the question."""

_log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


class Check:
    """Asks a service whether it answers: one request at a time, however many probes come in.

    Attributes:
        name: what the service is, for messages.
        ask: raise an exception if the service cannot be used; it may block.
    """

    def __init__(self, name: str, ask: Callable[[], object], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._ask = ask
        self._clock = clock
        self._asking: asyncio.Task[None] | None = None
        self._is_ok = False
        self._expires = float("-inf")

    async def is_ok(self) -> bool:
        """Return whether the service answered within the last seconds."""
        if self._asking is None and self._clock() >= self._expires:
            self._asking = asyncio.create_task(self._run())
        if self._asking:
            await asyncio.wait({self._asking}, timeout=TIMEOUT_SECONDS)
        return self._is_ok and self._asking is None

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(self._ask)
        except Exception as error:  # noqa: BLE001 - whatever it is, the service cannot be used
            # The message may name hosts, and anyone can ask for readiness, so only the log has it.
            _log.warning("Not ready: %s: %s", self.name, error)
            self._is_ok = False
        else:
            self._is_ok = True
        finally:
            self._expires = self._clock() + CACHE_SECONDS
            self._asking = None


def make_checks(platform: Platform) -> tuple[Check, ...]:
    """Return the checks of the services that an upload to `platform` needs."""
    services = platform.services.of(feeds_of(platform.config)[0])

    def ask_for_object() -> None:
        landing = services.landing
        blob = services.clients.storage.bucket(landing.bucket).blob(f"{landing.prefix}/{_PROBED}")
        try:
            blob.reload(timeout=TIMEOUT_SECONDS, retry=None)
        except NotFound as error:
            # Otherwise only the object is missing. GCS tells the two apart by the message alone.
            if "bucket does not exist" in error.message:
                raise

    return (Check("bucket", ask_for_object), Check("ledger", lambda: services.stores["postgres"].held(_PROBED)))


def _checks_of(request: Request) -> tuple[Check, ...]:
    checks: tuple[Check, ...] = request.app.state.checks
    return checks


@router.get("/healthz", summary="Whether the process answers")
async def read_health() -> dict[str, str]:
    """Return at once."""
    return {"status": "ok"}


@router.get("/readyz", summary="Whether files can be received")
async def read_readiness(checks: Annotated[tuple[Check, ...], Depends(_checks_of)]) -> dict[str, str]:
    """Return whether the bucket and the ledger answered within the last seconds."""
    answers = await asyncio.gather(*(check.is_ok() for check in checks))
    if missing := [check.name for check, is_ok in zip(checks, answers, strict=True) if not is_ok]:
        raise Problem(503, f"Not ready: no answer from {' and '.join(missing)}. The log says why.")
    return {"status": "ready", **{check.name: "ok" for check in checks}}
