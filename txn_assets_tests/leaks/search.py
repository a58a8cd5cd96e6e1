"""Search bytes for planted ids, in every form in which a program may write them.

All ids of a run share a mark, so one search for the mark finds each of them, and most shortened ones.
"""

import base64
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

BLOCK_BYTES = 1 << 24
SHOWN_BYTES = 24
"""Bytes after the mark to show with a hit; the number of the id is among them."""

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def forms(mark: str) -> Mapping[str, tuple[bytes, ...]]:
    """Return the bytes that each form of `mark` has anywhere in a text."""
    plain = mark.encode()
    found = {
        "plain": (plain, mark.upper().encode(), mark.lower().encode()),
        "URL-encoded": _cases("".join(f"%{byte:02x}" for byte in plain)),
        "hex": _cases(plain.hex()),
        "UTF-16": (mark.encode("utf-16-le"), mark.encode("utf-16-be")),
        "base64": tuple(_base64(plain, shift) for shift in range(3)),
    }
    if quote(mark) != mark:
        found["quoted"] = (quote(mark).encode(),)
    return found


def _cases(text: str) -> tuple[bytes, ...]:
    return text.lower().encode(), text.upper().encode()


def _base64(plain: bytes, shift: int) -> bytes:
    """Return what base64 makes of `plain` after `shift` other bytes, without the characters that depend on these."""
    encoded = base64.b64encode(b"\0" * shift + plain)
    # A character has 6 bits: the first ones hold bits of the bytes before, the last ones of those after.
    begin = -(-8 * shift // 6)
    end = 8 * (shift + len(plain)) // 6
    return encoded[begin:end]


@dataclass(frozen=True, order=True)
class Hit:
    """A planted id that was found.

    Attributes:
        place: a file, a table or an answer.
        form: how it was written.
        found: the id, as far as it is readable.
    """

    place: str
    form: str
    found: str


class Search:
    """Counts the bytes that it searches, and keeps the hits."""

    def __init__(self, mark: str) -> None:
        self._forms = forms(mark)
        self._any = re.compile(b"|".join(re.escape(one) for of_form in self._forms.values() for one in of_form))
        self._longest = max(len(one) for of_form in self._forms.values() for one in of_form)
        self.bytes = 0
        self.places = 0
        self.hits: set[Hit] = set()

    def add(self, place: str, data: bytes) -> None:
        """Search `data`."""
        self.places += 1
        self._scan(place, data)

    def add_file(self, place: str, path: Path) -> None:
        """Search a file, and what it has compressed."""
        self.places += 1
        with path.open("rb") as file:
            kept = b""
            while block := file.read(BLOCK_BYTES):
                self._scan(place, kept + block, counted=len(block))
                kept = block[-self._longest :]
        for inside in _unpacked(path):
            self._scan(f"{place} (unpacked)", inside)

    def _scan(self, place: str, data: bytes, *, counted: int | None = None) -> None:
        self.bytes += len(data) if counted is None else counted
        for match in self._any.finditer(data):
            form = next(name for name, of_form in self._forms.items() if match[0] in of_form)
            shown = data[match.start() : match.end() + SHOWN_BYTES].decode("latin-1")
            self.hits.add(Hit(place, form, re.sub(r"[^ -~]", ".", shown)))


def _unpacked(path: Path) -> Iterator[bytes]:
    """Yield what is compressed in a file of a known format."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PAR1"):
        for batch in pq.ParquetFile(path).iter_batches():
            yield _raw(batch)
    elif start.startswith(b"ARROW1"):
        for batch in pa.ipc.open_file(path).read_all().to_batches():
            yield _raw(batch)
    elif compression := next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None):
        with pa.CompressedInputStream(str(path), compression) as stream:
            yield stream.read()
    elif start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield archive.read(name)


def _raw(batch: pa.RecordBatch) -> bytes:
    """Return the values of a batch, uncompressed."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()
