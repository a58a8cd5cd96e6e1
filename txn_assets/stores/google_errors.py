"""Classify the errors of Google's clients: which are transient, and what to do about the others.

This module covers what GCS and BigQuery have in common. A reason says more than an HTTP status: a 403 may mean a
missing role, a quota or a retention policy, and BigQuery's client reports every unknown reason as a 500. See
docs/reliability.md, 'Transient and permanent errors'. The sources are
https://cloud.google.com/bigquery/docs/error-messages,
https://cloud.google.com/bigquery/docs/troubleshoot-quotas and
https://cloud.google.com/storage/docs/json_api/v1/status-codes.
"""

import http
import re

import requests
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.cloud.storage.exceptions import InvalidResponse

FAULTS = (exceptions.GoogleAPIError, GoogleAuthError, InvalidResponse, OSError)
"""Exceptions that the clients raise; errors of `requests` are OSErrors."""

_TRANSIENT_CODES = {408, 429, 500, 502, 503, 504}

_TRANSIENT_REASONS = {
    "backendError",
    "internalError",
    "jobBackendError",
    "jobInternalError",
    "jobRateLimitExceeded",
    "rateLimitExceeded",
    "tableUnavailable",
    "userRateLimitExceeded",
}

_TRANSIENT_TEXTS = re.compile(r"Too many DML statements outstanding", re.IGNORECASE)
"""Messages of transient errors with the reason `resourcesExceeded`. Other errors with that reason are permanent."""

_VALUE = re.compile(
    r"(could not parse|could not cast literal|(?:bad|invalid) "
    r"(?:u?int(?:32|64)?|(?:big)?numeric|float(?:64)?|double|bool(?:ean)?|date|datetime|time|timestamp|string)"
    r"(?: value)?:) .*?( as [A-Z]| to type |$)",
    re.IGNORECASE | re.DOTALL,
)
"""A value in a message about a conversion, such as `Could not parse 'x' as DATE` or `Bad int64 value: x`."""

_REQUESTER_PAYS = "The bucket is Requester Pays, which the platform does not support: turn it off for this bucket."
_LATER = "Too many requests at once: load the file again later."
_POLICY = "A policy of the organization forbids this: ask its administrator."

_REMEDIES_BY_TEXT = (
    (re.compile(r"requester pays", re.IGNORECASE), _REQUESTER_PAYS),
    (
        re.compile(r"without a filter over column", re.IGNORECASE),
        "The table requires a filter on a column other than date: partition it by date, or run "
        "ALTER TABLE ... SET OPTIONS (require_partition_filter = FALSE).",
    ),
    (
        re.compile(r"rows in the streaming buffer", re.IGNORECASE),
        "Somebody is streaming rows into the table, and BigQuery does not allow changes to those rows for up to 90 "
        "minutes: load the file again later, and stream into a different table.",
    ),
    (
        re.compile(r"too many partitions", re.IGNORECASE),
        "One job writes at most 4,000 partitions: split the file by date, or load it into a table that is partitioned "
        "by month.",
    ),
    (
        re.compile(r"was not found in location", re.IGNORECASE),
        "Create it, or correct its name in the configuration; if it exists elsewhere, set data_warehouse.location to "
        "the location of the dataset.",
    ),
)
"""Remedies for causes that share a reason with others."""

_REMEDIES_BY_REASON = {
    "quotaExceeded": "A quota of the project is used up: wait at least ten minutes and load the file again, or raise "
    "the quota that the message names.",
    "rateLimitExceeded": _LATER,
    "userRateLimitExceeded": _LATER,
    "jobRateLimitExceeded": _LATER,
    "billingNotEnabled": "Enable billing for the project: in the sandbox, BigQuery does not run DML and expires "
    "every table.",
    "accountDisabled": "Enable billing for the project that owns the bucket.",
    "retentionPolicyNotMet": "The bucket's retention policy does not allow the object to be replaced or deleted yet: "
    "remove the policy, or name another bucket in the configuration.",
    "objectUnderActiveHold": "The object is under a hold: release the hold and load the file again.",
    "userProjectMissing": _REQUESTER_PAYS,
    "userProjectAccessDenied": _REQUESTER_PAYS,
    "bytesBilledLimitExceeded": "Raise data_warehouse.maximum_bytes_billed in the configuration.",
    "resourcesExceeded": "The query is too large for the project's slots: load fewer files in one run.",
    "responseTooLarge": "Read fewer files at once.",
    "policyViolation": _POLICY,
    "orgPolicyConstraintFailed": _POLICY,
    "stopped": "Somebody canceled the job: load the file again.",
}

_REMEDIES_BY_CODE = {
    400: "The name or the table schema is not valid: compare it with the documentation.",
    401: "Check the credentials of the service account.",
    403: "Grant the service account the roles listed in the deployment guide.",
    404: "Create it, or correct its name in the configuration.",
    412: "Another run is writing the same file: run this again when it is done.",
}


def code_of(error: Exception) -> int | None:
    """Return the HTTP status of `error`, from any of the clients' exception families."""
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    code = getattr(error, "code", None)
    return int(code) if isinstance(code, int | http.HTTPStatus) else None


def reasons_of(error: Exception) -> frozenset[str]:
    """Return the reasons that the server gave, such as `quotaExceeded`."""
    if isinstance(error, InvalidResponse):
        details = _details(error.response)
    else:
        details = error.errors if isinstance(error, exceptions.GoogleAPICallError) else []
    return frozenset(str(detail["reason"]) for detail in details if isinstance(detail, dict) and "reason" in detail)


def _details(response: requests.Response) -> list[object]:
    try:
        content = response.json()
    except ValueError:
        return []
    found = content.get("error") if isinstance(content, dict) else None
    details = found.get("errors") if isinstance(found, dict) else None
    return details if isinstance(details, list) else []


def is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed: lost connections, server errors, too many requests."""
    if isinstance(error, requests.ConnectionError | requests.Timeout | TransportError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, requests.exceptions.ChunkedEncodingError | exceptions.RetryError):
        return True
    reasons = reasons_of(error)
    if reasons & _TRANSIENT_REASONS or (code_of(error) and _TRANSIENT_TEXTS.search(str(error))):
        return True
    return code_of(error) in _TRANSIENT_CODES and not reasons & _REMEDIES_BY_REASON.keys()


def is_out_of_reach(error: Exception) -> bool:
    """Return whether the storage does not respond or rejects the credentials, so every other object would fail too."""
    # Errors of `requests` are OSErrors.
    return isinstance(error, GoogleAuthError) or (
        isinstance(error, exceptions.GoogleAPIError | OSError) and is_transient(error)
    )


def is_precondition_failure(error: Exception) -> bool:
    """Return whether somebody wrote the object or table after we read it. The clients use two classes for a 412."""
    return code_of(error) == http.HTTPStatus.PRECONDITION_FAILED and "orgPolicyConstraintFailed" not in reasons_of(
        error
    )


def explain(error: Exception, store: str) -> str:
    """Return the message for `error`: store, cause and remedy."""
    if isinstance(error, DefaultCredentialsError | RefreshError):
        return f"{store} cannot be reached: no usable Google credentials. {_REMEDIES_BY_CODE[401]}"
    return f"{store} cannot be used: {cause(error)}. {_remedy(error)}".strip()


def cause(error: Exception) -> str:
    """Return the message from the service, without the values that BigQuery quotes.

    For an upload, the client puts it into JSON after the method and URL.
    """
    response = getattr(error, "response", None)
    try:
        message = str(response.json()["error"]["message"]) if response is not None else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        message = ""
    lines = (message or str(getattr(error, "message", "") or error)).strip().splitlines() or [type(error).__name__]
    # The client appends each error of a failed job to the message of the first.
    return _VALUE.sub(r"\1 ...\2", lines[0].partition("; reason: ")[0])[:400].rstrip(".;")


def _remedy(error: Exception) -> str:
    code, text = code_of(error), str(error)
    if code is None:
        return ""
    for pattern, remedy in _REMEDIES_BY_TEXT:
        if pattern.search(text):
            return remedy
    for reason in reasons_of(error):
        if reason in _REMEDIES_BY_REASON:
            return _REMEDIES_BY_REASON[reason]
    return _REMEDIES_BY_CODE.get(code, "")
