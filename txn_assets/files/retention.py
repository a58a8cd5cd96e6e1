"""Choose which partition keys, staged values and landed objects are old enough. The ledgers are kept forever.

These functions are pure: the caller lists what exists and deletes what they return. See
docs/operations.md, 'What is kept'.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping

from txn_assets.files.ledger import FileVersion
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


def proven_versions(
    landed: Iterable[FileVersion], ledgers: Ledgers, *, rules_id: str, key_id: str, in_runs: Collection[str]
) -> list[FileVersion]:
    """Return the `landed` versions that nothing needs any more: every store holds this very generation.

    A version that a store holds under other rules or another key is still to be loaded again, and a run that loads one
    of the files `in_runs` is about to read it.
    """
    return [
        version
        for version in landed
        if not ledgers.missing_in(version)
        and not ledgers.outdated_in(version, rules_id=rules_id, key_id=key_id)
        and version.name not in in_runs
    ]


def outdated_objects(objects: Iterable[tuple[str, dt.datetime]], *, before: dt.datetime) -> list[str]:
    """Return the names of the staged objects written before `before`."""
    return [name for name, written in objects if written < before]
