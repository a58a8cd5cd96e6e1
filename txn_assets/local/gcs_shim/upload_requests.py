"""Handle single-part and resumable uploads: check the request, then create the object, holding the object's lock.

`uploads.py` has the bodies and the protocol of resumable uploads.
"""

import json
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from txn_assets.local.gcs_shim.answers import Refusal, condition_not_met, incomplete, no_bucket, no_session, resource
from txn_assets.local.gcs_shim.backend import PIECE_BYTES, Backend
from txn_assets.local.gcs_shim.locks import ObjectLocks
from txn_assets.local.gcs_shim.preconditions import Conditions
from txn_assets.local.gcs_shim.store import Store
from txn_assets.local.gcs_shim.uploads import (
    BadRequestError,
    Body,
    ContentRange,
    Session,
    check_announced,
    metadata_of_related,
)

SMALL_BYTES = 16 << 20
"""Maximum size of a single-part request to hold in memory. Clients send bigger objects as resumable uploads."""


class UploadRequests:
    """Handles upload requests, and keeps the sessions of resumable uploads."""

    def __init__(self, backend: Backend, store: Store, locks: ObjectLocks, *, spool: Path) -> None:
        self._backend = backend
        self._store = store
        self._locks = locks
        self._spool = spool
        self._sessions: dict[str, Session] = {}

    async def handle(self, request: web.Request, bucket: str) -> web.StreamResponse:
        """Handle any upload request."""
        if upload_id := request.query.get("upload_id"):
            session = self._sessions.get(upload_id)
            if session is None:
                raise no_session()
            async with session.lock:
                if upload_id not in self._sessions:
                    raise no_session()
                if request.method == "DELETE":
                    self._sessions.pop(upload_id).body.close()
                    # GCS returns this status too.
                    return web.Response(status=499, reason="Client Closed Request")
                return await self._continue(request, upload_id)
        if request.query.get("uploadType") == "resumable":
            return await self._begin(request, bucket)
        return await self._upload_in_one(request, bucket)

    async def _begin(self, request: web.Request, bucket: str) -> web.Response:
        async with self._backend.send("GET", f"/storage/v1/b/{quote(bucket, safe='')}") as answer:
            if answer.status != HTTPStatus.OK:
                raise no_bucket()
        content = await request.read()
        metadata = json.loads(content) if content.strip() else {}
        name = request.query.get("name") or metadata.get("name")
        if not name:
            raise Refusal(HTTPStatus.BAD_REQUEST, "required", "The upload has no object name.")
        self._store.check(bucket, name)
        Conditions.of(request.query)
        if not metadata.get("contentType"):
            metadata["contentType"] = request.headers.get("X-Upload-Content-Type", "application/octet-stream")
        upload_id = secrets.token_hex(16)
        self._sessions[upload_id] = Session(
            bucket=bucket, name=name, parameters=dict(request.query), metadata=metadata, body=Body(self._spool)
        )
        # Use the address that the client used, so that a proxy in front of the shim stays in the path.
        place = f"http://{request.host}/upload/storage/v1/b/{quote(bucket, safe='')}/o"
        return web.Response(headers={"Location": f"{place}?uploadType=resumable&upload_id={upload_id}"})

    async def _continue(self, request: web.Request, upload_id: str) -> web.Response:
        """Handle a chunk of a resumable upload, its end, or a status query."""
        session = self._sessions[upload_id]
        if session.answer:
            return resource(session.answer)
        body = session.body
        sent = ContentRange.of(request.headers.get("Content-Range"))
        if sent.start is not None:
            if sent.start > body.size:
                message = f"The upload continues at byte {body.size}, not at {sent.start}."
                raise BadRequestError(message)
            await body.extend(request.content.iter_any(), skip=body.size - sent.start, limit=sent.total)
        if sent.total != body.size and "Content-Range" in request.headers:
            return incomplete(request, body.size)
        return await self._finish(request, upload_id)

    async def _finish(self, request: web.Request, upload_id: str) -> web.Response:
        """Create the object of a finished upload. If that fails, end the session, so that the client starts over."""
        session = self._sessions[upload_id]
        try:
            check_announced(session.body, session.metadata, request.headers.get("X-Goog-Hash"))
            async with self._locks.exclusive((session.bucket, session.name)):
                session.answer = await self._commit(session)
        except BaseException:
            del self._sessions[upload_id]
            raise
        finally:
            session.body.close()
        return resource(session.answer)

    async def _commit(self, session: Session) -> tuple[int, bytes]:
        body, bucket, name = session.body, session.bucket, session.name
        self._store.check_new(bucket, name)
        now = await self._backend.version(bucket, name)
        if not Conditions.of(session.parameters).hold(now):
            raise condition_not_met()
        if not body.crc32c or not self._store.takes_uploads() or name.endswith("/"):
            return await self._hand_over(session)
        self._store.place(body, bucket, name, session.metadata, after=now.generation)
        status, content = await self._backend.metadata(bucket, name)
        if status != HTTPStatus.OK or json.loads(content)["size"] != str(body.size):
            message = "This version of fake-gcs-server stores its files in a layout that the shim does not support."
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "internalError", message)
        return status, content

    async def _hand_over(self, session: Session) -> tuple[int, bytes]:
        """Send the server a finished upload that cannot be moved into place. The server holds it in memory."""
        session.body.finish()
        boundary = secrets.token_hex(16)
        metadata = json.dumps({**session.metadata, "name": session.name})
        head = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{metadata}\r\n"
            f"--{boundary}\r\nContent-Type: {session.metadata['contentType']}\r\n\r\n"
        )
        path = f"/upload/storage/v1/b/{quote(session.bucket, safe='')}/o?uploadType=multipart"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        content = _pieces(session.body.path, head.encode(), f"\r\n--{boundary}--\r\n".encode())
        async with self._backend.send("POST", path, headers=headers, content=content) as answer:
            return answer.status, await answer.read()

    async def _upload_in_one(self, request: web.Request, bucket: str) -> web.StreamResponse:
        """Handle a single-request upload. Read the body first: the server locks all objects while it reads one."""
        if (request.content_length or SMALL_BYTES + 1) <= SMALL_BYTES:
            small = await request.read()
            return await self._upload_taken_in(request, bucket, small, small)
        body = Body(self._spool)
        try:
            await body.extend(request.content.iter_any())
            body.finish()
            with body.path.open("rb") as file:
                head = file.read(SMALL_BYTES)
            return await self._upload_taken_in(request, bucket, head, _pieces(body.path))
        finally:
            body.close()

    async def _upload_taken_in(
        self, request: web.Request, bucket: str, head: bytes, content: bytes | AsyncIterable[bytes]
    ) -> web.StreamResponse:
        name = request.query.get("name")
        if not name and request.query.get("uploadType") == "multipart":
            name = metadata_of_related(request.headers.get("Content-Type", ""), head).get("name")
        if not name:
            return await self._backend.forward(request, content)  # The server reports the error.
        self._store.check_new(bucket, name)
        async with self._locks.exclusive((bucket, name)):
            await self._backend.check((bucket, name), Conditions.of(request.query))
            return await self._backend.forward(request, content)


async def _pieces(path: Path, before: bytes = b"", after: bytes = b"") -> AsyncIterator[bytes]:
    yield before
    with path.open("rb") as file:  # Read without a thread, because the pages are still in memory.
        while piece := file.read(PIECE_BYTES):
            yield piece
    yield after
