"""What the shim adds to fake-gcs-server, through the real client."""

import http.client
import json
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import psutil
import pytest
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud.storage import Blob, Bucket

from txn_assets.local.home import Home
from txn_assets.local.stack import status
from txn_assets_tests.local.conftest import Stack

BIG = os.urandom(9 << 20)
"""Content above 8 MiB, which the client uploads with the resumable protocol."""


def upload(bucket: Bucket, name: str, content: bytes, **conditions: int) -> Blob:
    """Upload an object and return it with its generation."""
    blob = bucket.blob(name)
    blob.upload_from_string(content, content_type="text/csv", **conditions)
    return blob


@pytest.mark.parametrize("content", [b"small", BIG], ids=["one request", "resumable"])
def test_upload_that_must_be_the_first_is_refused_if_it_is_not(bucket: Bucket, content: bytes) -> None:
    """`if_generation_match=0` succeeds once, and the existing object stays."""
    first = upload(bucket, "a", content, if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        upload(bucket, "a", content[::-1], if_generation_match=0)
    assert bucket.blob("a").download_as_bytes() == content
    assert bucket.get_blob("a").generation == first.generation


@pytest.mark.parametrize("content", [b"small", BIG], ids=["one request", "resumable"])
def test_upload_over_an_outdated_generation_is_refused(bucket: Bucket, content: bytes) -> None:
    """`if_generation_match` accepts the current generation and no other."""
    first = upload(bucket, "a", b"first")
    second = upload(bucket, "a", content, if_generation_match=first.generation)
    assert second.generation > first.generation
    with pytest.raises(PreconditionFailed):
        upload(bucket, "a", content, if_generation_match=first.generation)


def test_resumable_upload_keeps_metadata_type_and_checksum(bucket: Bucket) -> None:
    """A big object keeps the metadata and content type that the client sent with it."""
    blob = bucket.blob("a")
    blob.metadata = {"source": "é"}
    blob.content_encoding = "identity"
    blob.upload_from_string(BIG, content_type="text/csv", checksum="crc32c")
    found = bucket.get_blob("a")
    assert (found.metadata, found.content_type, found.content_encoding) == ({"source": "é"}, "text/csv", "identity")
    assert (found.size, found.crc32c, found.md5_hash) == (len(BIG), blob.crc32c, blob.md5_hash)
    assert found.download_as_bytes(checksum="crc32c") == BIG


@pytest.mark.parametrize(
    "request_stale",
    [
        pytest.param(lambda b, g: b.blob("a").delete(if_generation_match=g), id="delete"),
        pytest.param(lambda b, g: b.blob("a").download_as_bytes(if_generation_match=g), id="download"),
        pytest.param(lambda b, g: b.get_blob("a", if_generation_match=g), id="get"),
        pytest.param(lambda b, g: b.get_blob("a").patch(if_generation_match=g), id="patch"),
        pytest.param(lambda b, g: b.copy_blob(b.blob("a"), b, "c", if_source_generation_match=g), id="copy source"),
        pytest.param(lambda b, g: b.copy_blob(b.blob("b"), b, "a", if_generation_match=g), id="copy target"),
        pytest.param(lambda b, g: b.blob("a").rewrite(b.blob("b"), if_generation_match=g), id="rewrite"),
        pytest.param(lambda b, g: b.blob("a").compose([b.blob("b")], if_generation_match=g), id="compose"),
        pytest.param(lambda b, _: b.blob("a").delete(if_metageneration_match=9), id="metageneration"),
    ],
)
def test_request_for_an_outdated_generation_is_refused(
    bucket: Bucket, request_stale: Callable[[Bucket, int], object]
) -> None:
    """Each operation checks its precondition and changes nothing if it does not hold."""
    stale = upload(bucket, "a", b"old").generation
    upload(bucket, "a", b"new")
    upload(bucket, "b", b"other")
    with pytest.raises(PreconditionFailed):
        request_stale(bucket, stale)
    assert bucket.blob("a").download_as_bytes() == b"new"


def test_older_generation_is_not_found(bucket: Bucket) -> None:
    """A read or delete that is pinned to a generation never touches another one."""
    old = upload(bucket, "a", b"old").generation
    new = upload(bucket, "a", b"new").generation
    with pytest.raises(NotFound):
        bucket.blob("a", generation=old).download_as_bytes()
    with pytest.raises(NotFound):
        bucket.blob("a", generation=old).delete()
    assert bucket.blob("a", generation=new).download_as_bytes() == b"new"


def test_one_of_many_simultaneous_first_uploads_wins(bucket: Bucket) -> None:
    """Check and change are atomic, for small and big objects that race for the same name."""

    def attempt(number: int) -> bytes | None:
        content = bytes([number]) * (10 if number % 2 else len(BIG))
        try:
            upload(bucket, "a", content, if_generation_match=0)
        except PreconditionFailed:
            return None
        return content

    with ThreadPoolExecutor(8) as pool:
        won = [content for content in pool.map(attempt, range(8)) if content is not None]
    assert won == [bucket.blob("a").download_as_bytes()]


def test_resumable_upload_continues_after_a_broken_connection(bucket: Bucket, stack: Stack) -> None:
    """The received bytes are kept; the client can ask how many there are and repeat part of them."""
    server = urlsplit(stack.endpoints.gcs_url)
    location = start_upload(stack, bucket, "a", {})
    with socket.create_connection((server.hostname or "", server.port or 0)) as connection:
        target = location.removeprefix(stack.endpoints.gcs_url)
        head = f"PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BIG)}\r\n"
        head += f"Content-Range: bytes 0-{len(BIG) - 1}/{len(BIG)}\r\n\r\n"
        connection.sendall(head.encode() + BIG[: 4 << 20])
    status_code, headers, _ = put(location, b"", f"bytes */{len(BIG)}")
    assert status_code == 308
    arrived = int(headers["Range"].removeprefix("bytes=0-")) + 1
    assert 0 < arrived <= 4 << 20
    assert bucket.get_blob("a") is None

    repeated = arrived - 1000
    status_code, _, content = put(location, BIG[repeated:], f"bytes {repeated}-{len(BIG) - 1}/{len(BIG)}")
    assert status_code == 200
    assert bucket.blob("a").download_as_bytes() == BIG
    # A client that missed the response asks again.
    assert put(location, b"", f"bytes */{len(BIG)}")[0::2] == (200, content)


def test_resumable_upload_with_a_wrong_checksum_creates_no_object(bucket: Bucket, stack: Stack) -> None:
    """An announced checksum is compared with the received bytes."""
    location = start_upload(stack, bucket, "a", {"crc32c": "AAAAAA=="})
    status_code, _, content = put(location, b"content", "bytes 0-6/7")
    assert status_code == 400
    assert b"crc32c" in content
    assert bucket.get_blob("a") is None


@pytest.mark.parametrize("content", [b"small", BIG], ids=["one request", "resumable"])
def test_links_of_an_object_lead_to_the_address_that_the_client_used(
    bucket: Bucket, stack: Stack, content: bytes
) -> None:
    """A client downloads by the link of an object that it knows; another pod would not reach fake-gcs-server."""
    blob = upload(bucket, "a", content)
    # More than one piece, so that a list would be streamed.
    for number in range(300):
        other = bucket.blob(f"b/{number}")
        other.metadata = {"note": "x" * 1000}
        other.upload_from_string(b"")
    for known in (blob, bucket.get_blob("a"), bucket.get_blob("a", generation=blob.generation), *bucket.list_blobs()):
        assert known.media_link.startswith(f"{stack.endpoints.gcs_url}/download/")
        assert known.self_link.startswith(f"{stack.endpoints.gcs_url}/storage/")

    path = f"/storage/v1/b/{bucket.name}/o/a"
    with closing(http.client.HTTPConnection(urlsplit(stack.endpoints.gcs_url).netloc)) as connection:
        connection.request("GET", path, headers={"Host": "local-servers:20001"})
        assert json.loads(connection.getresponse().read())["selfLink"] == f"http://local-servers:20001{path}"


def test_content_that_looks_like_a_description_is_not_changed(bucket: Bucket) -> None:
    """Only descriptions of objects get other links, whatever an object contains."""
    content = b'{"mediaLink": "http://example.org/a"}'
    bucket.blob("a").upload_from_string(content, content_type="application/json")
    assert bucket.get_blob("a").download_as_bytes() == content
    assert bucket.blob("a").download_as_bytes() == content


def test_stream_of_unknown_length_ends_with_its_last_chunk(bucket: Bucket) -> None:
    """`blob.open("wb")` sends chunks without a total, and works with a precondition too."""
    with bucket.blob("a").open("wb", chunk_size=1 << 20, if_generation_match=0) as file:
        for begin in range(0, len(BIG), 1_000_000):
            file.write(BIG[begin : begin + 1_000_000])
    assert bucket.blob("a").download_as_bytes() == BIG
    assert bucket.blob("a").download_as_bytes(start=5, end=9) == BIG[5:10]


@pytest.mark.parametrize("name", ["a b.csv", "é日本.csv", "#?%+&=;.csv", "100%2F.csv", "\"q'`$(x).csv", "tab\t.csv"])
@pytest.mark.parametrize("content", [b"small", BIG], ids=["one request", "resumable"])
def test_any_name_is_kept(bucket: Bucket, name: str, content: bytes) -> None:
    """Names with blanks, URL and shell characters, and Unicode are stored, listed, copied and read unchanged."""
    blob = upload(bucket, f"in/{name}", content)
    assert [found.name for found in bucket.list_blobs(prefix=f"in/{name}")] == [f"in/{name}"]
    assert bucket.copy_blob(blob, bucket, f"copy/{name}").download_as_bytes() == content
    blob.delete()
    assert not bucket.blob(f"in/{name}").exists()


@pytest.mark.parametrize("name", ["a//b", "../outside", "a/../b", "a/./b", "/a", "held/below", "folder", "a" * 250])
@pytest.mark.parametrize("content", [b"small", BIG], ids=["one request", "resumable"])
def test_name_that_cannot_be_a_path_is_refused(bucket: Bucket, name: str, content: bytes) -> None:
    """A name that fake-gcs-server would merge with another object or write outside its folder is refused."""
    upload(bucket, "held", b"")
    upload(bucket, "folder/inside", b"")
    with pytest.raises(BadRequest, match="keeps objects as files"):
        upload(bucket, name, content)
    with pytest.raises(NotFound):
        bucket.blob(name).download_as_bytes()


def test_big_upload_is_never_held_in_memory(bucket: Bucket, stack: Stack) -> None:
    """Neither the shim nor the server grows with the object, and no upload is left in the spool."""
    servers = {server.name: psutil.Process(server.pid) for server in status(stack.home)}
    before = {name: process.memory_info().rss for name, process in servers.items()}
    with bucket.blob("a", chunk_size=8 << 20).open("wb") as file:
        for _ in range(12):
            file.write(BIG)
    for name in ("gcs", "fake-gcs-server"):
        assert servers[name].memory_info().rss - before[name] < len(BIG) * 4
    assert list(Home(stack.home).gcs_spool.iterdir()) == []


def test_upload_started_as_gcloud_does(bucket: Bucket, stack: Stack) -> None:
    """`gcloud storage` and `gsutil` can start resumable uploads at their own address."""
    location = start_upload(stack, bucket, "a", {}, path="/resumable/upload/storage/v1/b")

    status_code, _, _ = put(location, b"content", "bytes 0-6/7")

    assert status_code == 200
    assert bucket.blob("a").download_as_bytes() == b"content"


def test_delete_is_answered_without_content(bucket: Bucket, stack: Stack) -> None:
    """A delete is answered with 204, because `gcloud storage rm` reads a body after a 200."""
    upload(bucket, "a", b"content")
    connection = http.client.HTTPConnection(urlsplit(stack.endpoints.gcs_url).netloc, timeout=20)

    connection.request("DELETE", f"/storage/v1/b/{bucket.name}/o/a")
    response = connection.getresponse()

    assert (response.status, response.read()) == (204, b"")
    assert bucket.get_blob("a") is None
    connection.close()


def start_upload(
    stack: Stack, bucket: Bucket, name: str, metadata: dict[str, str], *, path: str = "/upload/storage/v1/b"
) -> str:
    """Start a resumable upload by hand and return its location."""
    connection = http.client.HTTPConnection(urlsplit(stack.endpoints.gcs_url).netloc, timeout=20)
    target = f"{path}/{bucket.name}/o?uploadType=resumable&name={name}"
    connection.request("POST", target, json.dumps(metadata))
    response = connection.getresponse()
    connection.close()
    return response.headers["Location"]


def put(location: str, content: bytes, content_range: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a chunk or a status query to a resumable upload."""
    connection = http.client.HTTPConnection(urlsplit(location).netloc, timeout=20)
    connection.request("PUT", location, content, {"Content-Range": content_range})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, response.headers, answer


def test_missing_bucket_is_not_a_missing_object(bucket: Bucket) -> None:
    """A 404 says whether the object is missing, or its bucket."""
    with pytest.raises(NotFound) as caught:
        bucket.blob("missing").reload()
    assert "bucket does not exist" not in caught.value.message
    bucket.delete()
    with pytest.raises(NotFound, match="The specified bucket does not exist"):
        bucket.blob("missing").reload()
