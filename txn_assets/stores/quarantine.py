"""The quarantine: a prefix in the bucket for the rejected rows of each file.

`rows/quarantine.py` decides what the rows look like.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import NotFound

from txn_assets.files.ledger import FileVersion
from txn_assets.stores.clients import Clients
from txn_assets.stores.landed_names import quarantine_name


@dataclass
class Quarantine:
    """Stores the rejected rows of each file below a prefix in the bucket."""

    clients: Clients
    bucket: str
    prefix: str

    def store(self, version: FileVersion, rejected: Path | None) -> str | None:
        """Store `rejected` as the quarantine object of the file and return its address; delete the object if None."""
        name = quarantine_name(self.prefix, version.name)
        blob = self.clients.storage.bucket(self.bucket).blob(name)
        if rejected is None:
            with contextlib.suppress(NotFound):
                blob.delete()
            return None
        blob.metadata = {"source_generation": str(version.generation)}
        blob.upload_from_filename(str(rejected), content_type="text/csv", checksum="crc32c")
        return f"gs://{self.bucket}/{name}"
