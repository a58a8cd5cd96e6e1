"""How far a rotation of the hash key is in a feed: in the stores, in the quarantine and in the erasure requests.

`files/rotation.py` has the figures of the stores, `runs/replay.py` requests the runs, and `commands/rotate.py` prints
both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from txn_assets.files.arrival import left_alone
from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledgers import Ledgers
from txn_assets.files.rotation import Rotation, find_rotation
from txn_assets.runs.files import postgres_of
from txn_assets.stores.registry import STORES
from txn_assets.stores.services import Services


@dataclass(frozen=True)
class FeedKeys:
    """What of a feed is under which key.

    Attributes:
        feed: its name.
        quarantined: the key of the rejected rows of each file, by address, if it is not the current one. Each attempt
            to load a file writes them again.
        requests: the erasure requests that have no hash under the current key. One gets it when a load meets the
            person, or when `txn erase` is given the value again.
    """

    feed: str
    rotation: Rotation
    quarantined: Mapping[str, str]
    requests: tuple[ErasureRequest, ...]

    @property
    def is_done(self) -> bool:
        """Whether everything is under the current key."""
        return not (self.rotation.old_files or self.quarantined or self.requests)

    def needs(self, key_id: str) -> list[str]:
        """Return what still needs the old key `key_id`."""
        counts = {
            self.feed: self.rotation.files_under(key_id),
            f"{self.feed} with rejected rows in the quarantine": list(self.quarantined.values()).count(key_id),
        }
        needs = [f"{count:,} {'file' if count == 1 else 'files'} of {what}" for what, count in counts.items() if count]
        if ids := [request.id for request in self.requests if key_id in request.digests]:
            needs.append(f"erasure requests without a hash under the current key: {', '.join(ids)}")
        return needs


def read_keys(services: Services) -> FeedKeys:
    """Return what of the feed of `services` is under which key.

    Raises:
        ConfigError: a key is missing or too short.
        StoreError: a ledger cannot be read.
        ErasureError: the register of the requests is damaged.
    """
    current = services.run_files.hasher.key_id
    quarantine = services.quarantine
    return FeedKeys(
        feed=services.feed.name,
        rotation=read_rotation(services),
        quarantined={quarantine.address(name): key for name, key in quarantine.keys().items() if key != current},
        requests=services.erasures.read().without(current).requests,
    )


def read_rotation(services: Services) -> Rotation:
    """Return how far the rotation to the current key is in the stores.

    Raises:
        ConfigError: a key is missing or too short.
        StoreError: a ledger cannot be read.
    """
    current = services.run_files.hasher.key_id
    landed = (version for version in services.landing.versions() if left_alone(version) is None)
    # Before the first load, reading BigQuery's ledger would create it, which an account that may only read cannot.
    if not postgres_of(services).held_versions():
        return find_rotation((), Ledgers({entry.label: {} for entry in STORES}), current=current)
    return find_rotation(landed, services.read_ledgers(), current=current)
