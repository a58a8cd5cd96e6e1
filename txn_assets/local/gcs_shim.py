"""A proxy in front of the embedded GCS server that keeps the promises on which the platform builds.

Here belongs what that server lacks: generation preconditions on everything but single-request uploads, reads of one
generation, and resumable uploads that survive a lost connection. All else passes through. It runs with the Python of
`.venv-servers` as a script and imports nothing of the project.

    gcs_shim.py PORT BACKEND_PORT
"""

import asyncio
import json
import re
import sys
import tempfile
from collections import OrderedDict
from typing import IO
from urllib.parse import unquote
from weakref import WeakValueDictionary

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

OBJECT = re.compile(r"^/(?:download/)?storage/v1/b/(?P<bucket>[^/]+)/o/(?P<object>[^/]+)$")
DESTINATION = re.compile(
    r"^/storage/v1/b/[^/]+/o/[^/]+/(?:rewriteTo|copyTo)/b/(?P<bucket>[^/]+)/o/(?P<object>[^/]+)$"
    r"|^/storage/v1/b/(?P<bucket2>[^/]+)/o/(?P<object2>[^/]+)/compose$"
)
UPLOAD = re.compile(r"^/(?:upload/|resumable/upload/)?storage/v1/b/(?P<bucket>[^/]+)/o$")
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}
CHUNK = 1 << 20
FINISHED_UPLOADS = 1000
"""So many finished resumable uploads are remembered, for clients that lost the answer and ask again."""


class Upload:
    """A resumable upload: where it goes, on what condition, and how far it is."""

    def __init__(self, bucket: str, name: str, condition: dict[str, str]) -> None:
        self.bucket = bucket
        self.name = name
        self.condition = condition
        self.received = 0
        self.finished: tuple[int, bytes] | None = None
        self.lock = asyncio.Lock()


class Shim:
    """The proxy for one backend."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.session: ClientSession | None = None
        self.locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self.uploads: OrderedDict[str, Upload] = OrderedDict()

    async def open(self, app: web.Application) -> None:
        """Opens the connections to the backend."""
        connector = TCPConnector(limit=200)
        self.session = ClientSession(connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False)

    async def close(self, app: web.Application) -> None:
        """Closes them."""
        if self.session:
            await self.session.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers one request."""
        path = request.raw_path.partition("?")[0]
        if request.method == "POST" and path == "/token":
            return web.json_response({"access_token": "local", "expires_in": 86400, "token_type": "Bearer"})
        upload_id = request.query.get("upload_id")
        if request.method == "PUT" and upload_id in self.uploads:
            return await self._continue(request, self.uploads[upload_id])
        if request.method == "POST" and UPLOAD.match(path) and request.query.get("uploadType") == "resumable":
            return await self._begin(request, UPLOAD.match(path))
        if request.method == "GET" and OBJECT.match(path):
            return await self._read(request)
        condition = _condition(request)
        target = OBJECT.match(path) or DESTINATION.match(path)
        if condition and target and request.method in ("DELETE", "PATCH", "PUT", "POST"):
            groups = target.groupdict()
            bucket = groups["bucket"] or groups.get("bucket2") or ""
            name = unquote(groups["object"] or groups.get("object2") or "")
            body = await request.read()
            async with self._lock(bucket, name):
                if refusal := await self._refusal(bucket, name, condition):
                    return refusal
                return await self._forward(request, body)
        if request.method == "POST" and UPLOAD.match(path) and request.query.get("uploadType") == "multipart":
            # Whole before it is passed on: a client that dies in the middle leaves nothing behind.
            return await self._forward(request, await request.read())
        return await self._forward(request, request.content if request.can_read_body else None)

    def _lock(self, bucket: str, name: str) -> asyncio.Lock:
        return self.locks.setdefault((bucket, name), asyncio.Lock())

    async def _refusal(self, bucket: str, name: str, condition: dict[str, str]) -> web.Response | None:
        held = await self._metadata(bucket, name)
        generation = held.get("generation", "0")
        wanted, unwanted = condition.get("ifGenerationMatch"), condition.get("ifGenerationNotMatch")
        metageneration = condition.get("ifMetagenerationMatch")
        if (
            (wanted is not None and wanted != generation)
            or (unwanted is not None and unwanted == generation)
            or (metageneration is not None and metageneration != held.get("metageneration", "0"))
        ):
            return _error(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        return None

    async def _metadata(self, bucket: str, name: str) -> dict[str, str]:
        assert self.session
        from urllib.parse import quote  # noqa: PLC0415 - one use

        url = f"{self.backend}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        async with self.session.get(_raw(url)) as answer:
            return dict(await answer.json(content_type=None)) if answer.status == 200 else {}  # noqa: PLR2004 - OK

    async def _begin(self, request: web.Request, target: re.Match[str] | None) -> web.StreamResponse:
        assert self.session
        assert target
        body = await request.read()
        name = request.query.get("name") or (json.loads(body).get("name") if body else None) or ""
        condition = _condition(request)
        if condition and (refusal := await self._refusal(target["bucket"], name, condition)):
            return refusal
        async with self.session.post(
            _raw(self.backend + request.raw_path), data=body, headers=_headers(request)
        ) as answer:
            content = await answer.read()
            location = answer.headers.get("Location", "")
            if found := re.search(r"upload_id=([^&]+)", location):
                self.uploads[unquote(found[1])] = Upload(target["bucket"], name, condition)
                while len(self.uploads) > FINISHED_UPLOADS and next(iter(self.uploads.values())).finished:
                    self.uploads.popitem(last=False)
            return web.Response(status=answer.status, body=content, headers=_kept(answer.headers))

    async def _continue(self, request: web.Request, upload: Upload) -> web.StreamResponse:
        place = CONTENT_RANGE.match(request.headers.get("Content-Range", ""))
        with tempfile.SpooledTemporaryFile(max_size=8 << 20) as spool:
            # Whole before it is passed on: of a chunk that breaks off nothing is kept, as the client is then told.
            size = 0
            async for data in request.content.iter_chunked(CHUNK):
                spool.write(data)
                size += len(data)
            async with upload.lock:
                if upload.finished:
                    return web.Response(status=upload.finished[0], body=upload.finished[1], content_type="application/json")
                start = int(place[1]) if place and place[1] else upload.received
                total = int(place[3]) if place and place[3] != "*" else None
                if (place and place[1] is None and not size and upload.received != total) or start != upload.received:
                    return _incomplete(upload.received)
                if total is None and place:
                    return await self._chunk(request, upload, spool, size)
                if total is not None and upload.received + size < total:
                    return await self._chunk(request, upload, spool, size)
                async with self._lock(upload.bucket, upload.name):
                    if upload.condition and (
                        refusal := await self._refusal(upload.bucket, upload.name, upload.condition)
                    ):
                        return refusal
                    return await self._chunk(request, upload, spool, size)

    async def _chunk(self, request: web.Request, upload: Upload, spool: IO[bytes], size: int) -> web.Response:
        assert self.session
        spool.seek(0)
        headers = {**_headers(request), "Content-Length": str(size)}
        async with self.session.put(_raw(self.backend + request.raw_path), data=_pieces(spool), headers=headers) as answer:
            content = await answer.read()
            if answer.status == 308:  # noqa: PLR2004 - resume incomplete
                upload.received += size
                return _incomplete(upload.received)
            if answer.status in (200, 201):
                upload.finished = (answer.status, content)
            return web.Response(status=answer.status, body=content, headers=_kept(answer.headers))

    async def _read(self, request: web.Request) -> web.StreamResponse:
        assert self.session
        async with self.session.get(_raw(self.backend + request.raw_path), headers=_headers(request)) as answer:
            wanted = request.query.get("generation") or request.query.get("ifGenerationMatch")
            media = request.query.get("alt") == "media"
            content = b"" if media else await answer.read()
            found = answer.headers.get("X-Goog-Generation")
            if not media and answer.status == 200 and (request.query.keys() & {"generation", "ifGenerationMatch"}):  # noqa: PLR2004 - OK
                found = str(json.loads(content).get("generation"))
            if wanted and answer.status in (200, 206) and found != wanted:
                if "generation" in request.query:
                    return _error(404, "notFound", "No such object generation.")
                return _error(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
            if not media:
                return web.Response(status=answer.status, body=content, headers=_kept(answer.headers))
            return await _stream(request, answer)

    async def _forward(self, request: web.Request, body: object) -> web.StreamResponse:
        assert self.session
        async with self.session.request(
            request.method, _raw(self.backend + request.raw_path), data=body, headers=_headers(request), allow_redirects=False
        ) as answer:
            return await _stream(request, answer)


async def _stream(request: web.Request, answer: object) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))  # type: ignore[attr-defined]
    if length := answer.headers.get("Content-Length"):  # type: ignore[attr-defined]
        response.content_length = int(length)
    await response.prepare(request)
    async for data in answer.content.iter_chunked(CHUNK):  # type: ignore[attr-defined]
        await response.write(data)
    await response.write_eof()
    return response


async def _pieces(spool: IO[bytes]):  # type: ignore[no-untyped-def]  # noqa: ANN202 - aiohttp takes any async iterable
    while data := spool.read(CHUNK):
        yield data


def _condition(request: web.Request) -> dict[str, str]:
    names = ("ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch")
    return {name: request.query[name] for name in names if name in request.query}


def _headers(request: web.Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}


def _kept(headers) -> dict[str, str]:  # type: ignore[no-untyped-def]  # noqa: ANN001 - aiohttp's mapping
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


def _incomplete(received: int) -> web.Response:
    headers = {"Range": f"bytes=0-{received - 1}"} if received else {}
    return web.Response(status=308, headers=headers)


def _error(code: int, reason: str, message: str) -> web.Response:
    error = {"code": code, "message": message, "errors": [{"domain": "global", "reason": reason, "message": message}]}
    return web.json_response({"error": error}, status=code)


def _raw(url: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a yarl.URL
    from yarl import URL  # noqa: PLC0415 - comes with aiohttp

    return URL(url, encoded=True)


def main() -> None:
    """Serves until it is stopped."""
    port, backend = int(sys.argv[1]), f"http://127.0.0.1:{sys.argv[2]}"
    shim = Shim(backend)
    app = web.Application(client_max_size=1 << 40)
    app.on_startup.append(shim.open)
    app.on_cleanup.append(shim.close)
    app.router.add_route("*", "/{path:.*}", shim.handle)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, handle_signals=True)


if __name__ == "__main__":
    main()
