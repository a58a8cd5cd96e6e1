"""What the faults of Google's clients mean: which pass, and what a person does about the others.

Here belongs what GCS and BigQuery have in common. Documented in docs/reliability.md.
"""

import http

import requests
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.cloud.storage.exceptions import InvalidResponse

_PASSING_CODES = {408, 429, 500, 502, 503, 504}
_PASSING_REASONS = {"backendError", "internalError", "rateLimitExceeded", "jobBackendError", "jobInternalError"}

_REMEDIES = {
    400: "The request does not fit the table or object: compare its schema with the documentation.",
    401: "Check the credentials of the service account.",
    403: "Grant the service account the roles of the deployment guide.",
    404: "Create it, or correct its name in the configuration.",
    412: "Another run writes the same file: run this again when it is done.",
}


def code_of(error: Exception) -> int | None:
    """The HTTP status of `error`, whichever of the clients' families it belongs to."""
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int | http.HTTPStatus) else None


def is_passing(error: Exception) -> bool:
    """Whether another try may succeed: lost connections, server errors, too many requests."""
    if isinstance(error, requests.ConnectionError | requests.Timeout | TransportError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, requests.exceptions.ChunkedEncodingError | exceptions.RetryError):
        return True
    details = error.errors if isinstance(error, exceptions.GoogleAPICallError) else []
    reasons = {detail.get("reason") for detail in details if isinstance(detail, dict)}
    return code_of(error) in _PASSING_CODES or bool(reasons & _PASSING_REASONS)


def is_out_of_reach(error: Exception) -> bool:
    """Whether the storage does not answer, or lets nobody in: for one object as for every other."""
    # Errors of `requests` are OSErrors.
    return isinstance(error, GoogleAuthError) or (
        isinstance(error, exceptions.GoogleAPIError | OSError) and is_passing(error)
    )


def is_precondition_failure(error: Exception) -> bool:
    """Whether somebody wrote the object since it was looked at; a 412 comes in two classes."""
    return code_of(error) == http.HTTPStatus.PRECONDITION_FAILED


def explain(error: Exception, store: str) -> str:
    """The sentence for `error`: store, cause, remedy."""
    if isinstance(error, DefaultCredentialsError | RefreshError):
        return f"{store} cannot be reached: no usable Google credentials. {_REMEDIES[401]}"
    code = code_of(error)
    cause = str(getattr(error, "message", "") or error).strip().splitlines() or [type(error).__name__]
    remedy = _REMEDIES.get(code or 0, "")
    return f"{store} cannot be used: {cause[0][:300]}. {remedy}".strip()
