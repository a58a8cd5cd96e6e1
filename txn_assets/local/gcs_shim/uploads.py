"""Uploads in progress: the body on disk, its checksums, and the protocol of resumable uploads.

This module stores the received bytes and interprets Content-Range. `upload_requests.py` handles the requests and checks
their preconditions. Keep aiohttp out, so that the rules can be tested without a server. The protocol is documented at
https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

import asyncio
import base64
import email.message
import hashlib
import json
import re
import tempfile
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

try:
    import google_crc32c
except ImportError:  # The lock file of this environment may lack google-crc32c.
    google_crc32c = None  # type: ignore[assignment]  # see `Body.crc32c`

_WRITE_BYTES = 1 << 20
"""Bytes hashed and written at once, in a thread: enough to make the cost of the handoff negligible."""


class BadRequestError(Exception):
    """The request violates the protocol; the message says how."""


class Body:
    """Received bytes in a file; memory never holds all of them."""

    def __init__(self, spool: Path) -> None:
        self._file = tempfile.NamedTemporaryFile(dir=spool, delete=False)  # noqa: SIM115 - `close` ends it
        self.path = Path(self._file.name)
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c = 0

    async def extend(self, chunks: AsyncIterable[bytes], *, skip: int = 0, limit: int | None = None) -> None:
        """Append the client's bytes, except the first `skip`. Keep what arrived before a broken connection.

        Raises:
            BadRequestError: the body would exceed `limit`.
        """
        waiting = bytearray()
        try:
            async for chunk in chunks:
                fresh = chunk[skip:]
                skip -= len(chunk) - len(fresh)
                waiting += fresh
                if limit is not None and self.size + len(waiting) > limit:
                    waiting.clear()
                    message = f"The upload has more than the {limit} bytes that it announced."
                    raise BadRequestError(message)
                if len(waiting) >= _WRITE_BYTES:
                    await self._write(bytes(waiting))
                    waiting.clear()
        finally:
            if waiting:
                await self._write(bytes(waiting))

    async def _write(self, block: bytes) -> None:
        await asyncio.to_thread(self._write_now, block)
        self.size += len(block)

    def _write_now(self, block: bytes) -> None:
        self._file.write(block)
        self._md5.update(block)
        if google_crc32c:
            self._crc32c = google_crc32c.extend(self._crc32c, block)

    @property
    def md5(self) -> str:
        """The MD5 in the encoding of GCS."""
        return base64.b64encode(self._md5.digest()).decode()

    @property
    def crc32c(self) -> str | None:
        """The CRC32C in the encoding of GCS; None if google-crc32c is not installed."""
        return base64.b64encode(self._crc32c.to_bytes(4)).decode() if google_crc32c else None

    def finish(self) -> None:
        """Flush the last bytes to the file."""
        self._file.flush()

    def close(self) -> None:
        """Delete the file unless it was moved away."""
        self._file.close()
        self.path.unlink(missing_ok=True)


@dataclass(kw_only=True)
class Session:
    """A resumable upload. `answer` is the response to the finished upload, for a client that missed it."""

    bucket: str
    name: str
    parameters: Mapping[str, str]
    metadata: Mapping[str, Any]
    body: Body
    answer: tuple[int, bytes] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class ContentRange:
    """Range of the bytes in a request to an upload session. `start` is None in a status query."""

    start: int | None
    total: int | None

    _FORM = re.compile(r"bytes (?:(?P<start>\d+)-(?:\d+|\*)|\*)/(?P<total>\d+|\*)")

    @classmethod
    def of(cls, header: str | None) -> Self:
        """Parse the header. Without one, the request carries the whole body.

        Raises:
            BadRequestError: the header is not a valid Content-Range.
        """
        if header is None:
            return cls(0, None)
        found = cls._FORM.fullmatch(header.strip())
        if not found:
            message = f"Invalid Content-Range: {header}"
            raise BadRequestError(message)
        start, total = found["start"], found["total"]
        return cls(None if start is None else int(start), None if total == "*" else int(total))


def metadata_of_related(content_type: str, head: bytes) -> Mapping[str, Any]:
    """Return the metadata in the first part of a multipart/related upload; `head` is the beginning of its body.

    Raises:
        BadRequestError: there is no such part.
    """
    header = email.message.Message()
    header["Content-Type"] = content_type
    # gsutil puts the boundary into apostrophes.
    boundary = b"--" + str(header.get_param("boundary", "")).strip("'").encode()
    parts = head.split(boundary, maxsplit=2)
    if len(parts) < 3:
        message = "A multipart upload must have two parts, the metadata and the content."
        raise BadRequestError(message)
    try:
        metadata = json.loads(re.split(rb"\r\n\r\n|\n\n", parts[1], maxsplit=1)[-1])
    except ValueError as error:
        message = f"The metadata of the upload is not JSON: {error}"
        raise BadRequestError(message) from error
    return metadata if isinstance(metadata, dict) else {}


def check_announced(body: Body, announced: Mapping[str, Any], header: str | None) -> None:
    """Compare the checksums in the metadata or in X-Goog-Hash with those of the received bytes.

    Raises:
        BadRequestError: a checksum differs.
    """
    promised = {"crc32c": announced.get("crc32c"), "md5": announced.get("md5Hash")}
    for item in (header or "").split(","):
        kind, _, value = item.strip().partition("=")
        promised[kind] = value or promised.get(kind)
    for kind, arrived in (("crc32c", body.crc32c), ("md5", body.md5)):
        if promised[kind] and arrived and promised[kind] != arrived:
            message = f"Provided {kind} {promised[kind]} does not match the content, which has {arrived}."
            raise BadRequestError(message)
