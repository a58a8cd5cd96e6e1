"""Retries of transient errors: how often, for how long, and the final message."""

import itertools
import time
from collections.abc import Callable

import pytest

from txn_assets.stores.errors import StoreError
from txn_assets.stores.retries import Budget, retry_transient

SOON = Budget(seconds=30, first_pause=0.0001, longest_pause=0.001)
"""Budget with ample time and tiny pauses."""
SPENT = Budget(seconds=0.02, first_pause=0.001, longest_pause=0.002)
"""Budget that runs out quickly."""


class TransientError(Exception):
    """A transient error."""


class Store:
    """A store that raises each of `faults`, then answers."""

    def __init__(self, *faults: Exception) -> None:
        self._faults = iter(faults)
        self.tries = 0

    def __call__(self) -> str:
        """Make one attempt."""
        self.tries += 1
        for fault in self._faults:
            raise fault
        return "loaded"


def retry(attempt: Callable[[], str], budget: Budget = SOON) -> str:
    """Call `retry_transient` with a plain sentence for every fault."""
    return retry_transient(
        attempt,
        is_transient=lambda error: isinstance(error, TransientError),
        explain=lambda error: f"The store cannot be loaded: {type(error).__name__}.",
        budget=budget,
    )


@pytest.mark.parametrize("faults", [0, 1, 7])
def test_transient_errors_are_retried(faults: int) -> None:
    """Each transient error is retried, and the attempt after the last one succeeds."""
    store = Store(*[TransientError()] * faults)
    assert retry(store) == "loaded"
    assert store.tries == faults + 1


def test_permanent_error_is_raised_at_once() -> None:
    """A permanent error, such as a wrong password, is raised at once."""
    store = Store(PermissionError("secret"), PermissionError())
    with pytest.raises(StoreError, match=r"^The store cannot be loaded: PermissionError\.$") as caught:
        retry(store)
    assert store.tries == 1
    assert isinstance(caught.value.__cause__, PermissionError)


def test_permanent_error_after_a_transient_one_is_raised_at_once() -> None:
    """A permanent error after a transient one is raised at once, because each error is classified on its own."""
    store = Store(TransientError(), PermissionError(), TransientError())
    with pytest.raises(StoreError):
        retry(store)
    assert store.tries == 2


def test_store_error_of_the_attempt_is_raised() -> None:
    """A StoreError from the attempt is passed on, because it is already explained."""
    error = StoreError("The object belongs to another file.")
    with pytest.raises(StoreError) as caught:
        retry(Store(error))
    assert caught.value is error


def test_interrupt_is_not_retried() -> None:
    """An interrupt is not retried."""

    def stop() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retry(stop)


def test_gives_up_within_the_budget() -> None:
    """Retries end within the budget, no pause exceeds it, and the message says how long it tried."""
    store = Store(*[TransientError()] * 10_000)
    start = time.monotonic()
    with pytest.raises(StoreError, match="Retrying for 0 seconds did not help") as caught:
        retry(store, SPENT)
    assert time.monotonic() - start < 1
    assert 1 < store.tries < 10_000
    assert isinstance(caught.value.__cause__, TransientError)


def test_no_pause_exceeds_the_budget() -> None:
    """A pause that would leave no time for another attempt is skipped."""
    store = Store(*[TransientError()] * 100)
    start = time.monotonic()
    with pytest.raises(StoreError):
        retry(store, Budget(seconds=0.01, first_pause=1e9, longest_pause=1e9))
    assert time.monotonic() - start < 1
    assert store.tries == 1


def test_pauses_double_up_to_the_longest() -> None:
    """Pauses double up to the maximum, and each is drawn between zero and its bound."""
    bounds = [1, 2, 4, 8, 10, 10]
    draws = [list(itertools.islice(Budget(first_pause=1, longest_pause=10).pauses(), 6)) for _ in range(300)]
    for bound, drawn in zip(bounds, zip(*draws, strict=True), strict=True):
        assert min(drawn) >= 0
        assert bound * 0.9 < max(drawn) <= bound


def test_pauses_never_end() -> None:
    """A long budget with short pauses allows thousands of attempts."""
    assert len(list(itertools.islice(Budget(first_pause=0.001, longest_pause=0.01).pauses(), 2000))) == 2000
