"""Forward client requests to fake-gcs-server, and read the version of an object.

This module takes no locks: callers hold an object's lock while they check and change the object.
"""

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web
from yarl import URL

from txn_assets.local.gcs_shim.answers import condition_not_met, describes
from txn_assets.local.gcs_shim.preconditions import ABSENT, Conditions, Version

PIECE_BYTES = 1 << 18
"""Number of body bytes to read at a time."""
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"})


class Backend:
    """Client of one fake-gcs-server."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def connect(self, _app: web.Application) -> AsyncIterator[None]:
        """Keep a connection pool to the server while the application runs."""
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            # Keep gzipped bodies and the client's headers unchanged.
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
            read_bufsize=PIECE_BYTES,
        )
        yield
        await self._client.close()

    def send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, content: object = None) -> Any:  # noqa: ANN401 - aiohttp's context manager of a response; aiohttp has no types here
        """Send a request; the response is a context manager."""
        url = URL(self._url + path, encoded=True)
        return self._client.request(method, url, headers=headers, data=content, allow_redirects=False)

    async def forward(
        self, request: web.Request, content: bytes | AsyncIterable[bytes] | None = None, *, xml: bool = False
    ) -> web.StreamResponse:
        """Forward a request and relay the response. Pass its body as `content` if it was already read."""
        headers = forwarded_headers(request)
        if xml:
            # Without this, the server mistakes the host name for a bucket name.
            headers["Host"] = self._url.removeprefix("http://")
        if content is None and request.can_read_body:
            content = request.content.iter_any()
        async with self.send(request.method, request.raw_path, headers=headers, content=content) as answer:
            return await self.relay(request, answer)

    async def relay(
        self, request: web.Request, answer: aiohttp.ClientResponse, content: bytes | None = None
    ) -> web.StreamResponse:
        """Relay the response to the client. Pass its body as `content` if it was already read."""
        if request.method == "DELETE" and answer.status == HTTPStatus.OK:
            # GCS returns 204, and gcloud and gsutil would expect JSON in a 200.
            return web.Response(status=HTTPStatus.NO_CONTENT)
        headers = [(key, value) for key, value in answer.headers.items() if key.lower() not in _HOP_BY_HOP]
        is_small = (answer.content_length or PIECE_BYTES + 1) <= PIECE_BYTES
        if content is None and (request.method == "HEAD" or is_small or describes(request)):
            content = await answer.read()
        if content is not None and request.method != "HEAD":
            return web.Response(status=answer.status, headers=headers, body=content)
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response

    async def check(self, key: tuple[str, str], conditions: Conditions) -> None:
        """Check the preconditions of a request for an object.

        Raises:
            Refusal: a precondition does not hold.
        """
        if conditions.demand_something() and not conditions.hold(await self.version(*key)):
            raise condition_not_met()

    async def version(self, bucket: str, name: str) -> Version:
        """Return the current version of an object."""
        status, content = await self.metadata(bucket, name)
        return version_in(content) if status == HTTPStatus.OK else ABSENT

    async def metadata(self, bucket: str, name: str) -> tuple[int, bytes]:
        """Return the status and the server's description of an object."""
        path = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
        async with self.send("GET", path) as answer:
            return answer.status, await answer.read()


def forwarded_headers(request: web.Request) -> dict[str, str]:
    """Return the headers to send to the server for a client's request."""
    headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
    # aiohttp compares Content-Length with the bytes sent, and a body that was already read keeps its length.
    if "Content-Length" in headers and not request.can_read_body:
        headers["Content-Length"] = str(request.content_length or 0)
    return headers


def version_in(content: bytes) -> Version:
    """Return the version in the server's description of an object."""
    resource: Mapping[str, str] = json.loads(content)
    return Version(int(resource["generation"]), int(resource.get("metageneration", "1")))
