"""Upload a file of unknown size into the landing zone while it arrives: it lands whole, or not at all."""

from collections.abc import Callable
from typing import Self

from txn_assets.files.ledger import FileVersion
from txn_assets.stores import google_errors
from txn_assets.stores.errors import StoreError, StoreUnavailableError
from txn_assets.stores.landing.zone import LandingZone
from txn_assets.stores.resumable import ResumableUpload, SessionLostError
from txn_assets.stores.retries import Budget, retry_transient

CHUNK_BYTES = 4 << 20
"""Bytes per request, and the memory of one upload; the service has many at once. GCS recommends 8 MiB."""

_BUDGET = Budget(seconds=60.0)


class LandingChangedError(StoreError):
    """Raised when another file has landed under the same name since the upload began."""


class LandingUpload(ResumableUpload):
    """An upload of a landing file in progress."""

    def __init__(self, landing: LandingZone, name: str, url: str) -> None:
        super().__init__(
            landing.clients, url, chunk_bytes=CHUNK_BYTES, retry=lambda attempt: _retried(attempt, landing, name)
        )
        self._name = name

    @classmethod
    def begin(cls, landing: LandingZone, name: str) -> Self:
        """Begin to upload a file that is to land as `name`, in place of the version that is there now.

        Raises:
            StoreError: the landing zone cannot be used.
        """

        def attempt() -> str:
            live = landing.latest(name)
            return landing.new_session(name, if_generation_match=live.generation if live else 0)

        return cls(landing, name, _retried(attempt, landing, name))

    def land(self) -> FileVersion:
        """Send the last bytes, and return the version that landed.

        Raises:
            LandingChangedError: another file has landed under the name.
            StoreError: the landing zone cannot be used.
        """
        landed = self.finish()
        return FileVersion(self._name, int(landed["generation"]), int(landed["size"]), landed["crc32c"])


def _retried[T](attempt: Callable[[], T], landing: LandingZone, name: str) -> T:
    def once() -> T:
        try:
            return attempt()
        except SessionLostError as error:
            message = f"The landing zone cannot go on with {name!r}: {error}. Upload it again."
            raise StoreUnavailableError(message) from error
        except google_errors.FAULTS as error:
            if google_errors.is_precondition_failure(error):
                message = "Another file has landed under this name since the upload began: nothing was replaced."
                raise LandingChangedError(message) from error
            raise

    return retry_transient(
        once,
        is_transient=google_errors.is_transient,
        explain=lambda error: google_errors.explain(error, f"Landing zone {landing.address}"),
        budget=_BUDGET,
    )
