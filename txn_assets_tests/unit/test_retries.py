"""Riding out passing faults: how often, how long, and what is said in the end."""

import itertools
import time
from collections.abc import Callable

import pytest

from txn_assets.stores.retries import Budget, StoreError, retry_transient

SOON = Budget(seconds=30, first_pause=0.0001, longest_pause=0.001)
"""Ample time and tiny pauses."""
SPENT = Budget(seconds=0.02, first_pause=0.001, longest_pause=0.002)
"""A budget that is soon used up."""


class PassingError(Exception):
    """A fault that may pass."""


class Store:
    """Fails with each of `faults`, then answers."""

    def __init__(self, *faults: Exception) -> None:
        self._faults = iter(faults)
        self.tries = 0

    def __call__(self) -> str:
        """One try."""
        self.tries += 1
        for fault in self._faults:
            raise fault
        return "loaded"


def ride(attempt: Callable[[], str], budget: Budget = SOON) -> str:
    """`retry_transient` with a plain sentence for every fault."""
    return retry_transient(
        attempt,
        is_transient=lambda error: isinstance(error, PassingError),
        explain=lambda error: f"The store cannot be loaded: {type(error).__name__}.",
        budget=budget,
    )


@pytest.mark.parametrize("faults", [0, 1, 7])
def test_passing_faults_are_ridden_out(faults: int) -> None:
    """One try for each, and one that succeeds."""
    store = Store(*[PassingError()] * faults)
    assert ride(store) == "loaded"
    assert store.tries == faults + 1


def test_lasting_fault_is_raised_at_once() -> None:
    """A wrong password does not become right."""
    store = Store(PermissionError("secret"), PermissionError())
    with pytest.raises(StoreError, match=r"^The store cannot be loaded: PermissionError\.$") as caught:
        ride(store)
    assert store.tries == 1
    assert isinstance(caught.value.__cause__, PermissionError)


def test_lasting_fault_behind_a_passing_one_is_raised_at_once() -> None:
    """Each fault is judged by itself."""
    store = Store(PassingError(), PermissionError(), PassingError())
    with pytest.raises(StoreError):
        ride(store)
    assert store.tries == 2


def test_store_error_of_the_attempt_is_passed_on() -> None:
    """It is explained already."""
    error = StoreError("The object belongs to another file.")
    with pytest.raises(StoreError) as caught:
        ride(Store(error))
    assert caught.value is error


def test_interrupt_is_not_ridden_out() -> None:
    """Who stops a run means it."""

    def stop() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ride(stop)


def test_gives_up_within_the_budget() -> None:
    """It neither tries for ever nor pauses past its end, and says how long it tried."""
    store = Store(*[PassingError()] * 10_000)
    start = time.monotonic()
    with pytest.raises(StoreError, match="It did not pass within 0 seconds") as caught:
        ride(store, SPENT)
    assert time.monotonic() - start < 1
    assert 1 < store.tries < 10_000
    assert isinstance(caught.value.__cause__, PassingError)


def test_no_pause_reaches_past_the_budget() -> None:
    """A pause at whose end there is no time left for a try is not made."""
    store = Store(*[PassingError()] * 100)
    start = time.monotonic()
    with pytest.raises(StoreError):
        ride(store, Budget(seconds=0.01, first_pause=1e9, longest_pause=1e9))
    assert time.monotonic() - start < 1
    assert store.tries == 1


def test_pauses_double_up_to_the_longest() -> None:
    """Each is drawn between nothing and its bound."""
    bounds = [1, 2, 4, 8, 10, 10]
    draws = [list(itertools.islice(Budget(first_pause=1, longest_pause=10).pauses(), 6)) for _ in range(300)]
    for bound, drawn in zip(bounds, zip(*draws, strict=True), strict=True):
        assert min(drawn) >= 0
        assert bound * 0.9 < max(drawn) <= bound


def test_pauses_never_end() -> None:
    """A long budget with short pauses makes thousands of tries."""
    assert len(list(itertools.islice(Budget(first_pause=0.001, longest_pause=0.01).pauses(), 2000))) == 2000
