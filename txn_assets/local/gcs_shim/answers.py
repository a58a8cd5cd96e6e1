"""Responses of the shim itself, in the format of the GCS JSON API.

This module only builds responses; `proxy.py` and `upload_requests.py` decide when to send them. The format follows
https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

import re
from http import HTTPStatus

from aiohttp import web

_LINK = re.compile(rb'("(?:selfLink|mediaLink)":\s*"https?://)[^/"]+')
"""The part of a description that says where an object is, up to the address of the server."""


class Refusal(Exception):  # noqa: N818 - not our error, but a response that ends a request
    """A GCS error to send as the response."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def response(self) -> web.Response:
        """Return the response in the JSON format of GCS."""
        if self.status == HTTPStatus.NOT_MODIFIED:
            return web.Response(status=self.status)
        detail = {"domain": "global", "reason": self.reason, "message": self.message}
        if self.status == HTTPStatus.PRECONDITION_FAILED:
            detail |= {"locationType": "header", "location": "If-Match"}
        error = {"code": int(self.status), "message": self.message, "errors": [detail]}
        return web.json_response({"error": error}, status=self.status)


def condition_not_met() -> Refusal:
    """Return the 412 for a failed precondition."""
    message = "At least one of the pre-conditions you specified did not hold."
    return Refusal(HTTPStatus.PRECONDITION_FAILED, "conditionNotMet", message)


def not_found(bucket: str, name: str) -> Refusal:
    """Return the 404 for an object or one of its generations."""
    return Refusal(HTTPStatus.NOT_FOUND, "notFound", f"No such object: {bucket}/{name}")


def no_bucket() -> Refusal:
    """Return the 404 for a bucket, or for any object in it."""
    return Refusal(HTTPStatus.NOT_FOUND, "notFound", "The specified bucket does not exist.")


def no_session() -> Refusal:
    """Return the 404 for an upload that has finished or was lost when the shim stopped."""
    return Refusal(HTTPStatus.NOT_FOUND, "notFound", "No such upload session: start the upload again.")


def incomplete(request: web.Request, size: int) -> web.Response:
    """Report how far a resumable upload got."""
    headers = {"Range": f"bytes=0-{size - 1}"} if size else {}
    if request.headers.get("X-Guploader-No-308") == "yes":
        # Some clients would follow a 308 as a redirect.
        return web.Response(status=HTTPStatus.OK, headers=headers | {"X-Http-Status-Code-Override": "308"})
    return web.Response(status=HTTPStatus.PERMANENT_REDIRECT, reason="Resume Incomplete", headers=headers)


def resource(answer: tuple[int, bytes]) -> web.Response:
    """Return the response for an object; `answer` is from fake-gcs-server."""
    status, content = answer
    return web.Response(status=status, body=content, content_type="application/json")


def describes(request: web.Request) -> bool:
    """Return whether the response to `request` describes objects, and is not the content of one."""
    path = request.rel_url.raw_path
    return path.startswith(("/storage/", "/upload/", "/resumable/")) and request.query.get("alt") != "media"


def with_own_links(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """Make the links in a description lead to the address that the client used, instead of to fake-gcs-server.

    A client that has read the description of an object downloads it by its link.
    """
    if isinstance(answer, web.Response) and isinstance(answer.body, bytes) and describes(request):
        answer.headers.popall("Content-Length", None)
        answer.body = _LINK.sub(rb"\g<1>" + request.host.encode(), answer.body)
    return answer
