"""Text in other encodings is read as the same text, and a byte without meaning costs its row."""

import codecs
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.rows.reader.encodings import in_utf8
from txn_assets_tests.unit.csv_files import LINE, ROW, form, lines, refusal
from txn_assets_tests.unit.rows import read_all

CODECS = {"windows-1252": "cp1252", "iso-8859-1": "latin-1", "iso-8859-15": "iso8859-15", "utf-16": "utf-16-le"}
SIZES = st.integers(1, 200)


def as_utf8(data: bytes, encoding: str, size: int = 10) -> bytes:
    """Return all of `data` in UTF-8, read in pieces of about `size` bytes."""
    stream = in_utf8(io.BytesIO(data), encoding)
    return b"".join(iter(lambda: stream.read(size), b""))


@given(st.sampled_from(["windows-1252", "iso-8859-1", "iso-8859-15"]), st.binary(max_size=300), SIZES)
def test_single_bytes(encoding: str, data: bytes, size: int) -> None:
    """Every byte becomes the character that Python's codec has for it; one without a character stays."""
    found = as_utf8(data, encoding, size)
    assert found.decode(errors="surrogateescape") == data.decode(CODECS[encoding], "surrogateescape")


@given(st.text(max_size=200), SIZES, st.sampled_from(["utf-16-le", "utf-16-be"]), st.booleans())
def test_utf16(text: str, size: int, codec: str, has_mark: bool) -> None:
    """UTF-16 is read in either byte order, with a byte order mark or without one, wherever the reads cut it."""
    text = "transaction_id,product,price,quantity,date\n" + text
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}[codec] if has_mark else b""
    assert as_utf8(mark + text.encode(codec), "utf-16", size).decode().removeprefix("\ufeff") == text


@pytest.mark.parametrize(("encoding", "byte"), [("windows-1252", b"\x81"), ("utf-16", b"\x00\xd8")])
@pytest.mark.parametrize("block_bytes", [1 << 20, 60])
def test_undefined_bytes_cost_their_row(encoding: str, byte: bytes, block_bytes: int) -> None:
    """Bytes that the encoding does not define are not UTF-8 in the row that they are in, and only there."""
    codec = CODECS[encoding]
    data = lines(LINE, "T1,x?y,1,1,2020-01-01", LINE).decode().encode(codec).replace("?".encode(codec), byte)
    records = read_all(data, form(encoding=encoding), block_bytes=block_bytes).records
    with pytest.raises(UnicodeDecodeError):
        records[1][1].decode()  # type: ignore[union-attr]
    assert [tuple(map(bytes.decode, record)) for record in (records[0], records[2])] == [ROW, ROW]  # type: ignore[arg-type]


def test_half_a_character_at_the_end() -> None:
    """A UTF-16 file that ends inside a character has a last row that is not text."""
    data = lines(LINE).decode().rstrip().encode("utf-16")[:-1]
    (record,) = read_all(data, form(encoding="utf-16")).records
    assert record[-1] == b"2023-10-0\xff"
    # The half may be all that the last read returns.
    assert as_utf8(("x" * 32).encode("utf-16-le") + b"y", "utf-16", size=64) == b"x" * 32 + b"\xff"


@pytest.mark.parametrize("encoding", CODECS)
def test_file_is_read(encoding: str) -> None:
    """A whole file is read as if it had been sent in UTF-8."""
    data = lines("T001,Käse,999.99,2,2023-10-01").decode()
    (row,) = read_all(data.encode(CODECS[encoding]), form(encoding=encoding)).texts
    assert row[1] == "Käse"


def test_marks_are_skipped_in_utf8_with_and_without_sig() -> None:
    """Byte order marks are skipped in `utf-8` too, so `utf-8-sig` is another name for it."""
    for encoding, data in itertools.product(["utf-8", "utf-8-sig"], [lines(LINE), b"\xef\xbb\xbf" + lines(LINE)]):
        assert read_all(data, form(encoding=encoding)).texts == [ROW]


def test_text_in_another_encoding_is_not_utf16() -> None:
    """A file that is not UTF-16 is refused if the configuration says that it is."""
    assert refusal(lines(LINE), form(encoding="utf-16")) == "it is not UTF-16 text, as format.encoding says"


def test_header_in_another_encoding() -> None:
    """A header that is not text in the configured encoding is refused with its name."""
    message = refusal(lines(LINE).replace(b"date", b"date,\x81"), form(encoding="windows-1252"))
    assert message == "its first line is not windows-1252 text, as format.encoding says"
