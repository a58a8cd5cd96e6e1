"""Turn text in another encoding into UTF-8 while it is read.

Bytes that the encoding does not define become bytes that are not UTF-8 either, so that they cost the row that they are
in and not the file.
"""

import codecs
from collections.abc import Callable

from txn_assets.rows.reader.compression import Readable
from txn_assets.rows.reader.header import UnreadableFileError, is_utf16

_CODECS = {"windows-1252": "cp1252", "iso-8859-1": "latin-1", "iso-8859-15": "iso8859-15"}
_UTF16_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_START_BYTES = 64
_NOT_UTF8 = b"\xff"


def in_utf8(stream: Readable, encoding: str) -> Readable:
    """Return `stream`, which is text in `encoding`, as a stream of UTF-8. A read may return more than its size."""
    if encoding.startswith("utf-8"):
        return stream
    return _Utf16(stream) if encoding == "utf-16" else _SingleBytes(stream, _CODECS[encoding])


def out_of_utf8(start: bytes, encoding: str) -> Callable[[bytes], bytes]:
    """Return a function that encodes whole characters of what `in_utf8` returns as they were.

    `start` is the beginning of the text in `encoding`, which may say the order of the bytes.
    """
    if encoding.startswith("utf-8"):
        return lambda text: text
    if encoding == "utf-16":
        codec = _order(start[:_START_BYTES])
        return lambda text: text.decode(errors="surrogatepass").encode(codec, "surrogatepass")
    codec = _CODECS[encoding]
    return lambda text: text.decode(errors="surrogateescape").encode(codec, "surrogateescape")


class _SingleBytes:
    """Text in an encoding of one byte per character."""

    def __init__(self, stream: Readable, codec: str) -> None:
        self._stream = stream
        self._codec = codec

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if data.isascii():
            return data
        # An undefined byte stays as it is. Alone between whole characters, it is not UTF-8.
        return data.decode(self._codec, "surrogateescape").encode(errors="surrogateescape")


class _Utf16:
    """Text in UTF-16, with a byte order mark or without one.

    Raises:
        UnreadableFileError: neither a mark nor the NULs of Latin letters give the order of the bytes.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._decoder: codecs.IncrementalDecoder | None = None

    def read(self, size: int = -1, /) -> bytes:
        # A read of one byte may not complete a character.
        while data := self._stream.read(max(size, _START_BYTES)):
            if self._decoder is None:
                self._decoder = codecs.getincrementaldecoder(_order(data[:_START_BYTES]))("surrogatepass")
            if text := self._decoder.decode(data):
                # Half a surrogate pair becomes bytes that are not UTF-8.
                return text.encode(errors="surrogatepass")
        if self._decoder is None:
            return b""
        left, _ = self._decoder.getstate()
        self._decoder = None
        return _NOT_UTF8 if left else b""


def _order(start: bytes) -> str:
    marked = next((codec for mark, codec in _UTF16_MARKS.items() if start.startswith(mark)), None)
    if marked:
        return marked
    if not is_utf16(start):
        raise UnreadableFileError("it is not UTF-16 text, as format.encoding says")
    return "utf-16-be" if start[0::2].count(0) > start[1::2].count(0) else "utf-16-le"
