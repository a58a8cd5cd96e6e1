"""Staging: a prefix in the bucket for the values that assets pass to each other, and for hashed rows.

Never store clear text there. It stays in the local `RunFiles` of the run. Each run writes below `<staging>/<run id>/`,
so two runs of the same partition never read each other's values. See docs/architecture.md.
"""

import contextlib
import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import NotFound
from google.cloud import storage
from pydantic import ValidationError

from txn_assets.files.run_folder import RunFolder
from txn_assets.files.values import FileValues, HashedFile, from_json, to_json
from txn_assets.stores.clients import Clients


@dataclass
class Staging:
    """Stores hashed rows, and manifests that list the files of a value, below a prefix in the bucket."""

    clients: Clients
    bucket: str
    prefix: str

    @property
    def _bucket(self) -> storage.Bucket:
        return self.clients.storage.bucket(self.bucket)

    def manifest(self, run_id: str, asset: str) -> str:
        """Return the name of the manifest with the value of `asset` in a run."""
        return f"{self.prefix}/{run_id}/{asset}.json"

    def write(self, manifest: str, value: FileValues) -> None:
        """Store `value` as `manifest`."""
        data = to_json(value)
        self._bucket.blob(manifest).upload_from_string(data, content_type="application/json", checksum="crc32c")

    def read(self, manifest: str) -> FileValues | None:
        """Return the value in `manifest`, or None if it is gone or an earlier release wrote it in another form."""
        try:
            return from_json(bytes(self._bucket.blob(manifest).download_as_bytes()))
        except (NotFound, ValidationError):
            return None

    def upload(self, file: HashedFile, folder: RunFolder, run_id: str) -> HashedFile:
        """Upload the hashed rows of `file` and why rows were rejected from `folder`; return `file` with the addresses.

        Both are uploaded before a sink begins, so that a sink of another process finds them.
        """
        name = f"{self.prefix}/{run_id}/{folder.path.name}"
        uri = self._upload(folder.hashed, f"{name}.parquet")
        return file.at(
            uri, rejects_uri=self._upload(folder.rejects, f"{name}.rejects.parquet") if file.rejected else ""
        )

    def _upload(self, path: Path, name: str) -> str:
        blob = self._bucket.blob(name)
        blob.upload_from_filename(str(path), content_type="application/vnd.apache.parquet", checksum="crc32c")
        return f"gs://{self.bucket}/{name}"

    def written(self) -> Iterator[tuple[str, dt.datetime]]:
        """Yield the name of each object and the time it was written."""
        blobs = self.clients.storage.list_blobs(
            self.bucket, prefix=f"{self.prefix}/", fields="items(name,timeCreated),nextPageToken"
        )
        return ((blob.name, blob.time_created) for blob in blobs)

    def remove(self, names: Iterable[str]) -> int:
        """Remove objects and return how many were removed, not counting those that were already gone."""
        removed = 0
        for name in names:
            with contextlib.suppress(NotFound):
                self._bucket.blob(name).delete()
                removed += 1
        return removed
