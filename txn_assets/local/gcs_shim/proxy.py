"""Requests to GCS: which are checked, which are answered here, which are only forwarded.

A lock per object makes each check and change atomic: nothing may happen to an object between reading its generation and
changing it. The rules are in `preconditions.py` and `uploads.py`. See txn_assets/local/README.md for what is fixed and
what is not.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from weakref import WeakValueDictionary

import aiohttp
from aiohttp import web
from yarl import URL

from txn_assets.local.gcs_shim.answers import (
    Refusal,
    condition_not_met,
    incomplete,
    no_session,
    not_found,
    resource,
)
from txn_assets.local.gcs_shim.preconditions import ABSENT, Conditions, Version
from txn_assets.local.gcs_shim.routes import COMPOSE, COPY, OBJECT, UPLOAD, XML
from txn_assets.local.gcs_shim.store import Store, UnstorableError
from txn_assets.local.gcs_shim.uploads import (
    BadRequestError,
    Body,
    ContentRange,
    Session,
    check_announced,
    metadata_of_related,
)

_SMALL = 16 << 20
"""Maximum size of a single-part request held in memory; clients send bigger objects as resumable uploads."""
_PIECE = 1 << 18
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"})


class Proxy:
    """The shim between clients and one fake-gcs-server."""

    def __init__(self, *, backend: str, store: Path, spool: Path, identity: str) -> None:
        self._backend = backend
        self._store = Store(store)
        self._spool = spool
        self._identity = identity
        self._sessions: dict[str, Session] = {}
        # A lock lives as long as some request holds a reference to it.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def connect(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep a connection pool to the server while the application runs."""
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            # Forward bodies unchanged: gzipped objects, and the client's Accept-Encoding.
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            read_bufsize=_PIECE,
        )
        yield
        await self._client.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle any request."""
        try:
            return await self._dispatch(request)
        except Refusal as answer:
            return answer.response()
        except (BadRequestError, UnstorableError) as error:
            return Refusal(HTTPStatus.BAD_REQUEST, "invalid", str(error)).response()
        except aiohttp.ClientConnectionError as error:
            message = f"fake-gcs-server does not answer: {error}"
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "backendError", message).response()

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - one per kind of request
        path, method = request.rel_url.raw_path, request.method
        if path == "/_internal/healthcheck":
            async with self._send("GET", path) as answer:
                return web.Response(status=answer.status, text=self._identity)
        if path == "/_local/token":
            # For credentials that insist on a token; see `exports.py`. Nothing here checks it.
            return web.json_response({"access_token": "local", "token_type": "Bearer", "expires_in": 3600})
        if found := UPLOAD.fullmatch(path):
            return await self._upload(request, unquote(found["bucket"]))
        if method == "POST" and (found := COPY.fullmatch(path)):
            return await self._copy(request, **{key: unquote(value) for key, value in found.groupdict().items()})
        if method == "POST" and (found := COMPOSE.fullmatch(path)):
            return await self._compose(request, unquote(found["bucket"]), unquote(found["name"]))
        if found := OBJECT.fullmatch(path):
            bucket, name = unquote(found["bucket"]), unquote(found["name"])
            self._check_readable(bucket, name)
            if method in {"GET", "HEAD"}:
                return await self._read(request, bucket, name)
            return await self._change(request, bucket, name)
        if found := XML.fullmatch(path):
            self._check_readable(unquote(found["bucket"]), unquote(found["name"]))
        return await self._pass(request, xml=True)

    def _check_readable(self, bucket: str, name: str) -> None:
        try:
            self._store.check(bucket, name)
        except UnstorableError as error:
            raise not_found(bucket, name) from error

    # Reading: the response itself names the generation, so check that instead of the object beforehand.

    async def _read(self, request: web.Request, bucket: str, name: str) -> web.StreamResponse:
        conditions = Conditions.of(request.query)
        wanted = request.query.get("generation")
        if not (conditions.demand_something() or wanted):
            return await self._pass(request)
        # Hold the lock until the server has responded, because it may not have opened the object before. After that it
        # has the file open, and a replaced or deleted file can be read to its end.
        async with AsyncExitStack() as lock:
            await lock.enter_async_context(self._exclusive((bucket, name)))
            async with self._send(request.method, request.raw_path, headers=_forwarded(request)) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    return await self._relay(request, answer)
                content = None
                if generation := answer.headers.get("X-Goog-Generation"):
                    now = Version(int(generation), int(answer.headers.get("X-Goog-Metageneration", 1)))
                else:
                    content = await answer.read()
                    now = _version(content)
                await lock.aclose()
                if wanted and int(wanted) != now.generation:
                    raise not_found(bucket, f"{name}#{wanted}")
                if not conditions.match(now):
                    raise condition_not_met()
                if not conditions.differ(now):
                    raise Refusal(HTTPStatus.NOT_MODIFIED, "notModified", "Not Modified")
                return await self._relay(request, answer, content)

    # Changing: check, then change, while holding the lock of each object involved.

    async def _change(self, request: web.Request, bucket: str, name: str) -> web.StreamResponse:
        """Handle a DELETE, PATCH or PUT of an object."""
        async with self._exclusive((bucket, name)):
            now = await self._now(bucket, name)
            if request.query.get("generation", str(now.generation)) != str(now.generation):
                raise not_found(bucket, f"{name}#{request.query['generation']}")
            # For a missing object the server returns 404, whatever the conditions.
            if now != ABSENT and not Conditions.of(request.query).hold(now):
                raise condition_not_met()
            return await self._pass(request)

    async def _copy(
        self, request: web.Request, *, source_bucket: str, source: str, bucket: str, name: str
    ) -> web.StreamResponse:
        self._check_readable(source_bucket, source)
        self._store.check_new(bucket, name)
        async with self._exclusive((source_bucket, source), (bucket, name)):
            await self._check((bucket, name), Conditions.of(request.query))
            await self._check((source_bucket, source), Conditions.of(request.query, "ifSource"))
            return await self._pass(request)

    async def _compose(self, request: web.Request, bucket: str, name: str) -> web.StreamResponse:
        self._store.check_new(bucket, name)
        content = await request.read()
        sources = json.loads(content).get("sourceObjects", [])
        async with self._exclusive((bucket, name), *((bucket, source["name"]) for source in sources)):
            await self._check((bucket, name), Conditions.of(request.query))
            for source in sources:
                demanded = source.get("objectPreconditions", {}).get("ifGenerationMatch") or source.get("generation")
                conditions = Conditions(generation_match=int(demanded) if demanded else None)
                await self._check((bucket, source["name"]), conditions)
            return await self._pass(request, content)

    # Uploads.

    async def _upload(self, request: web.Request, bucket: str) -> web.StreamResponse:
        if upload_id := request.query.get("upload_id"):
            session = self._sessions.get(upload_id)
            if session is None:
                raise no_session()
            async with session.lock:
                if upload_id not in self._sessions:
                    raise no_session()
                if request.method == "DELETE":
                    self._sessions.pop(upload_id).body.close()
                    # As GCS answers.
                    return web.Response(status=499, reason="Client Closed Request")
                return await self._continue(request, upload_id)
        if request.query.get("uploadType") == "resumable":
            return await self._begin(request, bucket)
        return await self._upload_in_one(request, bucket)

    async def _begin(self, request: web.Request, bucket: str) -> web.Response:
        async with self._send("GET", f"/storage/v1/b/{quote(bucket, safe='')}") as answer:
            if answer.status != HTTPStatus.OK:
                raise Refusal(HTTPStatus.NOT_FOUND, "notFound", "The specified bucket does not exist.")
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
                message = f"The upload goes on at byte {body.size}, not at {sent.start}."
                raise BadRequestError(message)
            await body.extend(request.content.iter_any(), skip=body.size - sent.start, limit=sent.total)
        if sent.total != body.size and "Content-Range" in request.headers:
            return incomplete(request, body.size)
        return await self._finish(request, upload_id)

    async def _finish(self, request: web.Request, upload_id: str) -> web.Response:
        """Create the object of a finished upload. The session ends with it; after a failure the client starts over."""
        session = self._sessions[upload_id]
        try:
            check_announced(session.body, session.metadata, request.headers.get("X-Goog-Hash"))
            async with self._exclusive((session.bucket, session.name)):
                session.answer = await self._commit(session, request.headers)
        except BaseException:
            del self._sessions[upload_id]
            raise
        finally:
            session.body.close()
        return resource(session.answer)

    async def _commit(self, session: Session, headers: Mapping[str, str]) -> tuple[int, bytes]:
        body, bucket, name = session.body, session.bucket, session.name
        self._store.check_new(bucket, name)
        now = await self._now(bucket, name)
        if not Conditions.of(session.parameters).hold(now):
            raise condition_not_met()
        if not body.crc32c or not self._store.takes_uploads() or name.endswith("/"):
            return await self._hand_over(session)
        self._store.place(body, bucket, name, session.metadata, after=now.generation)
        status, content = await self._metadata(bucket, name, headers)
        if status != HTTPStatus.OK or json.loads(content)["size"] != str(body.size):
            message = "This version of fake-gcs-server keeps its files in another way than the shim knows."
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "internalError", message)
        return status, content

    async def _hand_over(self, session: Session) -> tuple[int, bytes]:
        """Send a finished upload to the server, which holds it in memory, if it cannot be moved into place."""
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
        async with self._send("POST", path, headers=headers, content=content) as answer:
            return answer.status, await answer.read()

    async def _upload_in_one(self, request: web.Request, bucket: str) -> web.StreamResponse:
        """Handle a single-request upload. Read it in full first: the server locks all objects while it reads one."""
        if (request.content_length or _SMALL + 1) <= _SMALL:
            small = await request.read()
            return await self._upload_taken_in(request, bucket, small, small)
        body = Body(self._spool)
        try:
            await body.extend(request.content.iter_any())
            body.finish()
            with body.path.open("rb") as file:
                head = file.read(_SMALL)
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
            return await self._pass(request, content)  # The server says what is wrong with it.
        self._store.check_new(bucket, name)
        async with self._exclusive((bucket, name)):
            await self._check((bucket, name), Conditions.of(request.query))
            return await self._pass(request, content)

    # Shared helpers.

    @asynccontextmanager
    async def _exclusive(self, *objects: tuple[str, str]) -> AsyncIterator[None]:
        """Lock these objects. Lock in name order, so that two requests cannot deadlock."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(objects)):
                lock = self._locks.get(key)
                if lock is None:
                    lock = self._locks[key] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield

    async def _check(self, key: tuple[str, str], conditions: Conditions) -> None:
        if conditions.demand_something() and not conditions.hold(await self._now(*key)):
            raise condition_not_met()

    async def _now(self, bucket: str, name: str) -> Version:
        status, content = await self._metadata(bucket, name, {})
        return _version(content) if status == HTTPStatus.OK else ABSENT

    async def _metadata(self, bucket: str, name: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        path = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
        # The host name ends up in the object's links.
        host = {"Host": headers["Host"]} if "Host" in headers else {}
        async with self._send("GET", path, headers=host) as answer:
            return answer.status, await answer.read()

    def _send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, content: object = None) -> Any:  # noqa: ANN401 - aiohttp's context manager of a response; aiohttp has no types here
        url = URL(self._backend + path, encoded=True)
        return self._client.request(method, url, headers=headers, data=content, allow_redirects=False)

    async def _pass(
        self, request: web.Request, content: bytes | AsyncIterable[bytes] | None = None, *, xml: bool = False
    ) -> web.StreamResponse:
        """Forward a request unchanged, and the response. `content` replaces a body that was already read."""
        headers = _forwarded(request)
        if xml:
            # Without this, the server takes the host for a bucket name.
            headers["Host"] = self._backend.removeprefix("http://")
        if content is None and request.can_read_body:
            content = request.content.iter_any()
        async with self._send(request.method, request.raw_path, headers=headers, content=content) as answer:
            return await self._relay(request, answer)

    async def _relay(
        self, request: web.Request, answer: aiohttp.ClientResponse, content: bytes | None = None
    ) -> web.StreamResponse:
        if request.method == "DELETE" and answer.status == HTTPStatus.OK:
            # As GCS answers; gcloud and gsutil expect JSON in a 200.
            return web.Response(status=HTTPStatus.NO_CONTENT)
        headers = [(key, value) for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP]
        if content is None and (request.method == "HEAD" or (answer.content_length or _PIECE + 1) <= _PIECE):
            content = await answer.read()
        if content is not None and request.method != "HEAD":
            return web.Response(status=answer.status, headers=headers, body=content)
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


def _forwarded(request: web.Request) -> dict[str, str]:
    headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
    # aiohttp checks the number of bytes sent; a body that was read and sent again has the same length.
    if "Content-Length" in headers and not request.can_read_body:
        headers["Content-Length"] = str(request.content_length or 0)
    return headers


async def _pieces(path: Path, before: bytes = b"", after: bytes = b"") -> AsyncIterator[bytes]:
    yield before
    with path.open("rb") as file:  # No thread: the pages are still in memory.
        while piece := file.read(_PIECE):
            yield piece
    yield after


def _version(content: bytes) -> Version:
    resource: Mapping[str, str] = json.loads(content)
    return Version(int(resource["generation"]), int(resource.get("metageneration", "1")))


def application(proxy: Proxy) -> web.Application:
    """Return the web application of a shim."""
    app = web.Application(client_max_size=_SMALL)
    app.cleanup_ctx.append(proxy.connect)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    return app
