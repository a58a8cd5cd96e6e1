"""Probes and metrics of the upload service."""

import asyncio
import threading
import time

import pytest

from txn_assets.upload import health
from txn_assets.upload.health import CACHE_SECONDS, Check


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A service that a test makes slow or unusable, and that counts the questions."""

    def __init__(self) -> None:
        self.questions = 0
        self.error: Exception | None = None
        self.answer = threading.Event()
        self.answer.set()

    def ask(self) -> None:
        self.questions += 1
        self.answer.wait(10)
        if self.error:
            raise self.error


def test_many_probes_ask_once() -> None:
    """A service is asked once in a few seconds, however many probes come in."""
    service, clock = Service(), Clock()
    check = Check("service", service.ask, clock=clock)

    async def scenario() -> None:
        assert await asyncio.gather(*(check.is_ok() for _ in range(20))) == [True] * 20
        assert await check.is_ok()
        assert service.questions == 1
        service.error = OSError("gone")
        clock.now += CACHE_SECONDS
        assert not await check.is_ok()
        service.error = None
        clock.now += CACHE_SECONDS
        assert await check.is_ok()
        assert service.questions == 3

    asyncio.run(scenario())


def test_service_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe gives up on a service that does not answer, and does not ask again while it waits."""
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.1)
    service = Service()
    check = Check("service", service.ask)

    async def scenario() -> None:
        service.answer.clear()
        begin = time.monotonic()
        assert await asyncio.gather(*(check.is_ok() for _ in range(3))) == [False] * 3
        assert not await check.is_ok()
        assert time.monotonic() - begin < 2
        assert service.questions == 1
        service.answer.set()
        await asyncio.sleep(0.1)
        assert await check.is_ok()

    asyncio.run(scenario())
