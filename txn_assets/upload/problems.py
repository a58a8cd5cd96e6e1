"""Errors of the upload service as `application/problem+json` (RFC 9457). They never carry a value of a row."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import JSONResponse


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """An answer other than success.

    Attributes:
        status: the HTTP status code.
        detail: one sentence that says what is wrong and what to do.
        headers: headers of the answer, such as `Retry-After`.
    """

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


async def answer_problem(_: Request, problem: Exception) -> JSONResponse:
    """Return the answer for `problem`."""
    assert isinstance(problem, Problem)
    content = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    return JSONResponse(content, problem.status, headers=problem.headers, media_type="application/problem+json")
