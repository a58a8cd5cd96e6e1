"""Remove landed objects that nothing needs any more: archive or delete exactly one generation.

`files/retention.py` chooses them. The copy comes first, then the deletion, each under a precondition, so that a process
that is killed in between leaves both objects, and the next call finishes.
"""

import datetime as dt
from dataclasses import dataclass

from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed
from google.cloud import storage

from txn_assets.files.ledger import FileVersion
from txn_assets.stores import google_errors
from txn_assets.stores.errors import LandedFileError, StoreError
from txn_assets.stores.landed_names import MAX_OBJECT_NAME_BYTES, archived_name
from txn_assets.stores.landing.archive import LandingArchive
from txn_assets.stores.services import Services

PROTECTED = {"objectUnderActiveHold", "retentionPolicyNotMet"}
"""Reasons of a 403 for an object that somebody wants to keep:
https://cloud.google.com/storage/docs/json_api/v1/status-codes"""


@dataclass(frozen=True, slots=True)
class Removal:
    """What became of a landed version.

    Attributes:
        is_removed: whether it left the landing zone.
        archive: the address of the archived object; '' if it was deleted.
        stays: why it is still in the landing zone; '' if it is not.
    """

    version: FileVersion
    is_removed: bool = False
    archive: str = ""
    stays: str = ""


class _StaysError(Exception):
    """Raised for an object that must not be removed; the message says why."""


def remove_landed(services: Services, version: FileVersion, *, archives: bool, now: dt.datetime) -> Removal:
    """Archive or delete the landed object of exactly `version`.

    Raises:
        StoreError: the landing zone or the archive cannot be used.
    """
    archive = services.archive if archives else None
    try:
        blob = services.landing.find(version)
        if blob is None:
            return Removal(version)
        # It may have been refused since it was loaded, under rules that were tried in between.
        findings = services.quarantine.findings(version)
        refused = (
            f"it was refused when it was loaded again: {findings.refusal}" if findings and findings.refusal else ""
        )
        if stays := refused or protection(blob, now):
            return Removal(version, stays=stays)
        if archive:
            _move(services, archive, blob, version)
        else:
            _delete(services, blob, version)
    except _StaysError as error:
        return Removal(version, stays=str(error))
    except (LandedFileError, NotFound, PreconditionFailed):
        # It was overwritten or deleted meanwhile.
        return Removal(version)
    except google_errors.FAULTS as error:
        raise StoreError(google_errors.explain(error, f"Landing zone {services.landing.address}")) from error
    return Removal(version, is_removed=True, archive=archive.address(version) if archive else "")


def _move(services: Services, archive: LandingArchive, blob: storage.Blob, version: FileVersion) -> None:
    is_copied = _archive(services, archive, blob, version)
    try:
        _delete(services, blob, version)
    except (NotFound, PreconditionFailed):
        # Perhaps an erasure changed it, which did not see the copy, because it was not finished yet.
        if is_copied:
            archive.discard(version)
        raise


def _archive(services: Services, archive: LandingArchive, blob: storage.Blob, version: FileVersion) -> bool:
    if len(archived_name(archive.prefix, version.name, version.generation).encode()) > MAX_OBJECT_NAME_BYTES:
        raise _StaysError("its name is too long for the archive, which adds the generation")
    try:
        return archive.keep(blob, version)
    except (Forbidden, NotFound) as error:
        # A landed object that is gone is a 404 too.
        if isinstance(error, NotFound) and services.landing.find(version) is None:
            raise
        raise StoreError(google_errors.explain(error, f"Archive bucket {archive.bucket}")) from error


def _delete(services: Services, blob: storage.Blob, version: FileVersion) -> None:
    try:
        # `blob` names its generation, so that a bucket with versioning keeps no noncurrent version of it. Without the
        # client's retries a 404 means that somebody else deleted it.
        blob.delete(if_generation_match=version.generation, **services.clients.no_retry)
    except google_errors.FAULTS as error:
        if google_errors.is_transient(error):
            message = (
                f"{google_errors.explain(error, f'Landing zone {services.landing.address}')} The next run goes on."
            )
            raise _StaysError(message) from error
        if google_errors.reasons_of(error) & PROTECTED:
            raise _StaysError(google_errors.explain(error, f"Landing zone {services.landing.address}")) from error
        raise


def protection(blob: storage.Blob, now: dt.datetime) -> str:
    """Return why an object must not be deleted yet, or '' if it may be."""
    holds = {"a temporary hold": blob.temporary_hold, "an event-based hold": blob.event_based_hold}
    if held := " and ".join(hold for hold, is_set in holds.items() if is_set):
        return f"it is under {held}: release it"
    until = [moment for moment in (blob.retention_expiration_time, blob.retention.retain_until_time) if moment]
    if until and max(until) > now:
        return f"it must be kept until {max(until):%Y-%m-%d %H:%M} UTC, by the bucket's or its own retention policy"
    return ""
