"""Limits of uploads: how many at once, and how many bytes per minute."""

import asyncio
from contextlib import AsyncExitStack, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from starlette.requests import ClientDisconnect

from txn_assets.sections.upload import Upload
from txn_assets.upload.auth import Subject
from txn_assets.upload.limits import Budget, Limits
from txn_assets.upload.problems import Problem

ANN = Subject("ann", frozenset())
BOB = Subject("bob", frozenset())


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def retry_after(problem: Problem) -> int:
    assert problem.status == 429
    assert problem.headers is not None
    return int(problem.headers["Retry-After"])


def test_uploads_at_once() -> None:
    """A subject has its own limit below that of all, and an upload that ended, however, makes room."""
    limits = Limits(Upload(max_uploads=3, max_uploads_per_subject=2))

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(limits.upload(ANN))
            with pytest.raises(Problem, match="2 uploads of yours are in progress") as caught:
                await stack.enter_async_context(limits.upload(ANN))
            assert retry_after(caught.value) > 0
            await stack.enter_async_context(limits.upload(BOB))
            with pytest.raises(Problem, match="as many files as it can"):
                await stack.enter_async_context(limits.upload(BOB))
        for _ in range(5):
            with pytest.raises(ValueError, match="broken"):
                async with limits.upload(ANN):
                    raise ValueError("broken")
        async with limits.upload(ANN), limits.upload(ANN):
            pass

    asyncio.run(scenario())


def test_bytes_per_minute() -> None:
    """A file larger than the bytes of a minute passes, and the next one waits until the difference is made up for."""
    clock = Clock()
    limits = Limits(Upload(bytes_per_minute=600, max_bytes=1500), clock=clock)

    async def send(subject: Subject, n_bytes: int) -> None:
        async with limits.upload(subject) as meter:
            for _ in range(n_bytes // 100):
                meter.count(100)

    async def scenario() -> None:
        await send(ANN, 1500)
        with pytest.raises(Problem, match="more bytes per minute") as caught:
            await send(ANN, 100)
        seconds = retry_after(caught.value)
        assert 90 <= seconds <= 91
        await send(BOB, 600)
        clock.now += seconds - 2
        with pytest.raises(Problem):
            await send(ANN, 100)
        clock.now += 2
        await send(ANN, 100)

    asyncio.run(scenario())


def test_bytes_of_uploads_at_once() -> None:
    """Uploads that began together do not exceed the limit by more than one of the largest files."""
    limits = Limits(Upload(bytes_per_minute=600, max_bytes=1500), clock=Clock())

    async def scenario() -> None:
        async with limits.upload(ANN) as first, limits.upload(ANN) as second:
            first.count(1100)
            second.count(1000)
            with pytest.raises(Problem) as caught:
                second.count(1)
            assert retry_after(caught.value) >= 150

    asyncio.run(scenario())


@given(
    per_minute=st.integers(1, 10_000),
    overdraft=st.integers(1, 10_000),
    events=st.lists(st.tuples(st.floats(0, 300), st.integers(0, 10_000)), max_size=50),
)
def test_budget(per_minute: int, overdraft: int, events: list[tuple[float, int]]) -> None:
    """What is allowed never exceeds the rate by more than a minute and the overdraft, and a promised time is kept."""
    budget = Budget(per_minute, overdraft, 0.0)
    now = taken = 0.0
    for seconds, n_bytes in events:
        now += seconds
        if wait := budget.seconds_until_some(now):
            now += wait
        assert budget.left(now) == pytest.approx(1) or budget.left(now) > 0
        if not budget.take(n_bytes, now):
            break
        taken += n_bytes
        assert taken <= per_minute * (1 + now / 60) + overdraft + 1


def test_subjects_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that has seen many subjects remembers those that have used something within a minute."""
    clock = Clock()
    limits = Limits(Upload(bytes_per_minute=600), clock=clock)

    async def scenario() -> None:
        for number in range(2500):
            clock.now += 0.1
            async with limits.upload(Subject(f"subject {number}", frozenset())) as meter:
                meter.count(1)

    asyncio.run(scenario())
    assert len(limits._usage) <= 1000


OUTCOMES: dict[str, Exception] = {
    "limited": Problem(429, "too much"),
    "refused": Problem(422, "no header"),
    "failed": OSError("no bucket"),
    "broken_off": ClientDisconnect(),
}


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("outcome", [*OUTCOMES, "landed"])
def test_metrics(outcome: str) -> None:
    """An upload is counted with its outcome, its bytes and its time, and in progress only until it ends."""
    limits = Limits(Upload())
    names = ("txn_upload_bytes_total", "txn_upload_seconds_count")
    before = [sample("txn_uploads_total", outcome=outcome), *map(sample, names)]

    async def scenario() -> None:
        async with limits.upload(ANN) as meter:
            assert sample("txn_uploads_in_flight") == 1
            meter.count(7)
            if outcome in OUTCOMES:
                raise OUTCOMES[outcome]

    with pytest.raises(type(OUTCOMES[outcome])) if outcome in OUTCOMES else nullcontext():
        asyncio.run(scenario())

    after = [sample("txn_uploads_total", outcome=outcome), *map(sample, names)]
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 7, 1]
    assert sample("txn_uploads_in_flight") == 0
