"""Erase a person's rows from the objects that hold hashes: those of the data lake, the quarantine, and staged rows.

An object is written again without the rows, under the precondition that nobody has written it since it was read. Old
versions with such rows are deleted. `landing/erasure.py` does the same for landed files. See docs/security.md,
'Erasure'.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage

from txn_assets.files.erasures import ErasureRequest
from txn_assets.rows import removing
from txn_assets.rows.removing import Removed
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import StoreUnavailableError

ATTEMPTS = 20
"""How often to read an object again that somebody has written since it was read."""

type Correct = Callable[[storage.Blob, Path, Removed], dict[str, str] | None]
"""Return the metadata of an object after rows were removed from it; None to delete the object instead.

It gets the object as it was, the path of what is left, and what was removed.
"""


def drop_old_version(blob: storage.Blob, clients: Clients) -> None:
    """Delete the version of an object that was just written again; only a bucket with versions still has it."""
    with suppress(NotFound):
        blob.delete(**clients.no_retry)


@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects of a feed below a prefix.

    Attributes:
        format_of: return the format of an object by its name, `csv` or `parquet`; None if it has no rows.
        correct: see `Correct`.
        folder: an empty folder for one object at a time.
    """

    clients: Clients
    bucket: str
    prefix: str
    format_of: Callable[[str], str | None]
    correct: Correct
    folder: Path

    def erase(self, request: ErasureRequest) -> int:
        """Remove the rows of the person in `request` from every object, and return how many there were."""
        return sum(self._erase(blob, request) for blob in self._versions())

    def erase_from(self, name: str, request: ErasureRequest) -> int:
        """Remove the rows of the person in `request` from the live version of the object `name`."""
        blob = self._bucket.get_blob(name, **self.clients.no_retry)
        return self._erase(blob, request) if blob else 0

    def count(self, request: ErasureRequest) -> int:
        """Return how many rows of the person in `request` the objects have, old versions included."""
        rows = 0
        for blob in self._versions():
            try:
                rows += self._count(blob, request)
            except NotFound:
                # Somebody has written or deleted it.
                live = self._bucket.get_blob(blob.name, **self.clients.no_retry)
                rows += self._count(live, request) if live else 0
        return rows

    @property
    def _bucket(self) -> storage.Bucket:
        return self.clients.storage.bucket(self.bucket)

    def _versions(self) -> Iterator[storage.Blob]:
        """Yield each object that may have rows, old versions included."""
        blobs = self.clients.storage.list_blobs(
            self.bucket, prefix=f"{self.prefix}/", versions=True, **self.clients.no_retry
        )
        return (blob for blob in blobs if blob.size and self.format_of(blob.name))

    def _fetch(self, blob: storage.Blob) -> Path:
        path = self.folder / "before"
        blob.download_to_filename(str(path), raw_download=True, **self.clients.no_retry)
        return path

    def _count(self, blob: storage.Blob, request: ErasureRequest) -> int:
        file_format = self.format_of(blob.name) or ""
        path = self._fetch(blob)
        return removing.count_rows(path, request.field, request.digests.values(), file_format=file_format)

    def _erase(self, blob: storage.Blob, request: ErasureRequest) -> int:
        """Remove the rows from `blob`; if somebody writes the object meanwhile, from its live version instead."""
        latest: storage.Blob | None = blob
        for _ in range(ATTEMPTS):
            if latest is None:
                return 0
            try:
                rows = self._count(latest, request)
                if not rows:
                    return 0
                if latest.time_deleted is None and self._replace(latest, request):
                    drop_old_version(latest, self.clients)
                else:
                    # With its generation, so that a bucket with versions does not keep it.
                    latest.delete(**self.clients.no_retry)
            except (NotFound, PreconditionFailed):
                latest = self._bucket.get_blob(blob.name, **self.clients.no_retry)
            else:
                return rows
        message = f"gs://{self.bucket}/{blob.name} is written by others all the time. Run this again."
        raise StoreUnavailableError(message)

    def _replace(self, blob: storage.Blob, request: ErasureRequest) -> bool:
        """Write `blob` again without the rows, and return True; False if it is to be deleted instead."""
        file_format = self.format_of(blob.name) or ""
        before, left = self.folder / "before", self.folder / "left"
        removed = removing.write_without(before, left, request.field, request.digests.values(), file_format=file_format)
        metadata = self.correct(blob, left, removed)
        if metadata is None:
            return False
        written = self._bucket.blob(blob.name)
        written.metadata = metadata
        written.upload_from_filename(
            str(left),
            content_type=blob.content_type,
            checksum="crc32c",
            if_generation_match=blob.generation,
            **self.clients.no_retry,
        )
        return True
