"""What became of an uploaded file: `GET /uploads/{name}@{generation}`, and the answer to an upload that waits.

`stores/file_status.py` finds it out. See docs/upload.md, 'What became of a file'.
"""

import asyncio
import datetime as dt
import hashlib
import re
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.feed import FIRST_FEED, Feed
from txn_assets.files.arrival import is_partition_key
from txn_assets.files.file_status import FileStatus, State
from txn_assets.files.ledger import FileVersion
from txn_assets.runs.dagster_client import find_run
from txn_assets.stores.file_status import read_status
from txn_assets.stores.landed_names import name_limit, too_long
from txn_assets.upload.auth import READ_ALL, Subject, Uploader
from txn_assets.upload.names import belongs_to
from txn_assets.upload.platform import Platform, ThePlatform
from txn_assets.upload.problems import Problem, documented
from txn_assets.upload.requests import request_load

router = APIRouter(tags=["uploads"])

NOT_FOUND = "There is no such version of a file, or it is not yours. See the header Location of its upload."

MAX_GENERATION = 10**17
"""GCS counts microseconds since 1970, so this is the year 5138."""

MAX_WAIT_SECONDS = 300
"""Maximum wait that a client can ask for, as for `upload.wait_seconds`."""


class StoreAnswer(BaseModel):
    """What a store has of a file version; null if it does not have it."""

    rows: int | None
    loaded_at: dt.datetime | None


class RunAnswer(BaseModel):
    """The run that loads a file, or has loaded it; `url` while Dagster knows it."""

    id: str
    url: str | None


class StatusAnswer(BaseModel):
    """What became of a file version. Counts are null while they are unknown."""

    name: str
    generation: str
    feed: str
    state: State
    rows: int | None
    valid: int | None
    rejected: dict[str, int]
    erased: int
    quarantine: str | None
    stores: dict[str, StoreAnswer]
    run: RunAnswer | None
    message: str | None


@router.get(
    "/uploads/{name:path}@{generation:int}",
    response_model=StatusAnswer,
    responses={304: {"description": "It is as `If-None-Match` says."}, **documented(401, 403, 404, 422, 429, 500, 503)},
)
def get_status(  # noqa: PLR0913, PLR0917 - the parts of the request; FastAPI passes them by name
    platform: ThePlatform,
    subject: Uploader,
    name: str,
    generation: Annotated[int, Path(ge=1, le=MAX_GENERATION)],
    feed: Annotated[str, Query(description="Feed of the file.")] = FIRST_FEED,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Say what became of a file version."""
    of = next((one for one in feeds_of(platform.config) if one.name == feed), None)
    # Do not say whether a file of another subject exists.
    if of is None or not _may_see(subject, name, of):
        raise Problem(404, NOT_FOUND)
    services = platform.services.of(of)
    version = FileVersion(name, generation, size=0, crc32c="")
    status = read_status(services, version, find_run(of, name))
    if status is None:
        raise Problem(404, NOT_FOUND)
    content = _answer(status, services.quarantine.address(name)).model_dump_json()
    if status.state.is_moving:
        return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})
    etag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    headers = {"Cache-Control": "private, no-cache", "ETag": etag}
    if if_none_match == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)


def _may_see(subject: Subject, name: str, feed: Feed) -> bool:
    if not is_partition_key(name) or too_long(name, name_limit(feed)):
        return False
    return READ_ALL in subject.scopes or belongs_to(name, subject.name, feed)


def _answer(status: FileStatus, quarantine: str) -> StatusAnswer:
    return StatusAnswer(
        name=status.version.name,
        generation=str(status.version.generation),
        feed=status.feed,
        state=status.state,
        rows=status.rows,
        valid=status.valid,
        rejected=dict(status.rejected),
        erased=status.erased,
        quarantine=quarantine if status.rejected else None,
        stores={label: StoreAnswer(rows=one.rows, loaded_at=one.loaded_at) for label, one in status.stores.items()},
        run=RunAnswer(id=status.run_id, url=status.url or None) if status.run_id else None,
        message=status.message or None,
    )


def old_answer(status: FileStatus) -> dict[str, str | int] | None:
    """Return the answer that clients of the service before this platform know; None while there is no result."""
    if status.state in (State.LOADED, State.PARTLY) and status.valid:
        return {"status": "success", "processed": status.valid}
    if status.state in (State.LOADED, State.PARTLY) or (status.state is State.REJECTED and status.valid == 0):
        return {"status": "error", "message": f"No valid {status.feed}"}
    if status.state in (State.REJECTED, State.FAILED):
        return {"status": "error", "message": status.message}
    return None


def wait_preference(prefer: str | None) -> int | None:
    """Return the seconds in the preference `wait` of a `Prefer` header (RFC 7240); None if it has none.

    `respond-async` alone asks for no wait.
    """
    preferences: dict[str, str] = {}
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        # The first of several counts.
        preferences.setdefault(name.strip().lower(), value.strip().strip('"'))
    if re.fullmatch(r"[0-9]{1,9}", preferences.get("wait", "")):
        return min(int(preferences["wait"]), MAX_WAIT_SECONDS)
    return 0 if "respond-async" in preferences else None


def location_of(feed: Feed, version: FileVersion) -> str:
    """Return the path of the status of `version`."""
    query = "" if feed.is_first else f"?feed={feed.name}"
    return f"/uploads/{quote(str(version), safe='/@')}{query}"


async def answer_upload(
    platform: Platform, feed: Feed, version: FileVersion, prefer: str | None, *, draining: asyncio.Event
) -> JSONResponse:
    """Return the answer to the upload of `version`: its result, as old clients know it, or where to find it.

    Wait for the result as long as `prefer`, the `Prefer` header, asks, else `upload.wait_seconds`. Stop when the
    service is `draining`.
    """
    asked = wait_preference(prefer)
    seconds = platform.config.upload.wait_seconds if asked is None else asked
    await asyncio.to_thread(request_load, feed, version)
    status = await wait_for(platform, feed, version, seconds, draining=draining)
    location = location_of(feed, version)
    headers = {"Location": location}
    if asked is not None:
        headers["Preference-Applied"] = f"wait={asked}" if asked else "respond-async"
    if (content := old_answer(status)) is not None:
        return JSONResponse(content, headers=headers)
    return JSONResponse({"status": "accepted", "upload": location}, 202, headers=headers)


async def wait_for(
    platform: Platform, feed: Feed, version: FileVersion, seconds: float, *, draining: asyncio.Event
) -> FileStatus:
    """Return what became of `version` once its load has ended, or what is known after `seconds` or when `draining`."""
    return await platform.waiting.status(feed, version, seconds, draining=draining)
