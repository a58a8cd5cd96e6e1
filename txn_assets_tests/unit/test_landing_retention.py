"""Objects that somebody protects stay in the landing zone. The local GCS has no holds and no retention policies."""

import datetime as dt
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from txn_assets.stores.landed_names import archived_name, archived_version
from txn_assets.stores.landing.retention import protection

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
LATER, EARLIER = "2027-01-02T03:04:00Z", "2026-01-02T03:04:00Z"
KEPT = "it must be kept until 2027-01-02 03:04 UTC, by the bucket's or its own retention policy"


@pytest.mark.parametrize(
    ("resource", "stays"),
    [
        ({}, ""),
        ({"temporaryHold": True}, "it is under a temporary hold: release it"),
        (
            {"temporaryHold": True, "eventBasedHold": True},
            "it is under a temporary hold and an event-based hold: release it",
        ),
        ({"eventBasedHold": False, "retentionExpirationTime": LATER}, KEPT),
        ({"retentionExpirationTime": EARLIER}, ""),
        ({"retention": {"mode": "Locked", "retainUntilTime": LATER}, "retentionExpirationTime": EARLIER}, KEPT),
        ({"retention": {"mode": "Unlocked", "retainUntilTime": EARLIER}}, ""),
    ],
)
def test_protected_object(resource: dict[str, Any], stays: str) -> None:
    """A hold, the bucket's retention policy and the object's own each keep it, with a sentence."""
    client = storage.Client("project", AnonymousCredentials())  # type: ignore[no-untyped-call]  # google-auth is untyped
    blob = client.bucket("bucket").blob("landing/a.csv")
    # What `get_blob` does with the answer.
    blob._set_properties(resource)
    assert protection(blob, NOW) == stays


@pytest.mark.parametrize("name", ["a.csv", "2026/11/a@b.csv", "a.csv@7"])
def test_archived_name(name: str) -> None:
    """The name of an archived object says which version it is; other objects in the bucket are no versions."""
    assert archived_version("landing", archived_name("landing", name, 17)) == (name, 17)
    for other in (f"landing/{name}.txt", f"landing/{name}@x", "landing/@17", f"landing/{name}@\uff11"):
        assert archived_version("landing", other) is None
