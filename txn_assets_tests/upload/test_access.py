"""Who may use the service and how much, its probes and its metrics, over HTTP with tokens of the local issuer."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from txn_assets.upload.health import CACHE_SECONDS
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.upload.conftest import Sign
from txn_assets_tests.upload.server import Service

CONFIG: dict[str, Any] = {"upload": {"bytes_per_minute": 100_000, "max_uploads_per_subject": 1}}
FILE = make_file(make_row())


def refused(response: requests.Response, status: int) -> str:
    """Check that a request was refused with a problem, and return the challenge."""
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert response.json()["detail"]
    return response.headers.get("WWW-Authenticate", "")


def test_token_decides_on_the_folder(service: Service, sign: Sign) -> None:
    """A file lands in the folder of the token's subject, and two subjects never share one."""
    for subject in ("ann", "Ann", "../ann"):
        assert service.upload(FILE, headers=sign(subject=subject)).status_code == 202
    mine = [name for name in service.landed_names() if name.endswith("/orders.csv")]

    assert len(mine) == 3
    assert {"ann/orders.csv", "Ann/orders.csv"} < set(mine)


@pytest.mark.parametrize("path", ["/upload/transactions", "/ingest"])
def test_no_token(service: Service, path: str) -> None:
    """Without a token, or with another scheme, the answer asks for one and nothing lands."""
    before = service.landed_names()
    assert refused(service.post(path, files={"file": ("a.csv", FILE)}), 401) == "Bearer"
    basic = {"Authorization": "Basic YW5uOnNlY3JldA=="}
    assert refused(service.post(path, files={"file": ("a.csv", FILE)}, headers=basic), 401) == "Bearer"
    assert service.landed_names() == before


def test_wrong_token(service: Service, sign: Sign) -> None:
    """An expired token gets 401 with the reason, one without the scope 403 with the scope, and neither is logged."""
    expired = sign(minutes=-10)
    challenge = refused(service.upload(FILE, headers=expired), 401)
    assert challenge == 'Bearer error="invalid_token", error_description="It has expired: get a new one."'

    other = sign(scope="sales:read")
    challenge = refused(service.upload(FILE, headers=other), 403)
    assert challenge == 'Bearer error="insufficient_scope", scope="transactions:write"'

    log = service.log.read_text()
    assert [header for header in (expired, other) if header["Authorization"].split(".")[-1] in log] == []


def test_limits(service: Service, sign: Sign) -> None:
    """A second upload at once, or one after too many bytes, gets 429 and the time to come back."""
    mine = sign(subject="bob")
    port = int(service.url.rpartition(":")[2])
    body = b"--b\r\nContent-Disposition: form-data; name=file; filename=slow.csv\r\n\r\n" + FILE
    head = f"POST /ingest HTTP/1.1\r\nHost: x\r\nAuthorization: {mine['Authorization']}\r\nPrefer: wait=0\r\n"
    head += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body) + 9}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(head.encode() + body)
        wait_for(lambda: metric(service, "txn_uploads_in_flight") == 1)
        response = service.upload(FILE, headers=mine)
        assert "in progress" in response.json()["detail"]
        assert refused(response, 429) == ""
        assert int(response.headers["Retry-After"]) > 0
        slow.sendall(b"\r\n--b--\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 202")

    large = make_file(*[make_row(transaction_id=f"T{number:09}") for number in range(2500)])
    assert len(large) > 110_000
    assert service.upload(large, headers=mine).status_code == 202
    response = service.upload(FILE, headers=mine)
    assert refused(response, 429) == ""
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    # Others are not affected.
    assert service.upload(FILE, headers=sign(subject="carl")).status_code == 202


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def metric(service: Service, name: str) -> float:
    """Return the value of a metric of the service."""
    (line,) = [line for line in service.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def test_metrics(service: Service, sign: Sign) -> None:
    """Prometheus can count uploads by outcome and bytes, without a token and without a name in a label."""
    names = ('txn_uploads_total{outcome="landed"}', 'txn_uploads_total{outcome="refused"}', "txn_upload_bytes_total")
    before = [metric(service, name) for name in names]
    assert service.upload(FILE, "metered.csv", headers=sign(subject="dora")).status_code == 202
    assert service.upload(b"%PDF-1.7 no rows here", headers=sign(subject="dora")).status_code in (415, 422)
    after = [metric(service, name) for name in names]

    assert [new - old for old, new in zip(before, after, strict=True)][:2] == [1, 1]
    assert after[2] - before[2] > len(FILE)
    text = service.get("/metrics").text
    assert "dora" not in text
    assert "metered" not in text


def test_probes(service: Service, module_deployment: Deployment) -> None:
    """The service is ready while the bucket is there, alive even if it is not, and ready again after that."""
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json() == {"status": "ready", "bucket": "ok", "ledger": "ok"}

    bucket = module_deployment.bucket
    bucket.delete(force=True)
    time.sleep(CACHE_SECONDS)
    assert refused(service.get("/readyz"), 503) == ""
    assert service.get("/readyz").json()["detail"] == "Not ready: no answer from bucket. The log says why."
    assert service.get("/healthz").ok

    module_deployment.gcs.create_bucket(bucket.name)
    time.sleep(CACHE_SECONDS)
    assert service.get("/readyz").ok


def test_openapi_names_the_scheme(service: Service) -> None:
    """The OpenAPI document says that uploads need a bearer token, and which errors they may answer with."""
    document = json.loads(service.get("/openapi.json").text)
    operation = document["paths"]["/ingest"]["post"]

    assert operation["security"] == [{"HTTPBearer": []}]
    assert {"401", "403", "429", "503"} <= set(operation["responses"])


def test_status_of_the_files_of_others(service: Service, sign: Sign) -> None:
    """A subject sees what became of its own files, and of others' with a scope of its own."""
    location = service.upload(FILE, headers=sign(subject="erin")).headers["Location"]

    assert service.get(location, headers=sign(subject="erin")).json()["state"] == "landed"
    refused(service.get(location, headers=sign(subject="frank")), 404)
    everything = sign(subject="frank", scope="transactions:write transactions:read-all")
    assert service.get(location, headers=everything).json()["state"] == "landed"
