"""The ledgers of all stores together: which version of each file every store holds."""

from collections.abc import Mapping
from dataclasses import dataclass

from txn_assets.files.ledger import FileVersion


@dataclass(frozen=True)
class Ledgers:
    """The newest generation of each file, by file name, in each store, by the store's label."""

    generations: Mapping[str, Mapping[str, int]]

    def missing_in(self, version: FileVersion) -> list[str]:
        """Return the labels of the stores that do not hold `version`.

        Generations must be equal: a ledger with a larger generation than the live one holds a version that was
        replaced.
        """
        return [label for label, held in self.generations.items() if held.get(version.name) != version.generation]

    def held(self, name: str) -> list[int]:
        """Return the generation of the file `name` in each store, 0 where it was never loaded."""
        return [held.get(name, 0) for held in self.generations.values()]
