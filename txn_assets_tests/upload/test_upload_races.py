"""Uploads that meet each other, break off, stall, or are still there when the service has to stop."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from txn_assets_tests.deployment import Deployment
from txn_assets_tests.upload.many import big_file, is_spooled, upload_at_once, wait_until
from txn_assets_tests.upload.server import Service, serving
from txn_assets_tests.upload.test_receiving import FILE, is_problem

CONFIG = {
    "security": {"authentication": "none"},
    "upload": {"idle_seconds": 3, "max_bytes": 200 << 20, "max_uploads": 100, "max_uploads_per_subject": 100},
}
CSV = {"Content-Type": "text/csv", "Prefer": "wait=0"}


class Slow:
    """A body that arrives up to its last bytes, and ends when the test lets it."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._go_on = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._content) - 100, 1 << 18):
            yield self._content[at : min(at + (1 << 18), len(self._content) - 100)]
        assert self._go_on.wait(30)
        yield self._content[-100:]

    def end(self) -> None:
        self._go_on.set()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(100) as opened:
        yield opened


def start(threads: ThreadPoolExecutor, service: Service, name: str, body: object) -> "Future[requests.Response]":
    return threads.submit(service.post, f"/ingest?name={name}", data=body, headers=CSV)


def test_later_upload_of_the_same_name_is_kept(service: Service, threads: ThreadPoolExecutor) -> None:
    """An upload during which another one lands under its name ends with 412 and replaces nothing."""
    first = Slow(big_file("first"))
    answer = start(threads, service, "same.csv", first)
    wait_until(lambda: is_spooled("first"))
    assert service.upload(FILE, "same.csv").status_code == 202
    first.end()
    is_problem(answer.result(), 412, "Another file has landed")
    assert service.landed("anonymous/same.csv") == FILE
    wait_until(lambda: not is_spooled("first"))


@contextmanager
def sending(service: Service, path: str, content_type: str, body: bytes) -> Iterator[socket.socket]:
    """Send all of a request but its last byte, and break off at the end of the block."""
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2])), timeout=30) as connection:
        headers = f"Host: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body) + 1}"
        connection.sendall(f"POST {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body)
        yield connection


def test_broken_off_upload_leaves_nothing(service: Service) -> None:
    """If the client goes away, nothing lands and the session in the bucket is canceled."""
    with sending(service, "/ingest?name=broken.csv", "text/csv", big_file("broken")):
        wait_until(lambda: is_spooled("broken"))
    wait_until(lambda: not is_spooled("broken"))
    assert service.landed("anonymous/broken.csv") is None


def test_stalled_upload_is_given_up(service: Service) -> None:
    """A client that sends nothing for too long gets 408 and loses the connection, and nothing lands."""
    with sending(service, "/ingest?name=stalled.csv", "text/csv", big_file("stalled")) as connection:
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "connection: close" in answer.lower()
    assert "Nothing arrived for 3 seconds" in answer
    assert not is_spooled("stalled")
    assert service.landed("anonymous/stalled.csv") is None


@pytest.mark.parametrize("is_announced", [True, False])
def test_too_large_file_is_refused(service: Service, is_announced: bool) -> None:
    """A file above the limit is refused, by its Content-Length or once that many bytes have arrived."""
    content = big_file("large", 32) * 7
    body = content if is_announced else (content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20))
    response = service.post("/ingest?name=large.csv", data=body, headers=CSV)
    is_problem(response, 413, f"{200 << 20:,}")
    assert service.landed("anonymous/large.csv") is None
    assert not is_spooled("large")


def test_memory_does_not_grow_with_the_file(service: Service) -> None:
    """An upload of 192 MiB takes less than 32 MiB of memory, and lands whole."""
    content = big_file("memory", 32)
    service.forget_peak()
    before = service.peak_bytes()
    response = service.post("/ingest?name=memory.csv", data=iter([content] * 6), headers=CSV)
    assert response.status_code == 202, response.text
    assert service.peak_bytes() - before < 32 << 20
    blob = service.deployment.bucket.get_blob(f"{service.deployment.config.data_lake.landing}/anonymous/memory.csv")
    assert blob
    assert blob.size == 6 * len(content)


def test_upload_ends_before_the_service(
    module_deployment: Deployment, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    """After SIGTERM an upload in progress still lands, and new ones find nobody. The exit code is 0."""
    content = big_file("drained")
    with serving(module_deployment, tmp_path / "log") as service:
        body = Slow(content)
        answer = start(threads, service, "drained.csv", body)
        wait_until(lambda: is_spooled("drained"))
        stopped = threads.submit(service.stop)
        wait_until(lambda: "Shutting down" in service.log.read_text())
        with pytest.raises(requests.ConnectionError):
            service.upload(FILE, "late.csv")
        body.end()
        assert answer.result().status_code == 202
        assert stopped.result() == 0
    assert service.landed("anonymous/drained.csv") == content


def test_concurrent_uploads(service: Service, threads: ThreadPoolExecutor) -> None:
    """Of 60 uploads at once, six break off, six have a wrong digest, and six are overtaken.

    The others land whole, and so do those that overtook, and nothing else lands.
    """
    before = service.objects()
    accepted = upload_at_once(service, threads, 60)
    assert len(accepted) == 48
    prefix = f"{service.deployment.config.data_lake.landing}/"
    assert service.objects() - before == {f"{prefix}{name}" for name in accepted}
    assert all(service.landed(name) == content for name, content in accepted.items())
