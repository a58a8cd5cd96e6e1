"""Which errors of Google's clients are transient, which concern every file, and what remedy is shown."""

import json
from http import HTTPStatus

import pytest
import requests
from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from google.cloud.bigquery.job.base import _error_result_to_exception
from google.cloud.storage.exceptions import InvalidResponse
from pydantic import TypeAdapter, ValidationError

from txn_assets.stores.bigquery import failures
from txn_assets.stores.google_errors import explain, is_out_of_reach, is_precondition_failure, is_transient


def _of_another_family() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("x")
    return caught.value


def answered(status: int, reason: str, message: str = "no") -> exceptions.GoogleAPICallError:
    """Return the error for a response with `status` and `reason`."""
    error = exceptions.from_http_status(status, message, errors=[{"reason": reason, "message": message}])  # type: ignore[no-untyped-call]  # untyped there
    assert isinstance(error, exceptions.GoogleAPICallError)
    return error


def failed_job(reason: str, message: str = "no") -> exceptions.GoogleAPICallError:
    """Return the error of a failed BigQuery job, as BigQuery's client makes it from the job."""
    result = {"reason": reason, "message": message}
    error = _error_result_to_exception(result, [result])  # type: ignore[no-untyped-call]  # untyped there
    assert isinstance(error, exceptions.GoogleAPICallError)
    return error


def of_an_upload(status: int, reason: str) -> InvalidResponse:
    """Return the error of an upload, which the storage client leaves unparsed."""
    response = requests.Response()
    response.status_code = status
    response._content = json.dumps({"error": {"errors": [{"reason": reason}]}}).encode()
    return InvalidResponse(response, "upload failed")


UNAVAILABLE = answered(503, "backendError")
NOT_FOUND = answered(404, "notFound")


@pytest.mark.parametrize(
    "error",
    [
        answered(403, "rateLimitExceeded"),
        answered(403, "userRateLimitExceeded"),
        UNAVAILABLE,
        failed_job("tableUnavailable"),
        failed_job("jobRateLimitExceeded"),
        failed_job("resourcesExceeded", "Too many DML statements outstanding against table p:d.t, limit is 20."),
        of_an_upload(429, "rateLimitExceeded"),
        requests.ConnectionError(),
        TimeoutError(),
    ],
    ids=repr,
)
def test_transient(error: Exception) -> None:
    """An overloaded or unreachable server is a transient error."""
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        NOT_FOUND,
        answered(403, "quotaExceeded"),
        answered(403, "billingNotEnabled"),
        failed_job("resourcesExceeded", "Resources exceeded during query execution: out of memory."),
        failed_job(
            "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 1. 10485760 or higher required."
        ),
        of_an_upload(403, "retentionPolicyNotMet"),
        _of_another_family(),
        ValueError("Too many DML statements outstanding"),
    ],
    ids=repr,
)
def test_permanent(error: Exception) -> None:
    """A missing resource is a permanent error, and another library's error is never blamed on the store."""
    assert not is_transient(error)
    assert not is_out_of_reach(error)


@pytest.mark.parametrize("error", [UNAVAILABLE, requests.ConnectionError(), RefreshError("no token")])  # type: ignore[no-untyped-call]  # untyped there
def test_out_of_reach(error: Exception) -> None:
    """If the storage does not respond or denies access, no other file is tried."""
    assert is_out_of_reach(error)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (answered(403, "accessDenied"), "Grant the service account the roles"),
        (answered(403, "quotaExceeded"), "wait at least ten minutes"),
        (answered(403, "rateLimitExceeded"), "Too many requests at once"),
        (answered(403, "billingNotEnabled"), "Enable billing"),
        (answered(403, "retentionPolicyNotMet"), "retention policy"),
        (of_an_upload(403, "retentionPolicyNotMet"), "retention policy"),
        (of_an_upload(403, "objectUnderActiveHold"), "release the hold"),
        (
            answered(400, "required", "Bucket is a requester pays bucket but no user project provided."),
            "Requester Pays",
        ),
        (answered(400, "userProjectMissing"), "Requester Pays"),
        (answered(404, "notFound", "Not found: Dataset p:d"), "correct its name in the configuration"),
        (
            failed_job("notFound", "Not found: Dataset p:d was not found in location US"),
            "set data_warehouse.location",
        ),
        (
            failed_job("invalidQuery", "Cannot query over table 'p.d.t' without a filter over column(s) 'x'"),
            "require_partition_filter = FALSE",
        ),
        (
            failed_job("invalidQuery", "UPDATE or DELETE statement would affect rows in the streaming buffer"),
            "up to 90 minutes",
        ),
        (failed_job("invalidQuery", "Too many partitions produced by query, allowed 4000"), "at most 4,000 partitions"),
        (failed_job("bytesBilledLimitExceeded"), "data_warehouse.maximum_bytes_billed"),
        (answered(412, "conditionNotMet"), "Another run is writing the same file"),
        (answered(412, "orgPolicyConstraintFailed"), "policy of the organization"),
    ],
)
def test_remedy_follows_the_reason(error: Exception, remedy: str) -> None:
    """The remedy follows the reason: a 403 may be a missing role, a quota or a policy."""
    sentence = explain(error, "BigQuery table p.d.t")
    assert sentence.startswith("BigQuery table p.d.t cannot be used: ")
    assert remedy in sentence


def test_cause_of_a_failed_job_is_given_once() -> None:
    """The cause of a failed job is shown once, although the client appends every error of the job to the first."""
    sentence = explain(failed_job("invalidQuery", "Syntax error at [1:1]"), "BigQuery")
    assert sentence.count("Syntax error") == 1
    assert "reason" not in sentence


@pytest.mark.parametrize(("reason", "lost"), [("conditionNotMet", True), ("orgPolicyConstraintFailed", False)], ids=str)
def test_policy_is_not_a_lost_race(reason: str, lost: bool) -> None:
    """A policy error is not a lost race, although both are 412."""
    assert is_precondition_failure(answered(HTTPStatus.PRECONDITION_FAILED, reason)) is lost


@pytest.mark.parametrize(
    ("message", "conflict"),
    [
        ("Transaction is aborted due to concurrent update against table p:d.t. Transaction ID: 1", True),
        ("Could not serialize access to table p:d.t due to concurrent update", True),
        (f"Query error: {failures.LEDGER_CHANGED} at [5:1]", True),
        # The first loads of a fresh embedded server, at once.
        ('Catalog write-write conflict on create with "gcs_emulator"', True),
        ("Syntax error: Unexpected keyword", False),
        ("Not found: Table p:d.conflict_zones was not found in location US", False),
        ("Access Denied: Table p:d.concurrent_users", False),
    ],
)
def test_conflicts_are_distinguished_from_other_errors(message: str, conflict: bool) -> None:
    """Conflicts are distinguished from other errors, because only they are worth a retry."""
    assert failures.is_conflict(message) is conflict


@pytest.mark.parametrize(
    "message",
    [
        "Error while reading data, error message: Could not parse 'T001 as x' as DATE for field d (position 5)",
        'Could not cast literal "T001" to type DATE at [1:8]',
        "Bad int64 value: T001",
        "Invalid NUMERIC value: T001",
        "Invalid date: 'T001'",
    ],
)
def test_values_are_left_out(message: str) -> None:
    """BigQuery's messages about a conversion quote the value."""
    assert "T001" not in explain(answered(400, "invalidQuery", message), "BigQuery table t")
