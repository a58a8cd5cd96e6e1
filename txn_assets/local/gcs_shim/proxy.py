"""Decide which requests to GCS to check, which to answer, and which only to forward.

`preconditions.py` has the rules, and `upload_requests.py` handles uploads. txn_assets/local/README.md lists what the
shim fixes and what it does not.
"""

import json
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from txn_assets.local.gcs_shim.answers import Refusal, condition_not_met, no_bucket, not_found, with_own_links
from txn_assets.local.gcs_shim.backend import Backend, forwarded_headers, version_in
from txn_assets.local.gcs_shim.locks import ObjectLocks
from txn_assets.local.gcs_shim.preconditions import ABSENT, Conditions, Version
from txn_assets.local.gcs_shim.routes import COMPOSE, COPY, OBJECT, UPLOAD, XML
from txn_assets.local.gcs_shim.store import Store, UnstorableError
from txn_assets.local.gcs_shim.upload_requests import SMALL_BYTES, UploadRequests
from txn_assets.local.gcs_shim.uploads import BadRequestError


class Proxy:
    """The shim between clients and one fake-gcs-server."""

    def __init__(self, *, backend: str, store: Path, spool: Path, identity: str) -> None:
        self.backend = Backend(backend)
        self._store = Store(store)
        self._locks = ObjectLocks()
        self._uploads = UploadRequests(self.backend, self._store, self._locks, spool=spool)
        self._identity = identity

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Handle any request."""
        try:
            return with_own_links(request, await self._dispatch(request))
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
            async with self.backend.send("GET", path) as answer:
                return web.Response(status=answer.status, text=self._identity)
        if path == "/_local/token":
            # Some credentials need a token; see `exports.py`. The shim never checks the token.
            return web.json_response({"access_token": "local", "token_type": "Bearer", "expires_in": 3600})
        if found := UPLOAD.fullmatch(path):
            return await self._uploads.handle(request, unquote(found["bucket"]))
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
        return await self.backend.forward(request, xml=True)

    def _check_readable(self, bucket: str, name: str) -> None:
        try:
            self._store.check(bucket, name)
        except UnstorableError as error:
            raise not_found(bucket, name) from error
        if not self._store.has_bucket(bucket):
            raise no_bucket()

    # Reading: check the generation in the response instead of querying the object first.

    async def _read(self, request: web.Request, bucket: str, name: str) -> web.StreamResponse:
        conditions = Conditions.of(request.query)
        wanted = request.query.get("generation")
        if not (conditions.demand_something() or wanted):
            return await self.backend.forward(request)
        # Hold the lock until the server has responded, because the server may open the object only then. An open file
        # can be read to its end even if it is replaced or deleted.
        async with AsyncExitStack() as lock:
            await lock.enter_async_context(self._locks.exclusive((bucket, name)))
            headers = forwarded_headers(request)
            async with self.backend.send(request.method, request.raw_path, headers=headers) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    return await self.backend.relay(request, answer)
                content = None
                if generation := answer.headers.get("X-Goog-Generation"):
                    now = Version(int(generation), int(answer.headers.get("X-Goog-Metageneration", 1)))
                else:
                    content = await answer.read()
                    now = version_in(content)
                await lock.aclose()
                if wanted and int(wanted) != now.generation:
                    raise not_found(bucket, f"{name}#{wanted}")
                if not conditions.match(now):
                    raise condition_not_met()
                if not conditions.differ(now):
                    raise Refusal(HTTPStatus.NOT_MODIFIED, "notModified", "Not Modified")
                return await self.backend.relay(request, answer, content)

    # Changing: check, then change, while holding the lock of each object involved.

    async def _change(self, request: web.Request, bucket: str, name: str) -> web.StreamResponse:
        """Handle a DELETE, PATCH or PUT of an object."""
        async with self._locks.exclusive((bucket, name)):
            now = await self.backend.version(bucket, name)
            if request.query.get("generation", str(now.generation)) != str(now.generation):
                raise not_found(bucket, f"{name}#{request.query['generation']}")
            # The server returns 404 for a missing object, no matter what the conditions are.
            if now != ABSENT and not Conditions.of(request.query).hold(now):
                raise condition_not_met()
            return await self.backend.forward(request)

    async def _copy(
        self, request: web.Request, *, source_bucket: str, source: str, bucket: str, name: str
    ) -> web.StreamResponse:
        self._check_readable(source_bucket, source)
        self._store.check_new(bucket, name)
        async with self._locks.exclusive((source_bucket, source), (bucket, name)):
            await self.backend.check((bucket, name), Conditions.of(request.query))
            await self.backend.check((source_bucket, source), Conditions.of(request.query, "ifSource"))
            return await self.backend.forward(request)

    async def _compose(self, request: web.Request, bucket: str, name: str) -> web.StreamResponse:
        self._store.check_new(bucket, name)
        content = await request.read()
        sources = json.loads(content).get("sourceObjects", [])
        async with self._locks.exclusive((bucket, name), *((bucket, source["name"]) for source in sources)):
            await self.backend.check((bucket, name), Conditions.of(request.query))
            for source in sources:
                demanded = source.get("objectPreconditions", {}).get("ifGenerationMatch") or source.get("generation")
                conditions = Conditions(generation_match=int(demanded) if demanded else None)
                await self.backend.check((bucket, source["name"]), conditions)
            return await self.backend.forward(request, content)


def application(proxy: Proxy) -> web.Application:
    """Return the web application of a shim."""
    app = web.Application(client_max_size=SMALL_BYTES)
    app.cleanup_ctx.append(proxy.backend.connect)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    return app
