"""Receive a file and land it: `POST <ingestion.fastapi_endpoint>` and `POST /ingest`.

`reception.py` is what happens to the bytes. docs/upload.md has the answers.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from txn_assets.config import PipelineConfig
from txn_assets.environment import project_root
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.feed import FIRST_FEED, Feed
from txn_assets.files.ledger import FileVersion
from txn_assets.stores.errors import StoreError
from txn_assets.upload.auth import Uploader
from txn_assets.upload.digests import Digests, parse_digests
from txn_assets.upload.idempotency import MARGIN_SECONDS, Claim, parse_key
from txn_assets.upload.limits import Meter, TheLimits
from txn_assets.upload.multipart import FIELD, Body, FormBody, PlainBody
from txn_assets.upload.platform import Platform, ThePlatform
from txn_assets.upload.problems import Problem, documented
from txn_assets.upload.reception import Reception, too_large
from txn_assets.upload.status import answer_upload

FILE_TYPES = (
    "text/csv",
    "text/tab-separated-values",
    "text/plain",
    "application/gzip",
    "application/zip",
    "application/zstd",
    "application/octet-stream",
)
"""Content types of a body that is the file itself. Its first bytes say what it really is."""

type Stream = AsyncGenerator[bytes]

FORM_BYTES = 1 << 16
"""Maximum size of a form around its file."""

_DRAIN_BYTES = 16 << 20
_DRAIN_SECONDS = 5.0

_BINARY = {"type": "string", "format": "binary"}
_HEADERS = {
    "Prefer": ("wait=N: wait up to N seconds for the load (RFC 7240).", {"example": "wait=0"}),
    "Repr-Digest": ("Digests of the file, which are checked before it lands (RFC 9530).", {}),
    "Content-Digest": ("The same of the body as sent.", {}),
    "Idempotency-Key": ("A repeated request with the same key lands nothing again.", {}),
}
_NAME = "Name of the file; needed if the body is the file itself."
_RESULT = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["success", "error"]},
        "processed": {"type": "integer"},
        "message": {"type": "string"},
    },
}
_LANDED = {
    "type": "object",
    "required": ["status", "upload"],
    "properties": {"status": {"const": "accepted"}, "upload": {"type": "string", "description": "As in Location."}},
}


@dataclass(frozen=True, kw_only=True)
class Given:
    """What the headers and the query of an upload say."""

    feed: Feed
    body: Body
    content: Digests
    file: Digests
    key: str | None


def read_request(request: Request, config: PipelineConfig, *, name: str | None, feed: str | None) -> Given:
    """Check everything about an upload that comes before its body.

    Raises:
        Problem: it cannot be accepted.
    """
    headers = request.headers
    length = int(headers.get("Content-Length") or 0)
    if length > config.max_upload_bytes + FORM_BYTES:
        raise too_large(config.max_upload_bytes)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Problem(415, "Content-Encoding is not supported: send the compressed file as the file.")
    content = parse_digests(headers.get("Content-Digest"), "Content-Digest")
    file = parse_digests(headers.get("Repr-Digest"), "Repr-Digest")
    return Given(
        feed=_find_feed(config, feed),
        body=_find_body(headers.get("Content-Type"), name),
        content=Digests(content, "Content-Digest"),
        file=Digests(file, "Repr-Digest", "sha-256"),
        key=parse_key(headers.get("Idempotency-Key")),
    )


def _find_feed(config: PipelineConfig, name: str | None) -> Feed:
    feeds = {feed.name: feed for feed in feeds_of(config)}
    if (name or FIRST_FEED) not in feeds:
        raise Problem(422, f"There is no such feed. Configured feeds: {', '.join(feeds)}.")
    return feeds[name or FIRST_FEED]


def _find_body(content_type: str | None, name: str | None) -> Body:
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise Problem(400, "Content-Type has no boundary: let the client write the header of a form.")
        return FormBody(options[b"boundary"], name)
    if kind.decode("latin-1") not in FILE_TYPES:
        accepted = ", ".join(("multipart/form-data", *FILE_TYPES))
        message = f"Content-Type is not one of {accepted}."
        raise Problem(415, message, headers={"Accept-Post": accepted})
    if name is None:
        raise Problem(422, "A body that is the file itself needs the parameter 'name': ?name=orders.csv.")
    return PlainBody(name)


async def receive(  # noqa: PLR0913, PLR0917 - what the route has
    request: Request, platform: Platform, subject: str, given: Given, stream: Stream, meter: Meter
) -> FileVersion:
    """Receive `stream`, the body of `request`, and land the file in it.

    Raises:
        Problem: the file cannot be accepted, or the client sent nothing for too long.
        StoreError: the bucket cannot be used.
        ClientDisconnect: the client broke off.
    """
    idle = platform.config.upload.idle_seconds
    services = platform.services.of(given.feed)
    claim = None
    if given.key:
        first = platform.services.of(_find_feed(platform.config, None))
        lease = idle + MARGIN_SECONDS
        claim = await asyncio.to_thread(Claim.of, first, subject, given.key, lease_seconds=lease)
    reception = Reception(
        services=services, subject=subject, body=given.body, content=given.content, file=given.file, claim=claim
    )
    in_progress: set[Reception] = request.app.state.in_progress
    in_progress.add(reception)
    try:
        async for data in _pieces(stream, idle):
            meter.count(len(data))
            await reception.take(data)
        return await reception.finish()
    finally:
        # Canceling this task does not cancel the cleanup, and the application waits for it before it ends.
        closing = asyncio.ensure_future(reception.close())
        closing.add_done_callback(lambda _: in_progress.discard(reception))
        await asyncio.shield(closing)


async def _pieces(stream: Stream, idle_seconds: float) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(idle_seconds):
                data = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            message = f"Nothing arrived for {idle_seconds:g} seconds: nothing has landed. Send the file again."
            raise Problem(408, message, headers={"Connection": "close"}) from error
        yield data


async def _drain(stream: Stream) -> bool:
    """Read on for a moment, because many clients look for an answer only at the end. Return whether it was reached."""
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DRAIN_SECONDS):
            size = 0
            async for data in stream:
                size += len(data)
                if size > _DRAIN_BYTES:
                    return False
            return True
    return False


def make_router(config: PipelineConfig) -> APIRouter:
    """Return the routes that receive files."""
    router = APIRouter(tags=["uploads"])
    document = _documented((project_root() / "data" / "transactions.csv").read_text())
    for path in dict.fromkeys((config.ingestion.fastapi_endpoint, "/ingest")):
        router.post(path, **document)(upload)
    return router


def _documented(example: str) -> dict[str, Any]:
    """Return what FastAPI cannot know about the routes, because they read the request themselves."""
    form = {
        "schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _BINARY}},
        "example": {FIELD: example},
    }
    parameters = [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}, **shown}
        for name, (text, shown) in _HEADERS.items()
    ]
    return {
        "status_code": 202,
        "response_class": JSONResponse,
        "responses": {
            200: {"description": "The load has ended.", "content": {"application/json": {"schema": _RESULT}}},
            202: {"description": "The file has landed.", "content": {"application/json": {"schema": _LANDED}}},
            **documented(400, 401, 403, 408, 409, 412, 413, 415, 422, 429, 500, 503),
        },
        "openapi_extra": {
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": form,
                    **{kind: {"schema": _BINARY} for kind in FILE_TYPES},
                    "text/csv": {"schema": _BINARY, "example": example},
                },
            },
        },
    }


async def upload(  # noqa: PLR0913, PLR0917 - FastAPI passes what the parameters name
    request: Request,
    platform: ThePlatform,
    subject: Uploader,
    limits: TheLimits,
    name: Annotated[str | None, Query(description=_NAME, examples=["orders.csv"])] = None,
    feed: Annotated[str | None, Query(description="Feed of the file; the first one by default.")] = None,
) -> Response:
    """Land a file, and say what became of it."""
    stream = request.stream()
    try:
        async with limits.upload(subject) as meter:
            given = read_request(request, platform.config, name=name, feed=feed)
            version = await receive(request, platform, subject.name, given, stream, meter)
    except (Problem, StoreError):
        # A client that asked whether to go on (100-continue) has not sent the body.
        request.state.must_close = "Expect" in request.headers or not await _drain(stream)
        raise
    prefer = request.headers.get("Prefer")
    return await answer_upload(platform, given.feed, version, prefer, draining=request.app.state.draining)
