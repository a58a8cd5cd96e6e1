"""Erasure requests, and the rows that they leave out: on paper, without a store."""

import datetime as dt
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from txn_assets.files.erasures import ErasureError, ErasureRequests, from_json
from txn_assets.files.ledger import FileVersion
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows.erasing import rehash
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.processing import hash_file, validate_file
from txn_assets_tests.unit.rows import FIELDS, csv_bytes, make_row
from txn_assets_tests.unit.test_processing import reading

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
PLAIN = Hasher(("transaction_id", "product"), None, "sha256")
KEYED = Hasher(("transaction_id", "product"), b"k" * 32, "2026-11")


def requests_for(*ids: str, hashers: tuple[Hasher, ...] = (PLAIN,), field: str = "transaction_id") -> ErasureRequests:
    """Return a request for each of `ids`, with the hashes that `hashers` make."""
    requests = ErasureRequests(feed="transactions")
    for value in ids:
        digests = {hasher.key_id: hasher.hexdigest(value) for hasher in hashers}
        requests = requests.adding(field, digests, by="me", at=NOW)
    return requests


def test_requests_are_read_back() -> None:
    """JSON keeps everything, and none of it is a value."""
    requests = requests_for("T001", "T002", hashers=(PLAIN, KEYED))
    assert from_json(requests.to_json()) == requests
    assert b"T001" not in requests.to_json()


def test_one_request_per_person() -> None:
    """A second request for a person adds the hash under the new key and opens the first one again."""
    requests = requests_for("T001", "T002")
    both = {hasher.key_id: hasher.hexdigest("T001") for hasher in (KEYED, PLAIN)}

    again = requests.adding("transaction_id", both, by="you", at=NOW)

    assert [request.id for request in again.requests] == ["transactions-1", "transactions-2"]
    assert again.requests[0].digests == both
    assert again.requests[0].requested_by == "me"


def test_withdrawn_requests_keep_their_number() -> None:
    """A request that was withdrawn has no effect, and its number is not given again."""
    requests = requests_for("T001").changing(1, lambda one: replace(one, withdrawn_at=NOW))

    assert (requests.in_force, requests.digests("sha256"), requests.last) == ((), {}, 1)
    again = requests.adding("transaction_id", {"sha256": PLAIN.hexdigest("T001")}, by="me", at=NOW)
    assert [request.id for request in again.in_force] == ["transactions-2"]


def test_no_such_request() -> None:
    """A request that does not exist is named."""
    with pytest.raises(ErasureError, match="no erasure request 'transactions-9'"):
        requests_for("T001").find("transactions-9")


@settings(max_examples=25, deadline=None)
@given(
    ids=st.lists(st.sampled_from(["T1", "T2", "T3", "ü", "'", ' T4"']), max_size=30),
    erased=st.sets(st.sampled_from(["T1", "T3", "ü", "'", 'T4"', "not there"]), max_size=4),
    rejects=st.sets(st.integers(0, 29)),
    hasher=st.sampled_from([PLAIN, KEYED]),
)
def test_rows_of_erased_persons(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], erased: set[str], rejects: set[int], hasher: Hasher
) -> None:
    """The rows of erased persons are in neither file, all others are as before and in order, and the counts add up."""
    rows = [
        make_row(transaction_id=text, quantity=str(place + 1), price="dear" if place in rejects else "1.00")
        for place, text in enumerate(ids)
    ]
    digests = requests_for(*erased, hashers=(hasher,)).digests(hasher.key_id)
    folder = RunFolder(tmp_path_factory.mktemp("rows"))
    data = csv_bytes(rows)

    report = validate_file(BytesIO(data), folder, reading=reading(), hasher=hasher, erased=[(hasher, digests)])
    version = FileVersion("a.csv", 1, 1, "AAAAAA==")
    hash_file(folder.valid, folder.hashed, file=version, names=FIELDS, hasher=hasher, erased=digests)

    expected = [
        (place + 1, hasher.hexdigest(text.strip()))
        for place, text in enumerate(ids)
        if text.strip() not in erased and place not in rejects
    ]
    hashed = pyarrow.parquet.read_table(folder.hashed).to_pylist()
    assert [(row["source_row"], row["transaction_id"]) for row in hashed] == expected
    left = [text.strip() for place, text in enumerate(ids) if place in rejects and text.strip() not in erased]
    quarantine = folder.rejected.read_text()
    assert (report.rejected, report.unaccounted()) == (len(left), None)
    assert report.records - report.rejected - report.erased == report.valid
    for text in {text.strip() for text in ids}:
        assert (hasher.hexdigest(text) in quarantine) is (text in left)


def test_any_pii_field(tmp_path: Path) -> None:
    """A person can be identified by any PII field; a null value is nobody's."""
    rows = [make_row(product="Ann"), make_row(product="Bob"), make_row(transaction_id="", product="Ann")]
    folder = RunFolder(tmp_path)
    rules = {"required_fields": ["price"]}
    validate_file(BytesIO(csv_bytes(rows)), folder, reading=reading(validation=rules), hasher=PLAIN)

    digests = requests_for("Ann", field="product").digests("sha256") | requests_for("x").digests("sha256")
    version = FileVersion("a.csv", 1, 1, "AAAAAA==")
    hash_file(folder.valid, folder.hashed, file=version, names=FIELDS, hasher=PLAIN, erased=digests)

    assert pyarrow.parquet.read_table(folder.hashed)["source_row"].to_pylist() == [2]


def test_hash_under_the_current_key(tmp_path: Path) -> None:
    """A person known by an older hash is found in the rows, and gets the current one; others are not hashed twice."""
    folder = RunFolder(tmp_path)
    data = csv_bytes([make_row(transaction_id=text) for text in ("T001", "T002", "T001")])
    validate_file(BytesIO(data), folder, reading=reading(), hasher=KEYED)
    requests = requests_for("T001", "T009")

    known = rehash(folder.valid, requests.without("2026-11").digests("sha256"), old=PLAIN, new=KEYED)
    extended = requests.extending("2026-11", known, under="sha256")

    assert known == {PLAIN.hexdigest("T001"): KEYED.hexdigest("T001")}
    assert extended.requests[0].digests == {hasher.key_id: hasher.hexdigest("T001") for hasher in (PLAIN, KEYED)}
    assert [request.id for request in extended.without("2026-11").requests] == ["transactions-2"]
