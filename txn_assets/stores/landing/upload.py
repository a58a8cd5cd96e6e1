"""Upload a file of unknown size into the landing zone while it arrives: it lands whole, or not at all.

The bytes go into a session of GCS's resumable uploads, which makes the object only with the request that says how many
bytes there are. The last chunk is held back until `finish`, so that nothing lands before the caller has checked
everything. The client's own class for such sessions, which reads from a file, is private. The protocol is documented at
https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Self

import requests
from google.api_core import exceptions

from txn_assets.files.checksums import Checksum
from txn_assets.files.ledger import FileVersion
from txn_assets.stores import google_errors
from txn_assets.stores.errors import StoreError, StoreUnavailableError
from txn_assets.stores.landing.zone import LandingZone
from txn_assets.stores.retries import Budget, retry_transient

CHUNK_BYTES = 4 << 20
"""Bytes per request, and the memory of an upload. GCS requires a multiple of 256 KiB; it recommends 8 MiB."""

_BUDGET = Budget(seconds=60.0)
_DONE = (HTTPStatus.OK, HTTPStatus.CREATED)
_RECEIVED = re.compile(r"bytes=0-(\d+)")


class LandingChangedError(StoreError):
    """Raised when another file has landed under the same name since the upload began."""


class ResumableUpload:
    """An upload in progress. Write to it from one thread at a time."""

    def __init__(self, landing: LandingZone, name: str, url: str) -> None:
        self._landing = landing
        self._name = name
        # Whoever has the address can write to the session: keep it out of messages and logs.
        self._url = url
        self._buffer = bytearray()
        self._sent = 0
        self._checksum = Checksum()
        self._is_over = False
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, landing: LandingZone, name: str) -> Self:
        """Begin to upload a file that is to land as `name`, in place of the version that is there now.

        Raises:
            StoreError: the landing zone cannot be used.
        """

        def attempt() -> str:
            live = landing.latest(name)
            return landing.new_session(name, if_generation_match=live.generation if live else 0)

        return cls(landing, name, _retried(attempt, landing))

    def write(self, data: bytes) -> None:
        """Add `data` to the buffer. Call `send` once `is_full`."""
        self._buffer += data
        self._checksum.update(data)

    @property
    def is_full(self) -> bool:
        """Whether the buffer has more than a chunk."""
        return len(self._buffer) > CHUNK_BYTES

    @property
    def crc32c(self) -> str:
        """The checksum of what was written so far."""
        return self._checksum.base64()

    def send(self) -> None:
        """Send whole chunks, except the last bytes.

        Raises:
            StoreError: the landing zone cannot be used.
        """
        while self.is_full:
            chunk, self._buffer = self._buffer, self._buffer[CHUNK_BYTES:]
            del chunk[CHUNK_BYTES:]
            with self._lock:
                self._put(memoryview(chunk), is_last=False)

    def finish(self) -> FileVersion:
        """Send the last bytes with the checksum of the whole file, and return the version that landed.

        Raises:
            LandingChangedError: another file has landed under the name.
            StoreError: the landing zone cannot be used.
        """
        self.send()
        with self._lock:
            response = self._put(memoryview(self._buffer), is_last=True)
            self._is_over = True
        landed = response.json()
        return FileVersion(self._name, int(landed["generation"]), int(landed["size"]), str(landed["crc32c"]))

    def cancel(self) -> None:
        """Discard what was sent. Wait for a request in progress; do nothing after `finish`."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            # A session that is not canceled expires after a week.
            with suppress(requests.RequestException):
                self._request("DELETE", b"", {})

    def _put(self, chunk: memoryview, *, is_last: bool) -> requests.Response:
        """Send `chunk` and return the response to its last byte."""
        if self._is_over:
            message = f"The upload of {self._name!r} was canceled."
            raise StoreError(message)
        total = str(self._sent + len(chunk)) if is_last else "*"
        start, received, is_unsure = self._sent, 0, False

        def attempt() -> requests.Response:
            nonlocal received, is_unsure
            while True:
                if is_unsure:
                    # A part of the chunk, or all of it, may have arrived.
                    response = self._request("PUT", b"", {"Content-Range": f"bytes */{total}"})
                else:
                    is_unsure = True
                    span = f"bytes {start + received}-{start + len(chunk) - 1}/{total}"
                    hashes = {"X-Goog-Hash": f"crc32c={self.crc32c}"} if is_last else {}
                    response = self._request("PUT", chunk[received:], {"Content-Range": span, **hashes})
                if response.status_code in _DONE and is_last:
                    return response
                received = self._received(response) - start
                is_unsure = False
                if received < 0:
                    message = f"The landing zone lost a part of {self._name!r}: upload it again."
                    raise StoreUnavailableError(message)
                if received == len(chunk) and not is_last:
                    return response

        response = _retried(attempt, self._landing)
        self._sent += len(chunk)
        return response

    def _received(self, response: requests.Response) -> int:
        """Return how many bytes the session has, from its response.

        Raises:
            LandingChangedError: another file has landed under the name.
            StoreUnavailableError: the session is gone.
            GoogleAPICallError: any other error.
        """
        if response.status_code == HTTPStatus.PERMANENT_REDIRECT:
            found = _RECEIVED.fullmatch(response.headers.get("Range", ""))
            return int(found[1]) + 1 if found else 0
        if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            message = f"The landing zone ended the upload of {self._name!r}: upload it again."
            raise StoreUnavailableError(message)
        raise _error(response)

    def _request(self, method: str, data: bytes | memoryview, headers: dict[str, str]) -> requests.Response:
        clients = self._landing.clients
        return clients.upload_sessions.request(
            method, self._url, data=data, headers=headers, timeout=clients.request_seconds, allow_redirects=False
        )


def _retried[T](attempt: Callable[[], T], landing: LandingZone) -> T:
    def explain(error: Exception) -> str:
        # A message of `requests` has the address of the session.
        what = ConnectionError(type(error).__name__) if isinstance(error, requests.RequestException) else error
        return google_errors.explain(what, f"Landing zone {landing.address}")

    def once() -> T:
        try:
            return attempt()
        except google_errors.FAULTS as error:
            if google_errors.is_precondition_failure(error):
                message = "Another file has landed under this name since the upload began: nothing was replaced."
                raise LandingChangedError(message) from error
            raise

    return retry_transient(once, is_transient=google_errors.is_transient, explain=explain, budget=_BUDGET)


def _error(response: requests.Response) -> exceptions.GoogleAPICallError:
    """Return the error in `response`. `exceptions.from_http_response` would put the address into its message."""
    try:
        error = response.json()["error"]
        message, errors = str(error["message"]), error.get("errors", ())
    except (ValueError, KeyError, TypeError, AttributeError):
        message, errors = response.reason or "no message", ()
    found: exceptions.GoogleAPICallError = exceptions.from_http_status(  # type: ignore[no-untyped-call]  # untyped
        response.status_code, message, errors=errors
    )
    return found
