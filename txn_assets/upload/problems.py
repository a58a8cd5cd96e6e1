"""Errors of the upload service as `application/problem+json` (RFC 9457). They never carry a value of a row."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from txn_assets.stores.errors import StoreError, StoreUnavailableError

LOGGER = logging.getLogger("txn_assets.upload")

MEDIA_TYPE = "application/problem+json"

SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
    },
}
"""Schema of a problem, for OpenAPI."""


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


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the part of a route's OpenAPI document about its errors."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": SCHEMA}},
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Make every error answer of `app` a problem."""
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(StarletteHTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(StoreError, _answer_store_error)
    app.add_exception_handler(ClientDisconnect, _answer_disconnect)
    app.add_exception_handler(Exception, _answer_defect)


def _response(request: Request, problem: Problem) -> JSONResponse:
    headers = {**(problem.headers or {})}
    if getattr(request.state, "must_close", False):
        # The rest of the body is not read.
        headers["Connection"] = "close"
    content = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    return JSONResponse(content, problem.status, headers=headers, media_type=MEDIA_TYPE)


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _response(request, error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: an unknown path or method."""
    assert isinstance(error, StarletteHTTPException)
    return _response(
        request, Problem(error.status_code, f"{error.detail}. See /docs for the routes.", headers=error.headers)
    )


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """Answer parameters that do not have their type. Leave out their values."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
    return _response(request, Problem(422, f"{'; '.join(faults)}. See /docs for the parameters."))


async def _answer_store_error(request: Request, error: Exception) -> Response:
    """Answer that a store cannot be used. Its name and the remedy are for the log."""
    LOGGER.error("%s", error)
    if isinstance(error, StoreUnavailableError):
        detail = "A store of the platform does not respond: try again later."
        return _response(request, Problem(503, detail, headers={"Retry-After": "30"}))
    return _response(
        request, Problem(500, "A store of the platform cannot be used: ask its operators to look at the log.")
    )


async def _answer_disconnect(_: Request, __: Exception) -> Response:
    """Give a status to a request whose client has gone; nobody gets it."""
    return Response(status_code=499)


async def _answer_defect(request: Request, _: Exception) -> Response:
    return _response(request, Problem(500, "The service failed: ask its operators to look at the log."))
