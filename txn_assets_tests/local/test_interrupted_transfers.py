"""Transfers that break, race or are overtaken, as the real GCS client sees them."""

import base64
import contextlib
import http.client
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import google_crc32c
import psutil
import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client
from google.cloud.storage.exceptions import InvalidResponse

from txn_assets_tests.local.conftest import Stack, processes_of

MIB = 1 << 20
BIG = 9 * MIB
"""Size above 8 MiB, at which the client uploads in several requests."""


class BreakingProxy:
    """A proxy that drops one connection: the first that uploads `after` bytes, or the response to that upload."""

    def __init__(self, target: str, *, after: int, answer_lost: bool) -> None:
        parts = urlsplit(target)
        self.target = (str(parts.hostname), int(parts.port or 0))
        self.after = after
        self.answer_lost = answer_lost
        self.broken = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
                reached = threading.Event()
                for pump in (self._up, self._down):
                    threading.Thread(target=pump, args=(client, server, reached), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, reached: threading.Event) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                passed += len(data)
                if passed > self.after and not self.broken:
                    if not self.answer_lost:
                        self.broken += 1
                        break
                    reached.set()
                server.sendall(data)
        self._close(client, server)

    def _down(self, client: socket.socket, server: socket.socket, reached: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if reached.is_set() and not self.broken:
                    self.broken += 1
                    break
                client.sendall(data)
        self._close(client, server)

    @staticmethod
    def _close(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture(params=["chunk broken off", "answer lost"])
def breaking(stack: Stack, request: pytest.FixtureRequest) -> Iterator[BreakingProxy]:
    """Yield a connection that breaks once, in the middle of the third MiB or before its response."""
    proxy = BreakingProxy(stack.endpoints.gcs_url, after=5 * MIB // 2, answer_lost=request.param == "answer lost")
    yield proxy
    proxy.listener.close()


def test_client_continues_after_a_broken_connection(bucket: Bucket, breaking: BreakingProxy) -> None:
    """The client does not notice the break, and the object is right, including checksum and precondition."""
    content = os.urandom(5 * MIB)
    client = Client(
        project="some-project",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call] # google-auth is untyped here
        client_options={"api_endpoint": breaking.url},
    )
    blob = client.bucket(bucket.name).blob("resumed")
    with blob.open("wb", chunk_size=MIB, checksum="crc32c", if_generation_match=0) as writer:
        writer.write(content)
    assert breaking.broken == 1
    stored = bucket.get_blob("resumed")
    assert stored is not None
    assert stored.crc32c == base64.b64encode(google_crc32c.value(content).to_bytes(4)).decode()
    assert bucket.blob("resumed").download_as_bytes(checksum="crc32c") == content


def test_precondition_is_checked_when_the_upload_ends(bucket: Bucket) -> None:
    """An object created during a big upload with `if_generation_match=0` is not overwritten when the upload ends."""

    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                bucket.blob("late").upload_from_string(b"somebody else")
            return super().read(size)

    with pytest.raises((PreconditionFailed, InvalidResponse)):
        bucket.blob("late", chunk_size=8 * MIB).upload_from_file(Interrupted(bytes(BIG)), if_generation_match=0)
    assert bucket.blob("late").download_as_bytes() == b"somebody else"


def test_unfinished_upload_leaves_no_object(bucket: Bucket, stack: Stack) -> None:
    """Neither an unfinished chunked upload nor half of a single request becomes an object."""
    writer = bucket.blob("unfinished").open("wb", chunk_size=MIB)
    writer.write(bytes(3 * MIB))
    half = http.client.HTTPConnection(urlsplit(stack.endpoints.gcs_url).netloc)
    half.putrequest("POST", f"/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=half")
    half.putheader("Content-Length", "1000000")
    half.endheaders(b"x" * 1000)
    half.close()
    time.sleep(0.3)
    assert list(bucket.list_blobs()) == []
    writer.terminate()


def test_reader_of_one_generation_never_gets_the_next(bucket: Bucket) -> None:
    """After an overwrite, the reader's next chunk is a 404 instead of other bytes or a premature end."""
    blob = bucket.blob("pinned")
    blob.upload_from_string(bytes(MIB))
    with bucket.blob("pinned", generation=blob.generation).open("rb", chunk_size=MIB // 4) as reader:
        assert reader.read(MIB // 4) == bytes(MIB // 4)
        # This is shorter than the reader's position: a server may then answer 416, which the client takes for the end.
        bucket.blob("pinned").upload_from_string(b"short")
        with pytest.raises(NotFound):
            reader.read()


def test_huge_object_is_never_held_in_memory(bucket: Bucket, stack: Stack, tmp_path: Path) -> None:
    """Uploading and downloading 300 MB takes less than 64 MB of the shim's memory."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    with source.open("wb") as file:
        file.truncate(300_000_000)
    (shim,) = (process for process in processes_of(stack.home) if "gcs_shim" in " ".join(process.cmdline()))
    before, peaks, done = shim.memory_info().rss, [0], threading.Event()

    def watch(process: psutil.Process) -> None:
        while not done.wait(0.02):
            peaks.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch, args=(shim,))
    watcher.start()
    try:
        bucket.blob("huge").upload_from_filename(str(source), checksum="crc32c")
        bucket.blob("huge").download_to_filename(str(copy))
    finally:
        done.set()
        watcher.join()
    assert copy.stat().st_size == 300_000_000
    assert max(peaks) - before < 64 * MIB
