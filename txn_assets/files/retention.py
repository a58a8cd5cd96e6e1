"""Choose which partition keys and staged values are old enough to delete. The ledgers are kept forever.

These functions are pure: the caller lists what exists and deletes what they return. See
docs/operations.md, 'What is kept'.
"""

import datetime as dt
from collections.abc import Iterable, Mapping

from txn_assets.files.ledgers import Ledgers


def landed_at(generation: int) -> dt.datetime:
    """Return when a generation landed: GCS stamps generations in microseconds since 1970.

    https://cloud.google.com/storage/docs/metadata#generation-number
    """
    return dt.datetime.fromtimestamp(generation / 1_000_000, dt.UTC)


def outdated_keys(
    keys: Iterable[str], landed: Mapping[str, int], ledgers: Ledgers, *, before: dt.datetime
) -> list[str]:
    """Return the partition keys of files that landed before `before` and need no more work.

    `landed` maps a name to its newest generation. Keep a key, however old, while its file is in the landing zone and a
    store has not loaded it. Return a key that neither the landing zone nor a store knows.
    """

    def is_done(key: str) -> bool:
        generation = landed.get(key, 0)
        held = ledgers.held(key)
        return generation <= min(held, default=0) and landed_at(max(generation, *held, 0)) < before

    return [key for key in keys if is_done(key)]


def outdated_objects(objects: Iterable[tuple[str, dt.datetime]], *, before: dt.datetime) -> list[str]:
    """Return the names of the staged objects written before `before`."""
    return [name for name, written in objects if written < before]
