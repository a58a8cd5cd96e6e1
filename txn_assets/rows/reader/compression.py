"""Unpack compressed files while they are read: gzip, ZIP with one file in it, Zstandard.

The first bytes of a file say how it is compressed, whatever its name is. Python's own modules need to seek in a ZIP
archive, which a download cannot, so its one file is read here.
"""

import gzip
import io
import struct
import zlib
from contextlib import suppress
from typing import Protocol

import pyarrow as pa

from txn_assets.rows.reader.header import COMPRESSED, OtherFormatError, UnreadableFileError
from txn_assets.rows.reader.limits import DEFAULT_LIMITS, FREE_BYTES, FileLimits, shown_bytes

HEAD_BYTES = 1 << 18
"""Number of bytes to read from a file to estimate its unpacked size."""

MAX_EXPANSION = 1032
"""Maximum expansion of a gzip or ZIP file: https://zlib.net/zlib_tech.html"""

MAX_ZSTD_EXPANSION = 1 << 15
"""Maximum expansion of a Zstandard file: a block of 128 KiB may take 4 bytes (RFC 8878, 3.1.1.2)."""

_MAX_UNPACKED_HEAD = 16 << 20
_MAX_TRAILER = 1 << 20
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, struct.error)

_LOCAL, _CENTRAL, _END, _DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x07\x08"
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_CENTRAL_HEADER = struct.Struct("<4s6H3I5H2I")
_END_HEADER = struct.Struct("<4s4H2IH")
_ENCRYPTED, _HAS_DESCRIPTOR = 1, 8
_STORED, _DEFLATED = 0, 8
_WORKBOOK = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/", b"mimetype")
"""How the names in the archive of a workbook begin."""


class Readable(Protocol):
    """A stream as far as a file is read from it; a download has no more."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""


class Unpacked:
    """The unpacked contents of a stream that needs only a `read` method.

    Attributes:
        compression: the name of the compression, or "".

    Raises:
        UnreadableFileError: on creation and from `read`: the data is damaged, an archive is not one plain file, or the
            file is larger than `limits` allow.
    """

    def __init__(self, stream: Readable, limits: FileLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._size = 0
        self._packed = _Counted(stream, limits)
        start = read_full(self._packed, max(map(len, COMPRESSED)))
        source = Prefixed(start, self._packed)
        self.compression = next((name for magic, name in COMPRESSED.items() if start.startswith(magic)), "")
        self._stream: Readable = source
        if self.compression == "gzip":
            self._stream = gzip.GzipFile(fileobj=source)  # type: ignore[call-overload]  # `read` is enough
        elif self.compression == "ZIP":
            self._stream = _ZipMember(source)
        elif self.compression == "Zstandard":
            self._stream = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd")

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes, or fewer at the end."""
        data = self._unpacked(size)
        self._size += len(data)
        if self._size > self._limits.expanded_bytes:
            does = "unpacks to" if self.compression else "has"
            message = (
                f"it {does} more than {shown_bytes(self._limits.expanded_bytes)}, what limits.expanded_bytes and the "
                "scratch space (TXN_SCRATCH_LIMIT) allow: send it in parts, or raise the limit"
            )
            raise UnreadableFileError(message)
        if self._size > max(FREE_BYTES, self._limits.expansion_ratio * self._packed.size) and self.compression:
            message = (
                f"its {self.compression} data unpacks to more than {self._limits.expansion_ratio} times its size, the "
                "limit of limits.expansion_ratio: send it without compression, or raise the limit"
            )
            raise UnreadableFileError(message)
        return data

    def _unpacked(self, size: int) -> bytes:
        try:
            return read_full(self._stream, size)
        except OSError as error:
            # Arrow raises OSError itself for bad data. Errors of the stream have their own class or number.
            is_damage = isinstance(error, _DAMAGED) or (type(error) is OSError and error.errno is None)
            if not self.compression or not is_damage:
                raise
            raise self._damaged() from error
        except _DAMAGED as error:
            raise self._damaged() from error

    def _damaged(self) -> UnreadableFileError:
        return UnreadableFileError(f"its {self.compression} data is damaged or incomplete: send the file again")


def unpacked_size(size: int, head: bytes) -> int:
    """Estimate the unpacked size of a landed file of `size` bytes from `head`, its first bytes.

    For an uncompressed or damaged file, return `size`.
    """
    packed = io.BytesIO(head)
    unpacked, read = 0, 1
    # The head usually ends inside the data.
    with suppress(UnreadableFileError):
        # Read little at a time, so that the position in `packed` belongs to what was unpacked.
        contents = Unpacked(_Trickle(packed))
        while contents.compression and unpacked < _MAX_UNPACKED_HEAD and (data := contents.read(1 << 12)):
            unpacked += len(data)
            read = packed.tell()
    return max(size, size * unpacked // read)


def too_large(limits: FileLimits) -> str:
    """Return why a file with more than `limits.file_bytes` is refused, as the end of a sentence."""
    return (
        f"it has more than {shown_bytes(limits.file_bytes)}, the limit of limits.file_bytes: "
        "send it in parts, or raise the limit"
    )


def max_expansion(name: str) -> int:
    """Return how much larger than itself the file `name` may become when it is unpacked."""
    return MAX_ZSTD_EXPANSION if name.lower().endswith(".zst") else MAX_EXPANSION


class _ZipMember:
    """The contents of the only file in a ZIP archive (APPNOTE.TXT 6.3.10, 4.3)."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        start = read_full(source, _LOCAL_HEADER.size)
        if len(start) < _LOCAL_HEADER.size:
            raise OtherFormatError("it is a ZIP archive or an Excel workbook: send a CSV file in UTF-8")
        _, _, flags, method, _, _, self._crc, packed, unpacked, name_size, extra_size = _LOCAL_HEADER.unpack(start)
        name = read_full(source, name_size)
        extra = read_full(source, extra_size)
        if name.startswith(_WORKBOOK):
            raise OtherFormatError("it is an Excel workbook: send a CSV file in UTF-8")
        if flags & _ENCRYPTED:
            raise UnreadableFileError("it is an encrypted ZIP archive: send it without a password")
        if name.endswith(b"/"):
            raise UnreadableFileError("it is a ZIP archive with a folder in it: send one CSV file, without a folder")
        self._has_descriptor = bool(flags & _HAS_DESCRIPTOR)
        if method not in (_STORED, _DEFLATED) or (method == _STORED and self._has_descriptor):
            raise UnreadableFileError("it is a ZIP archive that is not compressed with Deflate: use Deflate, or gzip")
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if method == _DEFLATED else None
        self._left = _size_of_stored(packed, unpacked, extra)
        self._packed = self._rest = b""
        self._found_crc = 0
        self._is_done = False

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        if self._is_done:
            return b""
        data = self._inflated(size) if self._inflater else self._stored(size)
        self._found_crc = zlib.crc32(data, self._found_crc)
        if not data:
            self._check_end()
        return data

    def _stored(self, size: int) -> bytes:
        data = read_full(self._source, min(size, self._left))
        self._left -= len(data)
        return data

    def _inflated(self, size: int) -> bytes:
        assert self._inflater
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._source.read(1 << 16)
            data = self._inflater.decompress(packed, size)
            if data or not packed:
                return data
        return b""

    def _check_end(self) -> None:
        """Check what comes after the file: its checksum, and a directory that lists nothing else."""
        self._is_done = True
        rest = (self._inflater.unused_data if self._inflater else b"") + read_full(self._source, _MAX_TRAILER)
        if self._has_descriptor:
            rest = rest.removeprefix(_DESCRIPTOR)
            (self._crc,) = struct.unpack_from("<I", rest)
            # The sizes behind the checksum have 4 bytes each, or 8 in a large archive.
            rest = rest[12:] if rest[12:14] == _CENTRAL[:2] else rest[20:]
        if rest.startswith(_CENTRAL):
            sizes = _CENTRAL_HEADER.unpack_from(rest)[10:13]
            rest = rest[_CENTRAL_HEADER.size + sum(sizes) :]
            if not rest.startswith(_CENTRAL) and self._crc == self._found_crc and _is_end(rest):
                return
        if rest.startswith((_LOCAL, _CENTRAL)):
            raise UnreadableFileError("it is a ZIP archive with more than one file in it: send one file per archive")
        raise EOFError


def _is_end(rest: bytes) -> bool:
    """Return whether an archive ends with `rest`, what follows its directory: the end record and a comment."""
    start = max(rest.find(_END), 0)
    *_, comment_size = _END_HEADER.unpack_from(rest, start)
    return rest.startswith(_END, start) and len(rest) == start + _END_HEADER.size + comment_size


def _size_of_stored(packed: int, unpacked: int, extra: bytes) -> int:
    """Return the size of a stored file, which is in the extra fields if it does not fit into four bytes."""
    while packed == unpacked == 0xFFFFFFFF and len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        if kind == 1:
            return int(struct.unpack_from("<Q", extra, 4)[0])
        extra = extra[4 + size :]
    return packed


def read_full(stream: Readable, size: int) -> bytes:
    """Return `size` bytes, or fewer at the end of the stream. Loop, because a raw stream may return fewer per read."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class Prefixed:
    """A stream that first returns the bytes that were already read from it."""

    closed = False
    """Arrow asks for it."""

    def __init__(self, prefix: bytes, stream: Readable) -> None:
        self._prefix = prefix
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        if self._prefix:
            size = len(self._prefix) if size < 0 else size
            prefix, self._prefix = self._prefix[:size], self._prefix[size:]
            return prefix
        return self._stream.read(size)

    def close(self) -> None:
        """Leave the stream to its owner; Arrow calls this."""


class _Counted:
    """A stream that counts its bytes, in `size`, and refuses too many."""

    closed = False

    def __init__(self, stream: Readable, limits: FileLimits) -> None:
        self._stream = stream
        self._limits = limits
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.size += len(data)
        if self.size > self._limits.file_bytes:
            raise UnreadableFileError(too_large(self._limits))
        return data


class _Trickle:
    """A stream that returns few bytes at a time."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        return self._stream.read(min(size, 1 << 7) if size >= 0 else 1 << 7)
