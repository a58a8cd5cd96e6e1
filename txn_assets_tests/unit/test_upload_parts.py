"""The parts of an upload that need no server: names, forms in pieces, digests."""

import base64
import datetime as dt
import hashlib
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.config import load_config
from txn_assets.feeds.configured import find_feed
from txn_assets.files.arrival import left_alone
from txn_assets.files.ledger import FileVersion
from txn_assets.stores.landed_names import name_limit
from txn_assets.upload.digests import Digests, parse_digests
from txn_assets.upload.multipart import FormBody
from txn_assets.upload.names import belongs_to, folder_of, landed_name
from txn_assets.upload.problems import Problem

FEED = find_feed(load_config(), None)
NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
TEXT = st.text(st.characters(), max_size=60) | st.sampled_from(["..", "/", "a/../b", "\u202e", "x\\y", "~", "."])


@given(TEXT, TEXT, st.sampled_from([".csv", ".CSV.GZ", ".zip"]))
def test_names_stay_in_their_folder(subject: str, sent: str, suffix: str) -> None:
    """Any name is refused, or becomes a visible segment in the subject's folder that the sensor loads."""
    try:
        name = landed_name(subject, sent + suffix, FEED, NOW)
    except Problem:
        return
    folder, _, segment = name.partition("/")
    assert folder == folder_of(subject)
    assert folder not in {"", ".", ".."}
    assert "/" not in segment
    assert ".." not in name
    assert not any(unicodedata.category(one).startswith("C") for one in name)
    assert left_alone(FileVersion(name, 1, 1, "")) is None
    assert len(name.encode()) <= name_limit(FEED)
    assert belongs_to(name, subject, FEED)


@given(st.text(max_size=80) | st.from_regex(r"[a-z]{1,3}~[0-9a-f]{4}", fullmatch=True), st.text(max_size=80))
def test_subjects_share_no_folder(one: str, other: str) -> None:
    """Two subjects have two folders, and neither owns the files of the other."""
    assert (folder_of(one) == folder_of(other)) == (one == other)
    if one != other:
        assert not belongs_to(f"{folder_of(one)}/a.csv", other, FEED)


def test_dated_names_begin_with_the_date() -> None:
    """Where names begin with a date, the sensor lists by date, so the folder comes after it."""
    dated = replace(FEED, landing_dates="%Y/%m/%d/")
    name = landed_name("alice", "a.csv", dated, NOW)
    assert name == "2026/11/26/alice/a.csv"
    assert belongs_to(name, "alice", dated)
    assert not belongs_to("2026/11/26/x/alice/a.csv", "alice", dated)
    assert not belongs_to("alice/a.csv", "alice", dated)


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1))
def test_form_in_any_pieces(content: bytes, sizes: list[int]) -> None:
    """The file in a form comes out byte for byte, wherever the pieces are cut."""
    boundary = hashlib.sha256(content).hexdigest().encode()
    disposition = 'Content-Disposition: form-data; name="file"; filename="ö.csv"'.encode()
    body = b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (boundary, disposition, content, boundary)
    form, file, at = FormBody(boundary, None), b"", 0
    while at < len(body):
        for size in sizes:
            file += form.feed(body[at : at + size])
            at += size
    form.end()
    assert (file, form.name) == (content, "ö.csv")
    cut = FormBody(boundary, None)
    cut.feed(body[:-4])
    with pytest.raises(Problem, match="not complete"):
        cut.end()


@given(st.binary(), st.binary(), st.sampled_from(["sha-256", "sha-512"]))
def test_digests(content: bytes, other: bytes, algorithm: str) -> None:
    """A digest passes exactly if it is that of what arrived."""
    value = base64.b64encode(hashlib.new(algorithm.replace("-", ""), other).digest()).decode()
    digests = Digests(parse_digests(f"unixsum=:AAA=:, {algorithm}=:{value}:", "Repr-Digest"), "Repr-Digest")
    digests.update(content)
    if content == other:
        digests.check()
    else:
        with pytest.raises(Problem, match="nothing has landed"):
            digests.check()
