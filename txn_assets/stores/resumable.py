"""Upload an object of unknown size while it is made: it appears whole, or not at all.

The bytes go into a session of GCS's resumable uploads, which makes the object only with the request that says how many
bytes there are. The last chunk is held back until `finish`, so that nothing appears before the caller has checked
everything, and goes with the checksum of all bytes, which GCS compares before it makes the object. The client's own
class for such sessions is private, and its file-like writer makes the object when an exception ends its block. The
protocol is documented at https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

import requests
from google.api_core import exceptions

from txn_assets.files.checksums import Checksum
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import StoreError

_DONE = (HTTPStatus.OK, HTTPStatus.CREATED)
_RECEIVED = re.compile(r"bytes=0-(\d+)")


class SessionLostError(Exception):
    """Raised when the session, or a part of what was sent to it, is gone: begin again."""


class ResumableUpload:
    """An upload in progress. Write to it from one thread at a time.

    Attributes:
        url: the address of the session. Whoever has it can write to the session: keep it out of messages and logs.
        chunk_bytes: bytes per request, and the memory of an upload. GCS requires a multiple of 256 KiB.
        retry: run an attempt to send a chunk, and run it again after a transient error: it continues at the byte that
            GCS has got to.
    """

    def __init__(
        self,
        clients: Clients,
        url: str,
        *,
        chunk_bytes: int,
        retry: Callable[[Callable[[], requests.Response]], requests.Response],
    ) -> None:
        self._clients = clients
        self._url = url
        self._chunk_bytes = chunk_bytes
        self._retry = retry
        self._buffer = bytearray()
        self._sent = 0
        self._checksum = Checksum()
        self._is_over = False
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Add `data` to the buffer. Call `send` once `is_full`."""
        self._buffer += data
        self._checksum.update(data)

    @property
    def is_full(self) -> bool:
        """Whether the buffer has more than a chunk."""
        return len(self._buffer) > self._chunk_bytes

    @property
    def crc32c(self) -> str:
        """The checksum of what was written so far."""
        return self._checksum.base64()

    def send(self) -> None:
        """Send whole chunks, except the last bytes.

        Raises:
            StoreError: the upload was canceled.
            SessionLostError: see `SessionLostError`.
            Exception: what `retry` raises.
        """
        while self.is_full:
            chunk, self._buffer = self._buffer, self._buffer[self._chunk_bytes :]
            del chunk[self._chunk_bytes :]
            with self._lock:
                self._put(memoryview(chunk), is_last=False)

    def finish(self) -> dict[str, str]:
        """Send the last bytes with the checksum of all of them, and return the resource of the object.

        Raises:
            Exception: see `send`. If another object was written since the upload began, GCS refuses the last request.
        """
        self.send()
        with self._lock:
            response = self._put(memoryview(self._buffer), is_last=True)
            self._is_over = True
        resource: dict[str, str] = response.json()
        return resource

    def cancel(self) -> None:
        """Discard what was sent. Wait for a request in progress; do nothing after `finish`."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            # A session that is not canceled expires after a week.
            with suppress(OSError):
                self._request("DELETE", b"", {})

    def _put(self, chunk: memoryview, *, is_last: bool) -> requests.Response:
        """Send `chunk` and return the response to its last byte."""
        if self._is_over:
            message = "The upload was canceled."
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
                received = _received(response) - start
                is_unsure = False
                if received < 0:
                    message = "a part of the upload is gone"
                    raise SessionLostError(message)
                if received == len(chunk) and not is_last:
                    return response

        response = self._retry(attempt)
        self._sent += len(chunk)
        return response

    def _request(self, method: str, data: bytes | memoryview, headers: dict[str, str]) -> requests.Response:
        try:
            return self._clients.upload_sessions.request(
                method,
                self._url,
                data=data,
                headers=headers,
                timeout=self._clients.request_seconds,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            # Its message has the address of the session.
            raise ConnectionError(type(error).__name__) from None


def _received(response: requests.Response) -> int:
    """Return how many bytes the session has, from its response.

    Raises:
        SessionLostError: the session is gone.
        GoogleAPICallError: any other error.
    """
    if response.status_code == HTTPStatus.PERMANENT_REDIRECT:
        found = _RECEIVED.fullmatch(response.headers.get("Range", ""))
        return int(found[1]) + 1 if found else 0
    if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        message = "the session of the upload is gone"
        raise SessionLostError(message)
    raise _error(response)


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
