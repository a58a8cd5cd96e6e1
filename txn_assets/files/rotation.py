"""How far a rotation of the hash key is: which key each file of each store is hashed with, by the ledgers.

`runs/rotation.py` reads the ledgers and has files loaded again. See docs/how-to/rotate-the-key.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from txn_assets.files.ledger import FileVersion
from txn_assets.files.ledgers import Ledgers

UNKNOWN = "unknown"
"""Stands for the key of files whose ledger row names none, because BigQuery's ledger was lost and made again."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many files and rows of a store are hashed with a key."""

    files: int = 0
    rows: int = 0

    def add(self, rows: int) -> "KeyUse":
        """Return the use with one more file of `rows`."""
        return KeyUse(self.files + 1, self.rows + rows)


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The state of a rotation in one feed.

    Attributes:
        current: id of the current key.
        stores: for each store, what is hashed with each key, by its id. Files of the current key are always there.
        reloadable: landed versions that every store holds, at least one under another key, oldest first.
        waiting: files under another key whose live version is not in every store yet; it loads under the current key.
        gone: files under another key that are no longer in the landing zone.
        keys: the other keys of each file that a store holds under one.
    """

    current: str
    stores: Mapping[str, Mapping[str, KeyUse]]
    reloadable: tuple[FileVersion, ...]
    waiting: tuple[str, ...]
    gone: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]

    @property
    def old_files(self) -> int:
        """How many files at least one store holds under another key."""
        return len(self.keys)

    def files_under(self, key_id: str) -> int:
        """Return how many files at least one store holds under the key `key_id`."""
        return sum(key_id in keys for keys in self.keys.values())

    def sentence(self) -> str:
        """Return how many files are under another key, and what becomes of them; empty if none is."""
        if not self.old_files:
            return ""
        under = ", ".join(sorted({key for keys in self.keys.values() for key in keys}))
        files = "1 file is" if self.old_files == 1 else f"{self.old_files:,} files are"
        parts = [f"{files} not hashed with the current key {self.current}, but with {under}"]
        if self.reloadable:
            parts.append(f"{len(self.reloadable):,} to load again with `txn rotate run` or by the nightly sweep")
        if self.waiting:
            parts.append(f"{len(self.waiting):,} waiting for a load")
        if self.gone:
            parts.append(f"{len(self.gone):,} no longer in the landing zone: land them again, or `txn restore` them")
        return "; ".join(parts) + "."


def find_rotation(landed: Iterable[FileVersion], ledgers: Ledgers, *, current: str) -> Rotation:
    """Return the state of the rotation to the key `current`, given the `landed` versions."""
    stores: dict[str, dict[str, KeyUse]] = {}
    old: dict[str, set[str]] = {}
    for label, versions in ledgers.versions.items():
        uses = stores[label] = {current: KeyUse()}
        for name, held in versions.items():
            key_id = held.key_id or UNKNOWN
            uses[key_id] = uses.get(key_id, KeyUse()).add(held.rows)
            if key_id != current:
                old.setdefault(name, set()).add(key_id)
    live = {version.name: version for version in landed if version.name in old}
    # What a store lacks is loaded anyway, and under the current key.
    held_everywhere = (version for version in live.values() if not ledgers.missing_in(version))
    reloadable = sorted(held_everywhere, key=lambda version: version.generation)
    again = {version.name for version in reloadable}
    return Rotation(
        current=current,
        stores=stores,
        reloadable=tuple(reloadable),
        waiting=tuple(sorted(live.keys() - again)),
        gone=tuple(sorted(old.keys() - live.keys())),
        keys={name: tuple(sorted(keys)) for name, keys in sorted(old.items())},
    )
