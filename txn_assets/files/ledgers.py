"""The ledgers of all stores together: which version of each file every store holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from txn_assets.files.ledger import FileVersion


@dataclass(frozen=True)
class Ledgers:
    """Newest generation of each file in each store: by label of the store, then by file name."""

    generations: Mapping[str, Mapping[str, int]]

    def missing_in(self, version: FileVersion) -> list[str]:
        """Return the labels of the stores that do not hold `version`.

        Generations must be equal: a ledger with a larger generation than the live one holds a version that was
        replaced.
        """
        return [label for label, held in self.generations.items() if held.get(version.name) != version.generation]

    def held(self, name: str) -> list[int]:
        """Return the generation of the file `name` in each store, or 0 if a store never loaded it."""
        return [held.get(name, 0) for held in self.generations.values()]
