"""Write a landed file again without the records of persons, in the form that it has: encoding, quotes, compression.

Every other record keeps its bytes. `survey` finds the records, and proves afterwards that the rest is the same. Files
with hashes are written again by `removing.py`.
"""

import gzip
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa

from txn_assets.rows.duckdb_session import connect
from txn_assets.rows.erasing import Erased
from txn_assets.rows.fingerprint import MODULUS
from txn_assets.rows.processing import THREADS
from txn_assets.rows.quarantine import digests_of
from txn_assets.rows.reader.compression import Prefixed, Readable, Unpacked
from txn_assets.rows.reader.csv_file import CsvFile, Sizes
from txn_assets.rows.reader.encodings import in_utf8, out_of_utf8
from txn_assets.rows.reader.records import Limits, after_line, read_fields, skip_blank
from txn_assets.rows.reading import Reading
from txn_assets.rows.validation import RejectedRows, validate


@dataclass(frozen=True, slots=True)
class Survey:
    """The records of a landed file.

    Attributes:
        records: number of all records.
        persons: the numbers of the records of the persons looked for, from 1.
        rest: numbers that are equal for equal other records: how many are valid and rejected, and a sum over each.
    """

    records: int
    persons: frozenset[int]
    rest: tuple[int, int, int, int]

    def is_without(self, before: "Survey") -> bool:
        """Return whether this is the survey of the file `before` without its records of persons."""
        return not self.persons and (self.records, self.rest) == (before.records - len(before.persons), before.rest)


def survey(stream: BinaryIO, reading: Reading, erased: Erased, folder: Path) -> Survey:
    """Read a landed file, and look for the persons in `erased`.

    A rejected record that could not be split into fields has no value of a field, so nobody can be found in it.

    Raises:
        UnreadableFileError: the file as a whole does not have the columns and the form of the feed.
    """
    file = CsvFile(stream, reading.contract, reading.file_format, reading.limits)
    records = 0
    persons: set[int] = set()
    rest = [0, 0, 0, 0]
    for verdict in validate(file, reading.contract, batch_size=reading.batch_size, threads=THREADS):
        records += verdict.records
        rejected = _as_table(verdict.rejected)
        found = _in_valid(verdict.valid, erased, folder) | _in_rejected(verdict.rejected, erased)
        persons |= found
        for place, rows in enumerate((verdict.valid, rejected)):
            count, total = _summed(rows, found, folder)
            rest[2 * place] += count
            rest[2 * place + 1] = (rest[2 * place + 1] + total) % MODULUS
    return Survey(records, frozenset(persons), (rest[0], rest[1], rest[2], rest[3]))


def _in_valid(rows: pa.RecordBatch, erased: Erased, folder: Path) -> set[int]:
    found: set[int] = set()
    with connect(folder) as connection:
        connection.register("valid", rows)
        for hasher, digests in erased:
            for name, of_field in digests.items():
                numbers = connection.execute(
                    f"SELECT source_row FROM (SELECT source_row, {hasher.select_list([name])} FROM valid) AS hashed "  # noqa: S608 - a column of the contract
                    f'WHERE list_contains($digests, "{name}")',
                    {"digests": sorted(of_field), **hasher.parameters()},
                ).fetchall()
                found.update(number for (number,) in numbers)
    return found


def _in_rejected(rows: RejectedRows, erased: Erased) -> set[int]:
    return {
        number
        for hasher, digests in erased
        for name, of_field in digests.items()
        for number, digest in zip(
            rows.source_row.to_pylist(), digests_of(rows.fields[name], hasher).to_pylist(), strict=True
        )
        if digest in of_field
    }


def _as_table(rows: RejectedRows) -> pa.Table:
    # Without the reasons: that of an open quote may be another one if what follows it is another record.
    return pa.table([rows.source_row, *rows.fields.columns], names=["source_row", *rows.fields.schema.names])


def _summed(rows: pa.RecordBatch | pa.Table, without: Collection[int], folder: Path) -> tuple[int, int]:
    names = ", ".join(f'"{name}"' for name in rows.schema.names if name != "source_row")
    with connect(folder) as connection:
        connection.register("rows_of_block", rows)
        found = connection.execute(
            f"SELECT count(*), coalesce(sum(hash({names})) % {MODULUS}, 0) FROM rows_of_block "  # noqa: S608 - columns of the contract
            "WHERE NOT list_contains($without, source_row)",
            {"without": sorted(without)},
        ).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


def write_without(
    source: Path, target: Path, reading: Reading, records: Collection[int], *, block_bytes: int = 8 << 20
) -> None:
    """Write the landed file at `source` without the `records`, counted from 1, to `target`.

    `block_bytes` is how much to read at once.

    Raises:
        UnreadableFileError: see `survey`.
        UnicodeError: the file cannot be encoded again as it was.
    """
    with source.open("rb") as packed, target.open("wb") as file:
        unpacked = Unpacked(packed, reading.limits)
        start = unpacked.read(block_bytes)
        encode = out_of_utf8(start, reading.file_format.encoding)
        text = in_utf8(Prefixed(start, unpacked), reading.file_format.encoding)
        with _packed(file, source, unpacked.compression) as sink:
            for piece in _left(text, reading, frozenset(records), block_bytes):
                sink.write(encode(piece))


def _left(text: Readable, reading: Reading, records: frozenset[int], block_bytes: int) -> Iterator[bytes]:
    """Yield the parts of a file that are left, in UTF-8."""
    tee = _Tee(text)
    decoded = reading.file_format.model_copy(update={"encoding": "utf-8"})
    file = CsvFile(tee, reading.contract, decoded, reading.limits, Sizes(block_bytes=block_bytes))
    unread = file.unread
    yield tee.data[: len(tee.data) - len(unread)]
    number = 0
    for piece, is_record in _pieces(unread, text, file.record_limits, block_bytes):
        number += is_record
        if not is_record or number not in records:
            yield piece


class _Tee:
    """A stream that keeps what was read from it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.data = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self.data += data
        return data


def _pieces(data: bytes, stream: Readable, limits: Limits, block_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """Yield records and what is between them, and whether it is a record."""
    at, final = 0, False
    while True:
        begin = at
        at = skip_blank(data, at, final=final, dialect=limits.dialect)
        if at > begin:
            yield data[begin:at], False
        fields = read_fields(data, at, final=final, limits=limits) if at < len(data) else None
        if fields is None:
            if final:
                return
            more = _read_lines(stream, block_bytes)
            data, at, final = data[at:] + more, 0, not more
            continue
        is_record = fields.record(limits.width) is not None
        end = fields.end
        if end is None:
            rest, after = _rest_of_line(stream, block_bytes)
            yield data[at:] + rest, is_record
            data, at = after, 0
        else:
            yield data[at:end], is_record
            at = end


def _read_lines(stream: Readable, size: int) -> bytes:
    """Return the next block. Its last byte is not the first half of CRLF."""
    data = stream.read(size)
    while data.endswith(b"\r") and (more := stream.read(1)):
        data += more
    return data


def _rest_of_line(stream: Readable, block_bytes: int) -> tuple[bytes, bytes]:
    """Return what is left of a line, and what was read after it."""
    rest = b""
    while data := _read_lines(stream, block_bytes):
        if (end := after_line(data, 0)) is not None:
            return rest + data[:end], data[end:]
        rest += data
    return rest, b""


@contextmanager
def _packed(file: BinaryIO, source: Path, compression: str) -> Iterator[IO[bytes]]:
    """Yield a stream that compresses into `file` as the file at `source` is compressed."""
    if compression == "gzip":
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
            yield cast("IO[bytes]", packed)
    elif compression == "ZIP":
        with zipfile.ZipFile(source) as before:
            (name,) = before.namelist()
        with (
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(name, "w", force_zip64=True) as member,
        ):
            yield member
    elif compression == "Zstandard":
        with pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd") as packed:
            yield cast("IO[bytes]", packed)
    else:
        yield file
