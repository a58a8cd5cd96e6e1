"""The archive of a landing zone: a second bucket for landed objects that every store has loaded.

An archived object is called `<landing prefix>/<name>@<generation>`, so that no version replaces another. Like the
landing zone, the archive has clear PII. `retention.py` moves objects here. See docs/operations.md, 'Landed
objects that are no longer needed'.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage

from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import FileVersion
from txn_assets.stores import google_errors
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import LandedFileError, StoreError
from txn_assets.stores.landed_names import archived_name, archived_version
from txn_assets.stores.landing.zone import KEPT, LandingZone


@dataclass
class LandingArchive:
    """Archived versions of landed files, below the prefix of the landing zone in another bucket."""

    clients: Clients
    bucket: str
    prefix: str

    @property
    def zone(self) -> LandingZone:
        """The archive as a landing zone whose names end with generations, to read its objects as files."""
        return LandingZone(self.clients, self.bucket, self.prefix)

    def versions(self, name: str = "") -> Iterator[FileVersion]:
        """Yield the archived versions of the file `name`, or of all files, in the order of the objects' names."""
        prefix = f"{self.prefix}/{name}@" if name else f"{self.prefix}/"
        for blob in self.clients.storage.list_blobs(
            self.bucket, prefix=prefix, fields="items(name,size,crc32c),nextPageToken"
        ):
            found = archived_version(self.prefix, blob.name)
            if found and name in ("", found[0]):
                yield FileVersion(*found, int(blob.size or 0), str(blob.crc32c))

    def newest(self, name: str) -> FileVersion | None:
        """Return the archived version of the file `name` that landed last, or None if there is none."""
        return max(self.versions(name), key=lambda version: version.generation, default=None)

    def find(self, version: FileVersion) -> str | None:
        """Return the address of an archived version, or None if it is not in the archive."""
        return self.address(version) if self._blob(version).exists() else None

    def address(self, version: FileVersion) -> str:
        """Return the gs:// address of an archived version."""
        return f"gs://{self.bucket}/{archived_name(self.prefix, version.name, version.generation)}"

    def archived(self, version: FileVersion, feed: Feed) -> str:
        """Return the message for a file that is not in the landing zone, but here."""
        of_feed = "" if feed.is_first else f" --feed {feed.name}"
        return (
            f"{version} is loaded, and its landed object is in the archive: {self.address(version)}. To load it again, "
            f"bring it back with `txn restore{of_feed} {shlex.quote(version.name)}`; it lands as a new version."
        )

    def keep(self, source: storage.Blob, version: FileVersion) -> bool:
        """Copy the landed object `source` here, unless an earlier call did, and compare the checksums.

        Return whether this call made the copy.

        Raises:
            LandedFileError: the object is no longer the live one.
            StoreError: the archive has something else under its name.
        """
        target = self._blob(version)
        is_new = True
        try:
            rewrite(source, target, source_generation=version.generation)
        except PreconditionFailed as error:
            # Either an earlier call was killed before it deleted the object, or the object was overwritten meanwhile.
            found = target.bucket.get_blob(target.name)
            if found is None:
                message = f"{version} was overwritten."
                raise LandedFileError(message) from error
            target, is_new = found, False
        if (target.crc32c, target.size) != (version.crc32c, version.size):
            message = f"{self.address(version)} is not a copy of {version}: its checksum differs. Remove it."
            raise StoreError(message)
        return is_new

    def discard(self, version: FileVersion) -> None:
        """Remove a copy whose original was overwritten or deleted while it was made."""
        self._blob(version).delete()

    def bring_back(self, version: FileVersion, landing: LandingZone) -> FileVersion:
        """Land an archived version again and return the new version. The archived object stays.

        Raises:
            StoreError: a file has landed under its name, or it is not in the archive.
        """
        source = self._blob(version)
        target = self.clients.storage.bucket(landing.bucket).blob(f"{landing.prefix}/{version.name}")
        try:
            source.reload()
            rewrite(source, target)
        except NotFound as error:
            raise StoreError(google_errors.explain(error, self.address(version))) from error
        except PreconditionFailed as error:
            message = f"{version.name!r} is in {landing.address} already: `txn replay` loads it again."
            raise StoreError(message) from error
        return FileVersion(version.name, int(target.generation), int(target.size), str(target.crc32c))

    def _blob(self, version: FileVersion) -> storage.Blob:
        name = archived_name(self.prefix, version.name, version.generation)
        return self.clients.storage.bucket(self.bucket).blob(name)


def rewrite(source: storage.Blob, target: storage.Blob, *, source_generation: int | None = None) -> None:
    """Copy an object within Cloud Storage with what describes it, if there is none under the name of `target` yet.

    A copy to another location or storage class takes several requests, each with the token of the one before:
    https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite. The object appears with the last one.
    """
    for attribute in KEPT:
        if (value := getattr(source, attribute)) is not None:
            setattr(target, attribute, value)
    token = None
    while True:
        token, _, _ = target.rewrite(
            source, token=token, if_generation_match=0, if_source_generation_match=source_generation
        )
        if token is None:
            return
