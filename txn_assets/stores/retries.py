"""Riding out passing faults of a store, within a budget, and saying what the others are.

Here belong the back-off and the error that ends a load. Which faults pass is each store's own knowledge and stands in
its I/O manager. The budget is documented in docs/reliability.md.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LOGGER = logging.getLogger("txn_assets")


class StoreError(Exception):
    """A store cannot be loaded; the message names store, cause and remedy, and carries no value of a row."""


class StoreUnavailableError(StoreError):
    """A store cannot be loaded now: passing faults did not pass within the budget."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long passing faults are ridden out, in seconds, and the pauses between tries."""

    seconds: float = 120.0
    first_pause: float = 0.25
    longest_pause: float = 10.0

    def pauses(self) -> Iterator[float]:
        """Doubling pauses, each drawn between nothing and its bound, so that those who failed together part ways.

        'Full jitter' of Marc Brooker, 'Exponential Backoff And Jitter', AWS Architecture Blog, 2015.
        """
        bound = self.first_pause
        while True:
            bound = min(bound, self.longest_pause)
            yield random.uniform(0, bound)  # noqa: S311 - no secret
            bound *= 2


def retry_transient[T](
    attempt: Callable[[], T],
    *,
    is_transient: Callable[[Exception], bool],
    explain: Callable[[Exception], str],
    budget: Budget,
) -> T:
    """What `attempt` returns, tried again after each passing fault until the budget is used up.

    The budget begins with the first fault, for a long load that fails late deserves another try as well. No try begins
    after its end, so that all takes at most one try, the budget, and one more try.

    Raises:
        StoreError: with the sentence of `explain`, at once, for a lasting fault.
        StoreUnavailableError: likewise, when the budget is used up.
    """
    end = None
    for pause in budget.pauses():
        try:
            return attempt()
        except StoreError:
            raise
        except Exception as error:
            if not is_transient(error):
                raise StoreError(explain(error)) from error
            end = end or time.monotonic() + budget.seconds
            if time.monotonic() + pause >= end:
                message = f"{explain(error)} It did not pass within {budget.seconds:.0f} seconds."
                raise StoreUnavailableError(message) from error
            LOGGER.info("trying again in %.1f s after %s", pause, type(error).__name__)
            time.sleep(pause)
    raise AssertionError  # pauses() never ends
