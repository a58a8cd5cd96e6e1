"""Resumable uploads into the landing zone when requests to the bucket or their responses are lost."""

from typing import Any

import pytest
import requests

from txn_assets.stores.errors import StoreError
from txn_assets.stores.landing import upload as landing_upload
from txn_assets.stores.landing.upload import LandingChangedError, LandingUpload
from txn_assets.target import open_services
from txn_assets_tests.deployment import Deployment

CONTENT = bytes(range(256)) * 4096
"""One mebibyte: four chunks of the size that this test sets."""


class Flaky(requests.Session):
    """Connections that lose one request, or the response to it."""

    def __init__(self, lost: int, *, is_sent: bool) -> None:
        super().__init__()
        self.lost = lost
        self.is_sent = is_sent

    def request(self, *given: Any, **options: Any) -> requests.Response:
        self.lost -= 1
        if self.lost == -1:
            if self.is_sent:
                super().request(*given, **options)
            message = "lost"
            raise requests.ConnectionError(message)
        return super().request(*given, **options)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing_upload, "CHUNK_BYTES", 1 << 18)


def test_lost_requests_do_no_harm(deployment: Deployment) -> None:
    """Whichever request or response is lost, the file lands whole, once."""
    with open_services(deployment.config) as opened:
        services = opened.of(deployment.feed())
        for is_sent in (True, False):
            for lost in range(5):
                services.clients.upload_sessions = Flaky(lost, is_sent=is_sent)
                upload = LandingUpload.begin(services.landing, "flaky.csv")
                for at in range(0, len(CONTENT), 100_000):
                    upload.write(CONTENT[at : at + 100_000])
                    upload.send()
                version = upload.land()
                assert (lost == 4) == (services.clients.upload_sessions.lost >= 0)
                blob = deployment.bucket.get_blob("landing/transactions/flaky.csv")
                assert blob
                assert (blob.generation, blob.crc32c) == (version.generation, version.crc32c)
                assert blob.download_as_bytes() == CONTENT
                # What landed stays, although the session is discarded.
                upload.cancel()
                assert services.landing.latest("flaky.csv") == version


def test_last_bytes_decide(deployment: Deployment) -> None:
    """Before `finish` nothing has landed; after `cancel` nothing can; and a file that landed meanwhile is kept."""
    with open_services(deployment.config) as opened:
        landing = opened.of(deployment.feed()).landing
        upload = LandingUpload.begin(landing, "late.csv")
        upload.write(CONTENT)
        upload.send()
        assert landing.latest("late.csv") is None
        upload.cancel()
        with pytest.raises(StoreError, match="canceled"):
            upload.land()
        upload = LandingUpload.begin(landing, "late.csv")
        upload.write(CONTENT)
        deployment.land("late.csv", b"other")
        with pytest.raises(LandingChangedError, match="Another file has landed"):
            upload.land()
        live = landing.latest("late.csv")
        assert live
        assert live.size == 5
