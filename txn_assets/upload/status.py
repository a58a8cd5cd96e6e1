"""What became of an uploaded file: `GET /uploads/{name}@{generation}`, and the answer to an upload that waits.

`stores/file_status.py` finds it out. See docs/upload.md, 'What became of a file'.
"""

import re
from urllib.parse import quote

from fastapi.responses import JSONResponse

from txn_assets.feeds.feed import Feed
from txn_assets.files.file_status import FileStatus, State
from txn_assets.files.ledger import FileVersion
from txn_assets.upload.platform import Platform

MAX_WAIT_SECONDS = 300
"""Maximum wait that a client can ask for, as for `upload.wait_seconds`."""


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


def location(feed: Feed, version: FileVersion) -> str:
    """Return the path of the status of `version`."""
    query = "" if feed.is_first else f"?feed={feed.name}"
    return f"/uploads/{quote(version.name)}@{version.generation}{query}"


async def answer_upload(platform: Platform, feed: Feed, version: FileVersion, prefer: str | None) -> JSONResponse:
    """Return the answer to the upload of `version`: its result, as old clients know it, or where to find it.

    Wait for the result as long as `prefer`, the `Prefer` header, asks, else `upload.wait_seconds`.
    """
    asked = wait_preference(prefer)
    seconds = platform.config.upload.wait_seconds if asked is None else asked
    status = await wait_for(platform, feed, version, seconds)
    headers = {"Location": location(feed, version)}
    if asked is not None:
        headers["Preference-Applied"] = f"wait={asked}" if asked else "respond-async"
    if (content := old_answer(status)) is not None:
        return JSONResponse(content, headers=headers)
    return JSONResponse({"status": status.state, "location": headers["Location"]}, 202, headers=headers)


async def wait_for(platform: Platform, feed: Feed, version: FileVersion, seconds: float) -> FileStatus:
    """Return what became of `version` once its load has ended, or what is known after `seconds`."""
    return await platform.waiting.status(feed, version, seconds)
