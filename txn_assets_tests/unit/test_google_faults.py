"""Which errors of Google's clients pass, and which are of every file."""

import pytest
import requests
from google.api_core import exceptions
from google.auth.exceptions import RefreshError
from pydantic import TypeAdapter, ValidationError

from txn_assets.io_managers.google_faults import is_out_of_reach, is_passing


def _of_another_family() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("x")
    return caught.value


RATE_LIMIT = exceptions.Forbidden("too much", errors=[{"reason": "rateLimitExceeded"}])  # type: ignore[no-untyped-call]  # untyped there
UNAVAILABLE = exceptions.ServiceUnavailable("later")  # type: ignore[no-untyped-call]  # likewise
NOT_FOUND = exceptions.NotFound("gone")  # type: ignore[no-untyped-call]  # likewise


@pytest.mark.parametrize("error", [RATE_LIMIT, UNAVAILABLE, requests.ConnectionError(), TimeoutError()])
def test_passing(error: Exception) -> None:
    """A server that has too much to do, and one that cannot be heard, may answer the next time."""
    assert is_passing(error)


@pytest.mark.parametrize("error", [NOT_FOUND, _of_another_family(), ValueError("x")])
def test_lasting(error: Exception) -> None:
    """What is not there stays away, and an error of another library is never taken for a fault of the store."""
    assert not is_passing(error)
    assert not is_out_of_reach(error)


@pytest.mark.parametrize("error", [UNAVAILABLE, requests.ConnectionError(), RefreshError("no token")])  # type: ignore[no-untyped-call]  # likewise
def test_out_of_reach(error: Exception) -> None:
    """Where the storage does not answer, or lets nobody in, no other file need be tried."""
    assert is_out_of_reach(error)
