"""Erase a person from the landed files of a feed, which have clear text: land them again without, or delete them.

`rows/rewriting.py` writes a file again, whatever its form is. See docs/security.md, 'Erasure'.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import storage

from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledger import FileVersion
from txn_assets.rows import rewriting
from txn_assets.rows.erasing import Erased
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.rewriting import Survey
from txn_assets.stores.errors import LandedFileError, StoreError, StoreUnavailableError
from txn_assets.stores.gcs.erasure import ATTEMPTS, drop_old_version
from txn_assets.stores.landing.zone import KEPT, LandingZone
from txn_assets.stores.run_files import RunFiles

LOGGER = logging.getLogger("txn_assets")


@dataclass(frozen=True, kw_only=True)
class LandedFiles:
    """The landed files of a feed, in its landing zone or in the archive.

    Attributes:
        landing: the zone, or the archive as one.
        deletes: whether a file with a person is deleted, instead of landed again without the person.
    """

    run_files: RunFiles
    landing: LandingZone
    deletes: bool
    _unreadable: set[str] = field(default_factory=set)

    def erase(self, request: ErasureRequest) -> int:
        """Remove the person in `request` from every landed file, and return from how many records.

        Raises:
            StoreError: files have the person and cannot be written again.
        """
        removed, failed = 0, []
        for blob in self._versions():
            try:
                removed += self._erase(blob, request)
            except _CannotRewriteError as error:
                failed.append(str(error))
        if failed:
            raise StoreError(" ".join(failed))
        return removed

    def count(self, request: ErasureRequest) -> int:
        """Return how many records of the person in `request` the landed files have, old versions included."""
        erased = self._erased(request)
        return sum(len(found.persons) for blob in self._versions() if (found := self._survey(blob, erased)))

    @property
    def _bucket(self) -> storage.Bucket:
        return self.landing.clients.storage.bucket(self.landing.bucket)

    def _versions(self) -> Iterator[storage.Blob]:
        """Yield each landed object, old versions included."""
        clients, landing = self.landing.clients, self.landing
        blobs = clients.storage.list_blobs(
            landing.bucket, prefix=f"{landing.prefix}/", versions=True, **clients.no_retry
        )
        return (blob for blob in blobs if blob.size)

    def _erased(self, request: ErasureRequest) -> Erased:
        """Return the hashes of the person with their hashers.

        Raises:
            StoreError: no key of the request is alive, so clear values cannot be compared with it.
        """
        found = [
            (hasher, {request.field: [request.digests[hasher.key_id]]})
            for hasher in self.run_files.hashers
            if hasher.key_id in request.digests
        ]
        if not found:
            message = (
                f"The landed files cannot be searched for the erasure request {request}: its hashes are under the keys "
                f"{', '.join(request.digests)}, and none is alive. Make the request again, with the value."
            )
            raise StoreError(message)
        return found

    def _name(self, blob: storage.Blob) -> str:
        return str(blob.name).removeprefix(f"{self.landing.prefix}/")

    def _survey(self, blob: storage.Blob, erased: Erased) -> Survey | None:
        """Return the survey of `blob`; None if it cannot be read, or is gone."""
        name = self._name(blob)
        version = FileVersion(name, int(blob.generation), int(blob.size), str(blob.crc32c))
        try:
            with self.landing.open(version) as stream:
                return rewriting.survey(stream, self.run_files.reading, erased, self.run_files.workspace())
        except UnreadableFileError:
            if name not in self._unreadable:
                LOGGER.warning(
                    "%s%s cannot be read as rows, so nobody knows whether the person is in it: correct or delete it.",
                    self.landing.address,
                    name,
                )
            self._unreadable.add(name)
        except LandedFileError:
            pass
        return None

    def _erase(self, blob: storage.Blob, request: ErasureRequest) -> int:
        """Remove the person from `blob`; if somebody lands the file again meanwhile, from its live version instead."""
        no_retry = self.landing.clients.no_retry
        erased = self._erased(request)
        latest: storage.Blob | None = blob
        for _ in range(ATTEMPTS):
            before = self._survey(latest, erased) if latest else None
            if latest is None or before is None or not before.persons:
                return 0
            try:
                if latest.time_deleted is None and not self.deletes:
                    self._replace(latest, before, erased)
                    drop_old_version(latest, self.landing.clients)
                else:
                    # With its generation, so that a bucket with versions does not keep it.
                    latest.delete(**no_retry)
            except (NotFound, PreconditionFailed):
                latest = self._bucket.get_blob(blob.name, **no_retry)
            else:
                return len(before.persons)
        message = f"gs://{self.landing.bucket}/{blob.name} is written by others all the time. Run this again."
        raise StoreUnavailableError(message)

    def _replace(self, blob: storage.Blob, before: Survey, erased: Erased) -> None:
        folder = self.run_files.workspace()
        source, target = folder / "before", folder / "left"
        blob.download_to_filename(str(source), raw_download=True, **self.landing.clients.no_retry)
        try:
            self._write(source, target, before, erased)
            written = self._bucket.blob(blob.name)
            for attribute in KEPT:
                setattr(written, attribute, getattr(blob, attribute))
            written.upload_from_filename(
                str(target),
                content_type=blob.content_type,
                checksum="crc32c",
                if_generation_match=blob.generation,
                **self.landing.clients.no_retry,
            )
        except _CannotRewriteError as error:
            message = (
                f"gs://{self.landing.bucket}/{blob.name} has a record of the person and cannot be written again "
                f"without it ({error}): delete the object and ask the sender for a file without the person, or set "
                "erasure.landing to delete."
            )
            raise _CannotRewriteError(message) from error
        finally:
            # Clear text.
            source.unlink(missing_ok=True)
            target.unlink(missing_ok=True)

    def _write(self, source: Path, target: Path, before: Survey, erased: Erased) -> None:
        """Write the file at `source` without the person to `target`, and prove that everything else is there.

        Raises:
            _CannotRewriteError: it is not.
        """
        reading = self.run_files.reading
        try:
            rewriting.write_without(source, target, reading, before.persons)
            with target.open("rb") as stream:
                after = rewriting.survey(stream, reading, erased, source.parent)
        except (UnreadableFileError, UnicodeError) as error:
            # The text of the second may have a part of a row.
            why = str(error) if isinstance(error, UnreadableFileError) else "its text cannot be encoded again"
            raise _CannotRewriteError(why) from None
        if not after.is_without(before):
            why = "what was written does not have the same other records"
            raise _CannotRewriteError(why)


class _CannotRewriteError(Exception):
    """Raised when a landed file cannot be written again; the message has no value of a row."""
