"""Repeat the answer to a request whose `Idempotency-Key` was used before, instead of landing the file twice.

A key is an object `<staging>/uploads/<subject>/<digest of the key>.json`, created with ifGenerationMatch=0, so that one
of several requests owns it. The daily upkeep removes it with the other staged objects after `retention.staging_days`.
Its owner renews a lease while it receives the file; once that has expired, because the owner died, the next request
takes the key over. The draft is at https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from google.api_core import exceptions
from google.cloud import storage

from txn_assets.files.ledger import FileVersion
from txn_assets.stores import google_errors
from txn_assets.stores.retries import Budget, retry_transient
from txn_assets.stores.services import Services
from txn_assets.upload.names import folder_of
from txn_assets.upload.problems import Problem

RENEW_SECONDS = 20.0
"""How long to wait before the lease is renewed. GCS allows one write per second of an object."""

MARGIN_SECONDS = 240.0
"""How much longer than the idle timeout a lease lasts: the time in which a chunk is sent or given up, and a pause."""

_KEY = re.compile(r'"(?P<quoted>[\x20\x21\x23-\x5b\x5d-\x7e]{1,255})"|(?P<bare>[\x21\x23-\x7e]{1,255})')
_BUDGET = Budget(seconds=20.0)


def parse_key(header: str | None) -> str | None:
    """Return the key in the header `Idempotency-Key`, with or without quotes.

    Raises:
        Problem: it is empty, longer than 255 characters, or not plain text.
    """
    if header is None:
        return None
    found = _KEY.fullmatch(header.strip())
    if not found:
        raise Problem(400, "Idempotency-Key must have 1 to 255 printable ASCII characters.")
    return found["quoted"] or found["bare"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the object of a key says.

    Attributes:
        owner: the request that owns the key.
        expires: when the lease ends, as a Unix time.
        fingerprint: digest of the feed, the name and the content; None until the file has landed.
        version: the landed file; None until then.
    """

    owner: str
    expires: float
    fingerprint: str | None = None
    version: tuple[str, int, int, str] | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the record in `data`."""
        content: Mapping[str, Any] = json.loads(data)
        version = content["version"]
        return cls(**{**content, "version": tuple(version) if version else None})

    def text(self) -> str:
        """Return the record as JSON."""
        return json.dumps(vars(self))

    @property
    def landed(self) -> FileVersion | None:
        """The landed file."""
        return FileVersion(*self.version) if self.version else None


def fingerprint_of(feed: str, name: str, sha256: str) -> str:
    """Return the digest of what a request uploads."""
    return hashlib.sha256(json.dumps([feed, name, sha256]).encode()).hexdigest()


class Claim:
    """The hold of one request on a key.

    Attributes:
        earlier: the record of the request that used the key before, if its file has landed.
        dead_since: the generation of the object that an owner left behind when it died; 0 if there was none.
    """

    def __init__(self, blob: storage.Blob, *, lease_seconds: float) -> None:
        self.earlier: Record | None = None
        self.dead_since = 0
        self._blob = blob
        self._owner = secrets.token_hex(16)
        self._lease_seconds = lease_seconds
        self._generation = 0
        self._renewed = time.monotonic()

    @classmethod
    def of(cls, services: Services, subject: str, key: str, *, lease_seconds: float) -> Self:
        """Claim `key` for a request of `subject`, or find the record of the request that used it before.

        Raises:
            Problem: a request with the key is in progress.
            StoreError: the bucket cannot be used.
        """
        digest = hashlib.sha256(key.encode()).hexdigest()
        name = f"{services.staging.prefix}/uploads/{folder_of(subject)}/{digest}.json"
        bucket = services.clients.storage.bucket(services.staging.bucket)
        claim = cls(bucket.blob(name), lease_seconds=lease_seconds)
        if seconds := claim._retried(claim._acquire):
            raise Problem(
                409,
                "A request with this Idempotency-Key is in progress: wait for its answer, or try again later.",
                headers={"Retry-After": str(min(int(seconds) + 1, 30))},
            )
        return claim

    def _acquire(self) -> float:
        """Claim the key, or find the earlier record. Return for how many seconds another request holds the key."""
        replaced = 0
        while not self._write(self._lease(), if_generation=replaced):
            found = self._blob.bucket.get_blob(self._blob.name)
            replaced = 0
            if found is None:
                continue
            try:
                record = Record.parse(found.download_as_bytes(if_generation_match=found.generation))
            except (exceptions.NotFound, exceptions.PreconditionFailed):
                continue
            if record.owner == self._owner:
                # The response to the write was lost.
                self._generation = found.generation
                return 0
            if record.landed:
                self.earlier = record
                return 0
            if (seconds := record.expires - time.time()) > 0:
                return seconds
            self.dead_since = replaced = found.generation
        return 0

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew the lease."""
        return self.earlier is None and time.monotonic() > self._renewed + RENEW_SECONDS

    def renew(self) -> None:
        """Extend the lease.

        Raises:
            Problem: another request has taken the key over.
            StoreError: the bucket cannot be used.
        """
        if not self._retried(lambda: self._write(self._lease(), if_generation=self._generation)):
            raise Problem(409, "Another request has taken over this Idempotency-Key: nothing has landed.")

    def repeat(self, fingerprint: str) -> FileVersion:
        """Return what the earlier request landed.

        Raises:
            Problem: that was something else.
        """
        assert self.earlier
        assert self.earlier.landed
        if self.earlier.fingerprint != fingerprint:
            raise Problem(422, "This Idempotency-Key was used for another file or name: use a new key for each upload.")
        return self.earlier.landed

    def complete(self, version: FileVersion, fingerprint: str) -> None:
        """Record what has landed.

        Raises:
            StoreError: the bucket cannot be used.
        """
        record = Record(
            owner=self._owner,
            expires=0,
            fingerprint=fingerprint,
            version=(version.name, version.generation, version.size, version.crc32c),
        )
        self._retried(lambda: self._write(record, if_generation=self._generation))

    def release(self) -> None:
        """Remove the key, because nothing has landed."""
        if self.earlier is None:
            # If this fails, the lease expires.
            with suppress(*google_errors.FAULTS):
                self._blob.delete(if_generation_match=self._generation)

    def _lease(self) -> Record:
        return Record(owner=self._owner, expires=time.time() + self._lease_seconds)

    def _write(self, record: Record, *, if_generation: int) -> bool:
        """Write the object unless somebody else has; return whether it was written."""
        # A new blob, because the client would send back the metadata of the last one.
        blob = self._blob.bucket.blob(self._blob.name)
        try:
            blob.upload_from_string(record.text(), content_type="application/json", if_generation_match=if_generation)
        except exceptions.PreconditionFailed:
            return False
        self._generation, self._renewed = int(blob.generation), time.monotonic()
        return True

    def _retried[T](self, attempt: Callable[[], T]) -> T:
        def explain(error: Exception) -> str:
            return google_errors.explain(error, f"GCS bucket {self._blob.bucket.name}")

        return retry_transient(attempt, is_transient=google_errors.is_transient, explain=explain, budget=_BUDGET)
