"""Receiving files: what lands, under which name, and what is refused with which answer."""

import base64
import gzip
import hashlib
import io
import zipfile
from typing import Any

import pytest
import requests

from txn_assets_tests.deployment import make_file, make_row
from txn_assets_tests.upload.server import Service

FILE = make_file(make_row(), make_row(transaction_id="T002"))


def digest_of(content: bytes, algorithm: str = "sha-256") -> str:
    value = hashlib.new(algorithm.replace("-", ""), content).digest()
    return f"{algorithm}=:{base64.b64encode(value).decode()}:"


def is_problem(response: requests.Response, status: int, *words: str) -> None:
    """Check that `response` is a problem with this status whose sentence has these words, and no value of a row."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status), problem
    assert [word for word in words if word not in problem["detail"]] == [], problem["detail"]
    assert "T001" not in response.text


def test_form_lands_whole(service: Service) -> None:
    """A file in a form lands under its name, byte for byte, and the answer says where to look."""
    response = service.upload(FILE, "form.csv")
    assert response.status_code == 202, response.text
    generation = response.headers["Location"].removeprefix("/uploads/anonymous/form.csv@")
    assert generation.isdecimal()
    assert service.landed("anonymous/form.csv") == FILE


def test_body_lands_whole(service: Service) -> None:
    """A body that is the file itself lands under the name in the query."""
    response = service.post(
        "/ingest?name=plain.csv", data=FILE, headers={"Content-Type": "text/csv", "Prefer": "wait=0"}
    )
    assert response.status_code == 202, response.text
    assert service.landed("anonymous/plain.csv") == FILE


@pytest.mark.parametrize(
    ("sent", "landed"),
    [
        ("C:\\Users\\me\\orders.csv", "orders.csv"),
        ("../../quarantine/orders.csv", "orders.csv"),
        ("/etc/orders.csv", "orders.csv"),
        ("..orders..csv", "orders.csv"),
        ("\u202ecsv.orders.csv", "csv.orders.csv"),
        ("o\u0308rders 1.csv", "\u00f6rders 1.csv"),
        ("a?b*[c].csv", "a_b__c_.csv"),
        ("__tmp.csv", "tmp.csv"),
    ],
)
def test_name_is_one_segment(service: Service, sent: str, landed: str) -> None:
    """Whatever a client calls its file, it lands directly in the folder of its subject."""
    response = service.post(
        "/ingest", params={"name": sent}, data=FILE, headers={"Content-Type": "text/csv", "Prefer": "wait=0"}
    )
    assert response.status_code == 202, response.text
    assert service.landed(f"anonymous/{landed}") == FILE


@pytest.mark.parametrize("name", ["", "orders", "orders.xlsx", ".csv", "...", f"{'x' * 300}.csv"])
def test_name_is_refused(service: Service, name: str) -> None:
    """A name that no load would accept is refused."""
    response = service.post("/ingest", params={"name": name}, data=FILE, headers={"Content-Type": "text/csv"})
    is_problem(response, 422, "name")


@pytest.mark.parametrize(
    ("content", "name", "status", "words"),
    [
        (b"", "empty.csv", 422, ["empty"]),
        (b"transaction_id,product,price,quantity\nT001,x,1,1\n", "short.csv", 422, ["lacks the column date"]),
        (b"T001,Laptop,999.99,2,2023-10-01\n", "bare.csv", 422, ["looks like data"]),
        (b"%PDF-1.7 T001", "report.csv", 415, ["a PDF"]),
        (FILE.decode().encode("utf-16"), "utf16.csv", 415, ["UTF-16"]),
        (FILE.replace(b",", b";"), "semicolons.csv", 422, ["delimiter: ';'"]),
        (gzip.compress(FILE, mtime=0)[:-9], "cut.csv.gz", 422, ["gzip data is damaged"]),
    ],
)
def test_other_file_is_refused(service: Service, content: bytes, name: str, status: int, words: list[str]) -> None:
    """A file that is not one of the feed is refused with the sentence of a load, and does not land."""
    response = service.upload(content, name)
    is_problem(response, status, *words)
    assert service.landed(f"anonymous/{name}") is None


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("orders.csv", content)
    return archive.getvalue()


def test_compressed_file_lands_as_it_is(service: Service) -> None:
    """A compressed file is checked inside, and lands compressed."""
    rows = make_file(*(make_row(transaction_id=f"T{n:06}", price=f"{n % 977}.{n % 83:02}") for n in range(40_000)))
    for name, content in (("big.csv.gz", gzip.compress(rows)), ("big.zip", zipped(rows)), ("small.zip", zipped(FILE))):
        response = service.upload(content, name)
        assert response.status_code == 202, response.text
        assert service.landed(f"anonymous/{name}") == content


def test_digests_are_checked(service: Service) -> None:
    """A file whose digest is not the announced one does not land; one whose digest is does."""
    right, wrong = digest_of(FILE), digest_of(FILE + b"x")
    is_problem(service.upload(FILE, "digest.csv", headers={"Repr-Digest": wrong}), 400, "sha-256", "Repr-Digest")
    is_problem(
        service.post(
            "/ingest?name=digest.csv", data=FILE, headers={"Content-Type": "text/csv", "Content-Digest": wrong}
        ),
        400,
        "Content-Digest",
    )
    assert service.landed("anonymous/digest.csv") is None
    headers = {"Repr-Digest": f"{right}, {digest_of(FILE, 'sha-512')}"}
    assert service.upload(FILE, "digest.csv", headers=headers).status_code == 202
    assert service.landed("anonymous/digest.csv") == FILE


@pytest.mark.parametrize("header", ["md5=:AAAA:", "sha-256=AAAA", "sha-256=:A:", ""])
def test_digest_that_cannot_be_checked_is_refused(service: Service, header: str) -> None:
    """A client that sends a digest learns if nobody checks it."""
    is_problem(service.upload(FILE, headers={"Repr-Digest": header}), 400, "Repr-Digest")


def form(*parts: tuple[str, bytes], end: bytes = b"--X--\r\n") -> dict[str, Any]:
    """Return the arguments of a request with a form of these parts: the disposition of each, and its content."""
    body = b"".join(
        b"--X\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (disposition.encode(), content)
        for disposition, content in parts
    )
    return {"data": body + end, "headers": {"Content-Type": "multipart/form-data; boundary=X", "Prefer": "wait=0"}}


@pytest.mark.parametrize(
    ("parts", "end", "words"),
    [
        ([('name="file"; filename="a.csv"', FILE)], b"", ["not complete"]),
        ([('name="file"; filename="a.csv"', FILE)] * 2, b"--X--", ["more than one file"]),
        ([('name="data"; filename="a.csv"', FILE)], b"--X--", ["call the part 'file'"]),
        ([('name="note"', b"T001")], b"--X--", ["has no file"]),
        ([], b"T001 is no form", ["is not a form"]),
    ],
)
def test_form_is_refused(service: Service, parts: list[tuple[str, bytes]], end: bytes, words: list[str]) -> None:
    """A form that has not exactly one complete file is refused, and nothing lands."""
    before = service.objects()
    is_problem(service.post("/ingest", **form(*parts, end=end)), 400, *words)
    assert service.objects() == before


def test_other_fields_are_ignored(service: Service) -> None:
    """Fields beside the file do no harm."""
    response = service.post("/ingest", **form(('name="note"', b"x" * 999), ('name="file"; filename="f.csv"', FILE)))
    assert response.status_code == 202, response.text
    assert service.landed("anonymous/f.csv") == FILE


def test_unknown_feed_and_type_are_refused(service: Service) -> None:
    """A feed that is not configured and a body of another type are refused."""
    is_problem(
        service.post("/ingest?feed=nope&name=a.csv", data=FILE, headers={"Content-Type": "text/csv"}), 422, "feed"
    )
    response = service.post("/ingest?name=a.csv", data=FILE, headers={"Content-Type": "application/json"})
    is_problem(response, 415, "text/csv")
    response = service.post(
        "/ingest?name=a.csv", data=FILE, headers={"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    )
    is_problem(response, 415, "Content-Encoding")


def test_other_errors_are_problems_too(service: Service) -> None:
    """Unknown paths and methods are answered in the same form."""
    is_problem(service.get("/nothing"), 404)
    is_problem(service.get("/ingest"), 405)
