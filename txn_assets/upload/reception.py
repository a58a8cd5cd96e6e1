"""One file while it arrives: from the request straight into a resumable upload at its final name, a chunk at a time.

The last chunk is sent once everything about the upload has been checked, so nothing half lands. `receive.py` has the
routes.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

from txn_assets.files.ledger import FileVersion
from txn_assets.stores.errors import StoreError
from txn_assets.stores.landing.upload import LandingChangedError, LandingUpload
from txn_assets.stores.services import Services
from txn_assets.upload.digests import Digests
from txn_assets.upload.header import HEAD_BYTES, check_head
from txn_assets.upload.idempotency import Claim, fingerprint_of
from txn_assets.upload.multipart import Body
from txn_assets.upload.names import landed_name
from txn_assets.upload.problems import Problem

LOGGER = logging.getLogger("txn_assets.upload")


class Reception:
    """One file while it arrives. `close` discards it unless it has landed."""

    def __init__(  # noqa: PLR0913 - what makes up a request
        self, *, services: Services, subject: str, body: Body, content: Digests, file: Digests, claim: Claim | None
    ) -> None:
        self._services = services
        self._subject = subject
        self._body = body
        self._content = content
        self._file = file
        self._claim = claim
        self._max_bytes = services.config.max_upload_bytes
        self._head = bytearray()
        self._size = 0
        self._name: str | None = None
        self._upload: LandingUpload | None = None
        self._has_landed = False
        self._work: asyncio.Future[Any] | None = None

    async def take(self, data: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            Problem: the body or the file in it cannot be accepted.
            StoreError: the bucket cannot be used.
        """
        self._content.update(data)
        piece = self._body.feed(data)
        if not piece:
            return
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise too_large(self._max_bytes)
        self._file.update(piece)
        if self._name is None:
            self._head += piece
            if len(self._head) >= HEAD_BYTES:
                await self._begin(is_whole=False)
        elif self._upload:
            self._upload.write(piece)
            if self._upload.is_full:
                await self._in_thread(self._upload.send)
        if self._claim and self._claim.is_due:
            await self._in_thread(self._claim.renew)

    async def finish(self) -> FileVersion:
        """Check the whole file, and land it. Return what landed, or what an earlier request with the same key did.

        Raises:
            Problem: the file cannot be accepted.
            StoreError: the bucket cannot be used.
        """
        self._body.end()
        if not self._size:
            raise Problem(422, f"The file is empty: send {self._services.feed.file} with a header and rows.")
        if self._name is None:
            await self._begin(is_whole=True)
        self._content.check()
        self._file.check()
        assert self._name
        if self._claim is None:
            return await self._land()
        fingerprint = fingerprint_of(self._services.feed.name, self._name, self._file.hex("sha-256"))
        if self._claim.earlier:
            return self._claim.repeat(fingerprint)
        claim, version = self._claim, await self._landed_by_dead_owner() or await self._land()
        await self._in_thread(lambda: _complete(claim, version, fingerprint))
        return version

    async def close(self) -> None:
        """Discard what did not land, after the work in progress."""
        if self._work:
            await asyncio.gather(self._work, return_exceptions=True)
        if self._has_landed:
            return
        if self._upload:
            await asyncio.to_thread(self._upload.cancel)
        if self._claim:
            await asyncio.to_thread(self._claim.release)

    async def _begin(self, *, is_whole: bool) -> None:
        """Check the name and the header, and open the upload."""
        feed, landing = self._services.feed, self._services.landing
        self._name = name = landed_name(self._subject, self._body.name or "", feed, dt.datetime.now(dt.UTC))
        head = bytes(self._head)
        await self._in_thread(lambda: check_head(head, feed, is_whole=is_whole))
        if self._claim and self._claim.earlier:
            return

        def begin() -> None:
            self._upload = LandingUpload.begin(landing, name)
            self._upload.write(head)

        await self._in_thread(begin)

    async def _land(self) -> FileVersion:
        upload = self._upload
        assert upload

        def finish() -> FileVersion:
            version = upload.land()
            self._has_landed = True
            return version

        try:
            return await self._in_thread(finish)
        except LandingChangedError as error:
            raise Problem(412, str(error)) from error

    async def _landed_by_dead_owner(self) -> FileVersion | None:
        """Return the live version if the owner of the key landed the same bytes before it died."""
        assert self._name
        assert self._upload
        assert self._claim
        if not self._claim.dead_since:
            return None
        live = await self._in_thread(lambda: self._services.landing.latest(str(self._name)))
        if not live or live.generation < self._claim.dead_since or live.crc32c != self._upload.crc32c:
            return None
        await self._in_thread(self._upload.cancel)
        self._has_landed = True
        return live

    async def _in_thread[T](self, work: Callable[[], T]) -> T:
        """Run blocking `work`. `close` waits for it, because a canceled task does not stop its thread."""
        self._work = asyncio.ensure_future(asyncio.to_thread(work))
        result: T = await asyncio.shield(self._work)
        return result


def _complete(claim: Claim, version: FileVersion, fingerprint: str) -> None:
    try:
        claim.complete(version, fingerprint)
    except StoreError as error:
        # The file has landed. A repeated request finds it once the lease has expired.
        LOGGER.warning("The idempotency key of %s is not recorded: %s", version, error)


def too_large(max_bytes: int) -> Problem:
    """Return the answer for a file that is too large."""
    return Problem(413, f"The file has more than {max_bytes:,} bytes, the most that one upload may have.")
