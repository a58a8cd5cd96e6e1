"""Planted ids are found in every form, wherever they are in the bytes."""

import base64
import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_from_bytes

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets_tests.leaks import search as module
from txn_assets_tests.leaks.plants import Plants
from txn_assets_tests.leaks.search import Search

MARK = "Zk0123abcd"
ID = f"{MARK}000042"

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "URL-encoded": lambda data: "".join(f"%{byte:02X}" for byte in data).encode(),
    "base64": base64.b64encode,
    "base64 for URLs": base64.urlsafe_b64encode,
    "hex": lambda data: data.hex().encode(),
    "hex in capitals": lambda data: data.hex().upper().encode(),
    "UTF-16": lambda data: data.decode("latin-1").encode("utf-16-le"),
    "UTF-16 the other way": lambda data: data.decode("latin-1").encode("utf-16-be"),
}


@pytest.mark.parametrize("form", FORMS)
@given(before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_found_in_every_form(form: str, before: bytes, after: bytes) -> None:
    """An id between any other bytes is found, however they are encoded together."""
    search = Search(MARK)
    search.add("here", FORMS[form](before + ID.encode() + after))
    assert search.hits


@given(noise=st.binary(max_size=200))
def test_nothing_else_is_found(noise: bytes) -> None:
    """Other bytes, and ids of another run, are no hits."""
    search = Search(MARK)
    search.add("here", noise + b"Zk0123abce000042")
    assert not search.hits


def test_quoted_in_a_url() -> None:
    """An id that a URL carries as it is counts as plain."""
    search = Search(MARK)
    search.add("here", quote_from_bytes(f"a b/{ID}?".encode()).encode())
    assert [hit.form for hit in search.hits] == ["plain"]


def test_hit_says_what_was_planted() -> None:
    """A hit leads back to the file and the kind of row."""
    plants = Plants(MARK)
    planted = [plants.id(label) for label in ("a.csv: valid row", "a.csv: no price")]
    search = Search(MARK)
    search.add("log", f"... {planted[1]} ...".encode())
    (hit,) = search.hits
    assert plants.label(hit.found) == "a.csv: no price"


def test_hit_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read in blocks, and an id on the border of two is found."""
    monkeypatch.setattr(module, "BLOCK_BYTES", 64)
    for place in range(40, 70):
        path = tmp_path / "log"
        path.write_bytes(b"x" * place + ID.encode() + b"x" * 100)
        search = Search(MARK)
        search.add_file("log", path)
        assert search.hits, place
        assert search.bytes == path.stat().st_size


def zipped(data: bytes) -> bytes:
    """Return a ZIP archive with one member."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.csv", data)
    return archive.getvalue()


def parquet(data: bytes) -> bytes:
    """Return a compressed Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": [data.decode()] * 100}), sink, compression="zstd", use_dictionary=False)
    return sink.getvalue()


def zstandard(data: bytes) -> bytes:
    """Return a zstd stream."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("pack", [gzip.compress, zipped, parquet, zstandard])
def test_found_in_compressed_files(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """What is compressed is searched too."""
    path = tmp_path / "file"
    path.write_bytes(pack(f"{ID}, {ID}, {ID[::-1]}".encode()))
    search = Search(MARK)
    search.add_file("file", path)
    assert search.hits
