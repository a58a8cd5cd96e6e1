"""What is old enough to go: partition keys and staged values. The ledgers are kept for good.

Here belongs the choice, as functions of what is there and how old it is. Listing and deleting does not.
Documented in docs/operations.md.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence


def landed_at(generation: int) -> dt.datetime:
    """When a generation landed: GCS stamps them in microseconds since 1970.

    https://cloud.google.com/storage/docs/metadata#generation-number
    """
    return dt.datetime.fromtimestamp(generation / 1_000_000, dt.UTC)


def outdated_keys(
    keys: Iterable[str], landed: Mapping[str, int], ledgers: Sequence[Mapping[str, int]], *, before: dt.datetime
) -> list[str]:
    """The partition keys whose files landed `before` and are done with.

    `landed` and each of `ledgers` give the newest generation by name. A key stays while its file stands in the landing
    zone and one of the stores has not loaded it, however old it is. A key that none of them knows goes.
    """

    def is_done(key: str) -> bool:
        generation = landed.get(key, 0)
        held = [ledger.get(key, 0) for ledger in ledgers]
        return generation <= min(held, default=0) and landed_at(max(generation, *held, 0)) < before

    return [key for key in keys if is_done(key)]


def outdated_objects(objects: Iterable[tuple[str, dt.datetime]], *, before: dt.datetime) -> list[str]:
    """The names of the staged objects that were written `before`."""
    return [name for name, written in objects if written < before]
