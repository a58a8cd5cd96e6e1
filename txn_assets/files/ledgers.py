"""The ledgers of all stores together: which version of each file every store holds, and how it was loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from txn_assets.files.ledger import FileVersion


@dataclass(frozen=True, slots=True)
class HeldVersion:
    """The newest version of a file in a ledger: its generation, the rules and the key of its load, and its rows."""

    generation: int
    rules_id: str
    key_id: str
    rows: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Ledgers:
    """Newest version of each file in each store: by label of the store, then by file name."""

    versions: Mapping[str, Mapping[str, HeldVersion]]

    def missing_in(self, version: FileVersion) -> list[str]:
        """Return the labels of the stores that do not hold `version`.

        Generations must be equal: a ledger with a larger generation than the live one holds a version that was
        replaced.
        """
        return [label for label in self.versions if self._generation(label, version.name) != version.generation]

    def outdated_in(self, version: FileVersion, *, rules_id: str, key_id: str) -> list[str]:
        """Return the labels of the stores that hold `version` under other rules, or hashed with another key."""
        current = HeldVersion(version.generation, rules_id, key_id)
        return [
            label
            for label, held in self.versions.items()
            if self._generation(label, version.name) == version.generation and held[version.name] != current
        ]

    def held(self, name: str) -> list[int]:
        """Return the generation of the file `name` in each store, or 0 if a store never loaded it."""
        return [self._generation(label, name) for label in self.versions]

    def _generation(self, label: str, name: str) -> int:
        held = self.versions[label].get(name)
        return held.generation if held else 0
