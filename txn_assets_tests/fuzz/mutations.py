"""Damage files byte by byte, and compress them: the mutator of the fuzzer."""

import gzip
import io
import random
import struct
import zipfile
from collections.abc import Callable, Sequence

import pyarrow as pa

MAX_BYTES = 1 << 18
"""Maximum size of a mutated file before it is compressed."""

_SIZES = (1 << 11, 1 << 13, 1 << 13, 1 << 15, MAX_BYTES)
"""Sizes to which a file is cut. Small ones try more, large ones have several blocks."""

TOKENS: Sequence[bytes] = (
    b'"', b'""', b'"""', b",", b";", b"\t", b"|", b"'", b"\n", b"\r", b"\r\n", b"\n\r", b"\0", b" ", b"\x0b", b"\x1a",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80",
    b"\x00\xd8", b"\xdc\x00", b"\xe2\x80\xae", b"\xe2\x80\x8b", b"\xe2\x80\xa8", b"\xc2\x85", b"\xc2\xa0",
    b"\xd0\x90", b"\xef\xbc\x9d1+1", b"=1+1", b"+1", b"-1", b"@SUM(A1)", b"=cmd|' /C calc'!A0", b"'=1", b"#N/A",
    b"1e999", b"NaN", b"Infinity", b"-0", b"0x1p3", b"1_000", b"\xd9\xa1\xd9\xa2", b"9" * 40, b"0." + b"0" * 40 + b"1",
    b"99999999999999.9999", b"2024-02-30", b"0000-00-00", b"9999-12-31", b"2024-W01-1", b"20240101", b"1970-01-01",
    b"'; DROP TABLE t; --", b"$(id)", b"%s%n", b"${jndi:x}", b"../../etc/passwd", b"sep=;\n", b"# ", b"NULL", b"\\N",
    b"\x1f\x8b\x08", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x28\xb5\x2f\xfd", b"PAR1", b"%PDF",
    b"transaction_id", b"price,price",
)  # fmt: skip
"""What a hostile or broken sender writes."""

type _Mutation = Callable[[bytes, random.Random], bytes]


def _place(data: bytes, draw: random.Random) -> int:
    return draw.randrange(len(data) + 1)


def _flip(data: bytes, draw: random.Random) -> bytes:
    at = _place(data, draw)
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :] if at < len(data) else data


def _insert(data: bytes, draw: random.Random) -> bytes:
    at = _place(data, draw)
    return data[:at] + draw.choice(TOKENS) * draw.choice((1, 1, 1, 2, 9, 1000)) + data[at:]


def _replace(data: bytes, draw: random.Random) -> bytes:
    at, token = _place(data, draw), draw.choice(TOKENS)
    return data[:at] + token + data[at + len(token) :]


def _delete(data: bytes, draw: random.Random) -> bytes:
    start, end = sorted((_place(data, draw), _place(data, draw)))
    end = draw.choice((end, min(start + 1, end)))
    return data[:start] + data[end:]


def _repeat(data: bytes, draw: random.Random) -> bytes:
    start, end = sorted((_place(data, draw), _place(data, draw)))
    times = draw.choice((2, 2, 3, 50, 1000, 20_000))
    return data[:start] + data[start:end] * min(times, MAX_BYTES // max(end - start, 1)) + data[end:]


def _repeat_line(data: bytes, draw: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    at = draw.randrange(len(lines))
    lines[at] *= min(draw.choice((0, 2, 100, 5000)), MAX_BYTES // max(len(lines[at]), 1))
    return b"".join(lines)


def _move_line(data: bytes, draw: random.Random) -> bytes:
    lines = data.splitlines(keepends=True) or [b""]
    lines.insert(draw.randrange(len(lines)), lines.pop(draw.randrange(len(lines))))
    return b"".join(lines)


def _exchange(data: bytes, draw: random.Random) -> bytes:
    old, new = draw.choice(TOKENS[:12]), draw.choice(TOKENS)
    return data.replace(old, new, draw.choice((1, -1)))


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: _place(data, draw)]


def _noise(data: bytes, draw: random.Random) -> bytes:
    at = _place(data, draw)
    return data[:at] + draw.randbytes(draw.choice((1, 4, 64, 4096))) + data[at:]


_MUTATIONS: Sequence[_Mutation] = (
    _flip, _insert, _insert, _insert, _replace, _replace, _delete, _repeat, _repeat_line, _move_line, _exchange, _cut,
    _noise,
)  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """Return `data` after a few mutations; now and then the end is that of one of the `others`."""
    for _ in range(draw.choice((0, 1, 1, 2, 3, 5, 8))):
        data = draw.choice(_MUTATIONS)(data, draw)[:MAX_BYTES]
    if others and draw.random() < 0.1:
        other = draw.choice(others)
        data = data[: _place(data, draw)] + other[_place(other, draw) :]
    return data[: draw.choice(_SIZES)]


def _zip(data: bytes, draw: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))
    ) as one:
        names = draw.choice((["a.csv"], ["a.csv"], ["a.csv"], ["../../a.csv"], ["/etc/a"], ["a.csv", "b.csv"], ["a/"]))
        for name in names:
            one.writestr(name, b"" if name.endswith("/") else data)
    return buffer.getvalue()


def _gzip(data: bytes, draw: random.Random) -> bytes:
    at = _place(data, draw)
    members = draw.choice(([data], [data], [data[:at], data[at:]], [b""] * 50 + [data], [gzip.compress(data)]))
    return b"".join(gzip.compress(member, draw.choice((1, 9))) for member in members)


def _zstd(data: bytes, draw: random.Random) -> bytes:
    def frame(part: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(part)
        return bytes(sink.getvalue())

    skipped = struct.pack("<II", 0x184D2A50, 4) + b"skip"
    at = _place(data, draw)
    frames = draw.choice(([frame(data)], [frame(data)], [frame(data[:at]), frame(data[at:])], [frame(data), skipped]))
    return b"".join(frames)


_COMPRESSIONS: Sequence[Callable[[bytes, random.Random], bytes]] = (_zip, _gzip, _zstd)


def compressed(data: bytes, draw: random.Random) -> bytes:
    """Return `data` as it is, or compressed, and then perhaps damaged."""
    if draw.random() < 0.6:
        return data
    data = draw.choice(_COMPRESSIONS)(data, draw)
    return mutated(data, (), draw) if draw.random() < 0.5 else data
