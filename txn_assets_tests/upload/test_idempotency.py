"""Idempotency keys: a repeated request lands nothing again."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from txn_assets_tests.deployment import make_file, make_row
from txn_assets_tests.upload.server import Service
from txn_assets_tests.upload.test_receiving import FILE, is_problem

OTHER = make_file(make_row(transaction_id="T777"))


def upload(service: Service, key: str, content: bytes = FILE, name: str = "key.csv") -> requests.Response:
    return service.upload(content, name, headers={"Idempotency-Key": key})


def keys(service: Service) -> list[Any]:
    """Return the objects of all keys."""
    prefix = f"{service.deployment.config.data_lake.staging}/uploads/"
    return list(service.deployment.bucket.list_blobs(prefix=prefix))


def test_same_upload_is_answered_again(service: Service) -> None:
    """The same key, name and content give the first answer, and no new generation."""
    first = upload(service, "repeat", name="repeat.csv")
    again = upload(service, '"repeat"', name="repeat.csv")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["Location"] == again.headers["Location"]
    assert first.json() == again.json()


@pytest.mark.parametrize(("content", "name"), [(OTHER, "other.csv"), (FILE, "another.csv")], ids=["content", "name"])
def test_another_upload_is_refused(service: Service, content: bytes, name: str) -> None:
    """A key does not work for another content or another name."""
    key = f"other-{name}-{len(content)}"
    assert upload(service, key, name="other.csv").status_code == 202
    is_problem(upload(service, key, content, name), 422, "Idempotency-Key")
    assert service.landed("anonymous/other.csv") == FILE


def test_refused_upload_frees_its_key(service: Service) -> None:
    """After an upload that did not land, its key works for the corrected file."""
    is_problem(upload(service, "corrected", b"no header"), 422)
    assert upload(service, "corrected", FILE, "corrected.csv").status_code == 202


def slowly(content: bytes, go_on: threading.Event) -> Iterator[bytes]:
    yield content[:10]
    assert go_on.wait(30)
    yield content[10:]


def test_key_in_use_is_a_conflict(service: Service) -> None:
    """While the first request is in progress, the second is told to wait."""
    go_on, answers = threading.Event(), []
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "busy", "Prefer": "wait=0"}

    def first() -> None:
        answers.append(service.post("/ingest?name=busy.csv", data=slowly(FILE, go_on), headers=headers))

    thread = threading.Thread(target=first)
    thread.start()
    try:
        while not keys_in_use(service):
            time.sleep(0.05)
        second = service.post("/ingest?name=busy.csv", data=FILE, headers=headers)
        is_problem(second, 409, "in progress")
        assert int(second.headers["Retry-After"]) > 0
    finally:
        go_on.set()
        thread.join()
    assert answers[0].status_code == 202, answers[0].text
    assert service.post("/ingest?name=busy.csv", data=FILE, headers=headers).json() == answers[0].json()


def keys_in_use(service: Service) -> list[Any]:
    return [blob for blob in keys(service) if json.loads(blob.download_as_bytes())["version"] is None]


@pytest.mark.parametrize("has_landed", [True, False])
def test_key_of_a_dead_owner(service: Service, has_landed: bool) -> None:
    """A key whose owner died is taken over after its lease; what the owner landed is not landed again."""
    name, key = f"dead-{has_landed}.csv", f"dead-{has_landed}"
    assert upload(service, key, name=name).status_code == 202
    (blob,) = (one for one in keys(service) if name in one.download_as_bytes().decode())
    record = json.loads(blob.download_as_bytes()) | {"fingerprint": None, "version": None}
    landed = service.deployment.bucket.blob(f"{service.deployment.config.data_lake.landing}/anonymous/{name}")
    landed.delete()
    # What a killed service leaves behind: the key, and perhaps the file.
    blob.upload_from_string(json.dumps(record | {"expires": time.time() + 1.5}))
    if has_landed:
        landed.upload_from_string(FILE)
    is_problem(upload(service, key, name=name), 409, "in progress")
    time.sleep(1.5)
    taken = upload(service, key, name=name)
    assert taken.status_code == 202, taken.text
    assert taken.headers["Location"].endswith(f"@{landed.generation}") == has_landed
    assert service.landed(f"anonymous/{name}") == FILE


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "a\tb"])
def test_key_must_be_plain_text(service: Service, key: str) -> None:
    """Keys that are empty, too long or not plain are refused."""
    is_problem(upload(service, key), 400, "Idempotency-Key")
