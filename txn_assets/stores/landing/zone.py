"""The landing zone: a prefix in the bucket where the files of a feed land."""

import datetime as dt
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from google.api_core.exceptions import NotFound
from google.cloud import storage

from txn_assets.files import progress
from txn_assets.files.checksums import Checksum
from txn_assets.files.ledger import FileVersion
from txn_assets.stores import google_errors
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import LandedFileError
from txn_assets.stores.landed_names import MAX_OBJECT_NAME_BYTES

READ_CHUNK_BYTES = 16 << 20
"""Bytes of a landed object to read per request, which is also the most to read again after a lost connection."""

KEPT = ("content_type", "content_encoding", "content_disposition", "content_language", "cache_control", "metadata")
"""What describes a landed object besides its name, and stays with it when it is copied or written again."""


@dataclass
class LandingZone:
    """Reads and writes landed files, below a prefix in the bucket.

    Attributes:
        prefix: prefix of landed objects, without a slash at the end.
        dates: strftime format that names begin with; '' for any name.
        late_days: maximum number of days between the date in a name and the day the object lands.
        max_name_bytes: maximum length of a name, so that derived object names are not too long.
    """

    clients: Clients
    bucket: str
    prefix: str
    dates: str = ""
    late_days: int = 0
    max_name_bytes: int = MAX_OBJECT_NAME_BYTES

    def latest(self, name: str) -> FileVersion | None:
        """Return the current version of the landed file `name`, or None if there is none."""
        blob = self.clients.storage.bucket(self.bucket).get_blob(f"{self.prefix}/{name}")
        if blob is None:
            return None
        return FileVersion(name, int(blob.generation), int(blob.size), str(blob.crc32c))

    @property
    def address(self) -> str:
        """The gs:// address of the landing zone."""
        return f"gs://{self.bucket}/{self.prefix}/"

    def first_new(self, now: dt.datetime) -> str:
        """Return the first name that can be new at `now` if names begin with a date, else ''."""
        return (now - dt.timedelta(days=self.late_days)).strftime(self.dates) if self.dates else ""

    def versions(self, *, start: str = "") -> Iterator[FileVersion]:
        """Yield the current version of each object from the name `start` on, in name order, 1,000 per request."""
        blobs = self.clients.storage.list_blobs(
            self.bucket,
            prefix=f"{self.prefix}/",
            start_offset=f"{self.prefix}/{start}",
            page_size=1000,
            fields="items(name,generation,size,crc32c),nextPageToken",
        )
        for blob in blobs:
            name = blob.name.removeprefix(f"{self.prefix}/")
            yield FileVersion(name, int(blob.generation), int(blob.size or 0), str(blob.crc32c))

    def landed_before(self, moment: dt.datetime) -> Iterator[FileVersion]:
        """Yield the current version of each object that was created before `moment`."""
        blobs = self.clients.storage.list_blobs(
            self.bucket, prefix=f"{self.prefix}/", fields="items(name,generation,size,crc32c,timeCreated),nextPageToken"
        )
        for blob in blobs:
            if blob.time_created < moment:
                name = blob.name.removeprefix(f"{self.prefix}/")
                yield FileVersion(name, int(blob.generation), int(blob.size or 0), str(blob.crc32c))

    def find(self, version: FileVersion) -> storage.Blob | None:
        """Return the object of exactly `version` with its metadata, or None if it is gone."""
        return self.clients.storage.bucket(self.bucket).get_blob(
            f"{self.prefix}/{version.name}", generation=version.generation
        )

    def upload(self, path: Path, name: str) -> FileVersion:
        """Upload the file at `path` as `name` and return its version."""
        blob = self.clients.storage.bucket(self.bucket).blob(f"{self.prefix}/{name}")
        blob.upload_from_filename(str(path), content_type="text/csv", checksum="crc32c")
        return FileVersion(name, int(blob.generation), int(blob.size), str(blob.crc32c))

    def new_session(self, name: str, *, if_generation_match: int) -> str:
        """Begin a resumable upload of `name` and return the address of its session, which is a secret.

        The upload fails with 412 unless `if_generation_match` is still the live generation at its end.
        """
        blob = self.clients.storage.bucket(self.bucket).blob(f"{self.prefix}/{name}")
        return str(
            blob.create_resumable_upload_session(
                content_type="text/csv",
                if_generation_match=if_generation_match,
                checksum=None,
                **self.clients.no_retry,
            )
        )

    def is_out_of_reach(self, error: Exception) -> bool:
        """Return whether `error` means that the storage does not respond, so every other file would fail too."""
        return google_errors.is_out_of_reach(error)

    def not_landed(self, name: str) -> str:
        """Return the message for a file that has not landed."""
        return (
            f"No file {name!r} has landed in {self.address}: "
            f"upload it there first, or check the name (the partition key is the object's name below that prefix)."
        )

    def head(self, version: FileVersion, size: int) -> bytes:
        """Return the first `size` bytes of exactly `version`, or b"" if the version is gone, which `open` reports."""
        blob = self._blob(version)
        try:
            return bytes(blob.download_as_bytes(start=0, end=size - 1, raw_download=True, checksum=None))
        except NotFound:
            return b""

    def _blob(self, version: FileVersion) -> storage.Blob:
        bucket = self.clients.storage.bucket(self.bucket)
        return bucket.blob(f"{self.prefix}/{version.name}", generation=version.generation)

    @contextmanager
    def open(self, version: FileVersion) -> Iterator[BinaryIO]:
        """Open exactly `version` for reading, and check its crc32c once all bytes have been read.

        Raises:
            LandedFileError: the version is gone, or the bytes that arrived differ from those stored.
        """
        blob = self._blob(version)
        try:
            # Download raw bytes, which the checksum covers: an object with content-encoding gzip must stay compressed.
            if version.size <= READ_CHUNK_BYTES:
                # Use one request: a chunked reader makes two more, for the size and past the end.
                stream: BinaryIO = io.BytesIO(blob.download_as_bytes(raw_download=True, checksum=None))
            else:
                stream = blob.open("rb", chunk_size=READ_CHUNK_BYTES, raw_download=True)
            with stream:
                yield _Checksummed(stream, version)  # type: ignore[misc]  # has the part of BinaryIO that readers use
        except NotFound as error:
            message = f"{version} is gone from the landing zone: it was overwritten or deleted. Load the newer version."
            raise LandedFileError(message) from error


class _Checksummed:
    """A stream of a landed file that verifies the checksum at the end."""

    def __init__(self, stream: BinaryIO, version: FileVersion) -> None:
        self._stream = stream
        self._version = version
        self._checksum = Checksum()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._checksum.update(data)
        progress.count_bytes(len(data))
        if not data and size and self._checksum.base64() != self._version.crc32c:
            message = f"{self._version} was damaged in transit (its crc32c differs): run this again."
            raise LandedFileError(message)
        return data
