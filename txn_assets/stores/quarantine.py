"""The quarantine: a prefix in the bucket for the rejected rows of each file.

`rows/quarantine.py` decides what the rows look like.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import NotFound
from google.cloud import storage

from txn_assets.files.file_status import Findings, findings_metadata, refusal_metadata
from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import ValidationReport
from txn_assets.stores import google_errors
from txn_assets.stores.clients import Clients
from txn_assets.stores.landed_names import is_quarantine_object, quarantine_name, quarantined_file

_KEY = "key_id"


@dataclass
class Quarantine:
    """Stores the rejected rows of each file below a prefix in the bucket."""

    clients: Clients
    bucket: str
    prefix: str

    def store(self, version: FileVersion, report: ValidationReport, rejected: Path, *, key_id: str) -> str | None:
        """Store `rejected`, hashed with the key `key_id`, as the quarantine object of the file; return its address.

        If no row is rejected, delete the object instead.
        """
        blob = self._blob(version.name)
        if not report.rejected:
            self.remove(version)
            return None
        blob.metadata = findings_metadata(version, report) | {_KEY: key_id}
        blob.upload_from_filename(str(rejected), content_type="text/csv", checksum="crc32c")
        return self.address(version.name)

    def remove(self, version: FileVersion) -> None:
        """Remove the rejected rows of the file."""
        with contextlib.suppress(NotFound):
            self._blob(version.name).delete()

    def refuse(self, version: FileVersion, sentence: str) -> str | None:
        """Note why `version` was refused as a whole, next to the rejected rows of the file, if it has any.

        Return a message if that fails, because the refusal is what matters.
        """
        note = refusal_metadata(version, sentence)
        blob = self._blob(version.name)
        try:
            try:
                blob.reload()
            except NotFound:
                blob.metadata = note
                blob.upload_from_string(b"", content_type="text/csv")
            else:
                blob.metadata = (blob.metadata or {}) | note
                blob.patch()
        except google_errors.FAULTS as error:
            return google_errors.explain(error, self.address(version.name))
        return None

    def findings(self, version: FileVersion) -> Findings | None:
        """Return what validation found in `version`, or None if no row and no file was rejected."""
        blob = self.clients.storage.bucket(self.bucket).get_blob(quarantine_name(self.prefix, version.name))
        return Findings.of_metadata(blob.metadata or {}, version.generation) if blob else None

    def keys(self) -> dict[str, str]:
        """Return the key that the rejected rows of each file are hashed with; objects of earlier releases have none."""
        blobs = self.clients.storage.list_blobs(
            self.bucket, prefix=f"{self.prefix}/", fields="items(name,metadata),nextPageToken"
        )
        return {
            quarantined_file(self.prefix, blob.name): blob.metadata[_KEY]
            for blob in blobs
            if is_quarantine_object(blob.name) and _KEY in (blob.metadata or {})
        }

    def address(self, name: str) -> str:
        """Return the gs:// address of the rejected rows of the file `name`."""
        return f"gs://{self.bucket}/{quarantine_name(self.prefix, name)}"

    def _blob(self, name: str) -> storage.Blob:
        return self.clients.storage.bucket(self.bucket).blob(quarantine_name(self.prefix, name))
