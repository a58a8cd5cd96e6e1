"""What a run works with: the landing zone, its files, and the stores. Plain objects, one of each.

`assemble.py` builds them. This module imports no client, so that the definitions can name the type.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from txn_assets.files.ledgers import Ledgers
from txn_assets.stores.registry import STORES

if TYPE_CHECKING:
    from txn_assets.config import PipelineConfig
    from txn_assets.stores.clients import Clients
    from txn_assets.stores.landing import LandingZone
    from txn_assets.stores.quarantine import Quarantine
    from txn_assets.stores.run_files import RunFiles
    from txn_assets.stores.staging import Staging
    from txn_assets.stores.store import Store


@dataclass(kw_only=True)
class Services:
    """What a run works with.

    Attributes:
        stores: by their keys in `registry.STORES`, in the same order.
    """

    config: "PipelineConfig"
    clients: "Clients"
    landing: "LandingZone"
    quarantine: "Quarantine"
    staging: "Staging"
    run_files: "RunFiles"
    stores: dict[str, "Store"]

    def read_ledgers(self) -> Ledgers:
        """Read the ledgers of all stores.

        Raises:
            StoreError: one of them cannot be read.
        """
        stores = {entry.label: self.stores[entry.key] for entry in STORES}
        return Ledgers({label: store.retry_transient(store.held_generations) for label, store in stores.items()})
