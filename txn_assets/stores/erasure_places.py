"""The places where a feed has rows of a person: its stores, the quarantine, staged rows and the landing zone.

`erasure/` goes through them. Import this only to erase or to verify, because it imports DuckDB.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from google.cloud import storage

from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.report import fewer_reasons
from txn_assets.rows.removing import Removed
from txn_assets.stores import google_errors
from txn_assets.stores.gcs.erasure import Objects
from txn_assets.stores.landed_names import is_quarantine_object
from txn_assets.stores.landing.erasure import LandedFiles
from txn_assets.stores.registry import STORES
from txn_assets.stores.retries import Budget, retry_transient
from txn_assets.stores.services import Services
from txn_assets.stores.store import Store


@dataclass(frozen=True)
class Place:
    """A place that may have rows of a person. Both functions retry transient errors, and raise StoreError.

    Attributes:
        label: its name for people.
        erase: remove the rows of the person in a request, and return how many this call removed. A call that was killed
            is finished by the next one.
        count: return how many rows of the person in a request are there.
    """

    label: str
    erase: Callable[[ErasureRequest], int]
    count: Callable[[ErasureRequest], int]


def places(services: Services) -> list[Place]:
    """Return the places of a feed, in the order in which they are erased.

    The landing zone is left out if the configuration keeps landed files.
    """
    found = [
        *(_of_store(entry.label, services.stores[entry.key]) for entry in STORES),
        _of_objects("quarantine", _quarantine(services), services.quarantine.bucket),
        _of_objects("staged rows", _staging(services), services.staging.bucket),
    ]
    policy = services.config.erasure.landing
    if policy != "keep":
        # The archive last: an object that is being archived is in the landing zone until it is in the archive.
        zones = {"landing zone": services.landing} | ({"archive": services.archive.zone} if services.archive else {})
        for label, zone in zones.items():
            landed = LandedFiles(run_files=services.run_files, landing=zone, deletes=policy == "delete")
            found.append(_of_objects(label, landed, zone.bucket))
    return found


def _of_store(label: str, store: Store) -> Place:
    return Place(
        label,
        lambda request: store.retry_transient(lambda: store.erase(request)),
        lambda request: store.retry_transient(lambda: store.count_erased_rows(request)),
    )


def _of_objects(label: str, objects: Objects | LandedFiles, bucket: str) -> Place:
    def retried(attempt: Callable[[], int]) -> int:
        return retry_transient(
            attempt,
            is_transient=google_errors.is_transient,
            explain=lambda error: google_errors.explain(error, f"GCS bucket {bucket} ({label})"),
            budget=Budget(),
        )

    return Place(
        label,
        lambda request: retried(lambda: objects.erase(request)),
        lambda request: retried(lambda: objects.count(request)),
    )


def _quarantine(services: Services) -> Objects:
    return Objects(
        clients=services.clients,
        bucket=services.quarantine.bucket,
        prefix=services.quarantine.prefix,
        format_of=lambda name: "csv" if is_quarantine_object(name) else None,
        correct=_without_rejects,
        folder=services.run_files.workspace(),
    )


def _without_rejects(blob: storage.Blob, left: Path, removed: Removed) -> dict[str, str] | None:
    """Return the metadata of a quarantine object without the rows removed; None if it has nothing left to say."""
    metadata = dict(blob.metadata or {})
    with left.open("rb") as file:
        has_rows = len(file.readlines(1 << 16)) > 1
    if not has_rows and "refused" not in metadata:
        return None
    if "reasons" in metadata:
        metadata["reasons"] = json.dumps(fewer_reasons(json.loads(metadata["reasons"]), removed.reasons))
        metadata["erased"] = str(int(metadata.get("erased", 0)) + removed.rows)
    return metadata


def _staging(services: Services) -> Objects:
    """Return the hashed rows of all runs. What has a person is deleted: its run has ended, or its load is refused."""
    return Objects(
        clients=services.clients,
        bucket=services.staging.bucket,
        prefix=services.staging.prefix,
        format_of=lambda name: "parquet" if name.endswith(".parquet") else None,
        correct=lambda *_: None,
        folder=services.run_files.workspace(),
    )
