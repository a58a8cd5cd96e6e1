"""How far a rotation of the hash key is in the stores of a feed.

`files/rotation.py` has the figures, `runs/replay.py` requests the runs, and `commands/rotate.py` prints both.
"""

from txn_assets.files.arrival import left_alone
from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledgers import Ledgers
from txn_assets.files.rotation import Rotation, find_rotation
from txn_assets.runs.files import postgres_of
from txn_assets.stores.registry import STORES
from txn_assets.stores.services import Services


def read_rotation(services: Services) -> Rotation:
    """Return how far the rotation to the current key is.

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


def requests_under_old_keys(services: Services) -> tuple[ErasureRequest, ...]:
    """Return the erasure requests that have no hash under the current key, so that no row could be left out by it.

    Such a request gets one when a load meets the person, or when `txn erase` is given the value again.

    Raises:
        ConfigError: a key is missing or too short.
        ErasureError: the register of the requests is damaged.
    """
    return services.erasures.read().without(services.run_files.hasher.key_id).requests
