"""Retry transient store errors within a time budget; report permanent ones.

This module decides how long to wait and when to give up. Each store says which errors are transient.
See docs/reliability.md, 'How long until a load gives up', for the budget.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from txn_assets.stores.errors import StoreError, StoreUnavailableError

LOGGER = logging.getLogger("txn_assets")


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to retry transient errors and how long to pause between attempts, in seconds."""

    seconds: float = 120.0
    first_pause: float = 0.25
    longest_pause: float = 10.0

    def pauses(self) -> Iterator[float]:
        """Yield random pauses from zero to a doubling bound, so that clients that failed together spread out.

        See 'Full jitter' in Marc Brooker, 'Exponential Backoff And Jitter', AWS Architecture Blog, 2015.
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
    """Return the result of `attempt`, retrying it after transient errors until the budget is used up.

    The budget starts with the first error, so that a long load that fails late is retried too. No attempt starts after
    the budget is used up, so the total time is at most one attempt, the budget, and one more attempt.

    Raises:
        StoreError: the error is permanent. The message is from `explain`.
        StoreUnavailableError: the budget is used up. The message starts with `explain`.
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
                message = f"{explain(error)} Retrying for {budget.seconds:.0f} seconds did not help."
                raise StoreUnavailableError(message) from error
            LOGGER.info("retrying in %.1f s after %s", pause, type(error).__name__)
            time.sleep(pause)
    raise AssertionError  # pauses() never ends
