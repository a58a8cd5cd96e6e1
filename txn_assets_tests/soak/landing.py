"""What arrives in the landing zone, drawn from a seed: new files, other versions of them, deletions.

It also computes the rows that each version must leave in a store, independently of the platform. `__main__.py` decides
when events happen.
"""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from txn_assets_tests.deployment import Deployment, Row, make_file, make_row

SIZES = (1, 20, 300, 5_000)
ACTIONS = ("arrive", "overwrite", "delete")
WEIGHTS = (5, 4, 1)


@dataclass
class Landing:
    """The landing zone and everything that was ever in it.

    Attributes:
        versions: the rows that each generation of each name must leave in a store.
        present: the names that exist now.
    """

    deployment: Deployment
    draw: random.Random
    versions: dict[str, dict[int, Counter[Row]]] = field(default_factory=dict)
    present: list[str] = field(default_factory=list)
    overwritten: int = 0
    deleted: int = 0

    def act(self) -> None:
        """Perform one event: land, overwrite or delete a file."""
        (action,) = self.draw.choices(ACTIONS, WEIGHTS)
        if action == "arrive" or not self.present:
            self.land(self._absent())
        elif action == "overwrite":
            self.overwritten += 1
            self.land(self.draw.choice(self.present))
        else:
            self.deleted += 1
            name = self.present.pop(self.draw.randrange(len(self.present)))
            self.deployment.bucket.blob(f"{self.deployment.config.data_lake.landing}/{name}").delete()

    def land(self, name: str) -> None:
        """Land a new version of `name`, with mostly valid rows and a few bad ones."""
        number = sum(map(len, self.versions.values()))
        day = f"2023-{1 + number % 12:02d}-{1 + number % 28:02d}"
        lines, expected = [], Counter[Row]()
        for row in range(self.draw.choice(SIZES)):
            id_, product = f"{number}-{row}", f"Halal {self.draw.randint(1, 99)}"
            price, quantity = str(Decimal(self.draw.randint(1, 10**6)) / 100), self.draw.randint(1, 9)
            valid = row == 0 or self.draw.random() > 0.02
            lines.append(
                make_row(
                    transaction_id=id_, product=product if valid else "", price=price, quantity=str(quantity), date=day
                )
            )
            if valid:
                expected[hashlib.sha256(id_.encode()).hexdigest(), product, Decimal(price), quantity, day] += 1
        generation = self.deployment.land(name, make_file(*lines))
        self.versions.setdefault(name, {})[generation] = expected
        if name not in self.present:
            self.present.append(name)

    def newest(self) -> dict[str, int]:
        """Return the generation of each existing file."""
        return {name: max(self.versions[name]) for name in self.present}

    def _absent(self) -> str:
        gone = sorted(self.versions.keys() - set(self.present))
        # Sometimes a deleted name comes back.
        if gone and self.draw.random() < 0.3:
            return self.draw.choice(gone)
        return f"{len(self.versions):05d}.csv"
