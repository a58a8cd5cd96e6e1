"""Rows, CSV texts and files for the tests, each valid except where a test overrides something.

Only makers and generators that more than one test module uses; keep assertions out.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from hypothesis import strategies as st

from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.report import Reason
from txn_assets.rows.reader.columns import parse
from txn_assets.rows.reader.csv_file import CsvFile, Sizes
from txn_assets.rows.reader.file_format import DEFAULT_FORMAT, FileFormat
from txn_assets.rows.reader.limits import FileLimits
from txn_assets.rows.validation import RejectedRows

FIELDS = CONTRACT.names
HEADER = ",".join(FIELDS)

type Values = tuple[bytes, ...]


def make_row(**overrides: str) -> dict[str, str]:
    """Return a valid row as a CSV file holds it, with `overrides`; a field that is not named here is empty."""
    row = dict.fromkeys(FIELDS, "") | {
        "transaction_id": "T001",
        "product": "Halal Laptop",
        "price": "999.99",
        "quantity": "2",
        "date": "2023-10-01",
    }
    return row | overrides


def csv_bytes(rows: Iterable[Mapping[str, str]], *, columns: Sequence[str] = FIELDS) -> bytes:
    """Return `rows` below a header, quoted the way Python's writer quotes them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in rows)
    return text.getvalue().encode()


RECORD_FIELDS = 32
"""Maximum size of a record in tests, in multiples of that of a field, as in the default limits."""


def limited(field_bytes: int = 1 << 20) -> FileLimits:
    """Return limits for small fields, and rows that are `RECORD_FIELDS` times as long."""
    return FileLimits(field_bytes=field_bytes, line_bytes=RECORD_FIELDS * field_bytes)


def open_csv(
    data: bytes, file_format: FileFormat = DEFAULT_FORMAT, /, *, field_bytes: int = 1 << 20, **sizes: int
) -> CsvFile:
    """Open `data` as a file of the form `file_format`, read in blocks of `sizes`."""
    return CsvFile(io.BytesIO(data), CONTRACT, file_format, limited(field_bytes), Sizes(**sizes))


@dataclass(frozen=True)
class Contents:
    """Concatenated blocks of a file. A record is its five values, or the code of its fault."""

    records: tuple[Values | str, ...]
    blocks: int
    bare_quotes: int

    @property
    def codes(self) -> list[str]:
        """Return the faults of the records that could not be read."""
        return [record for record in self.records if isinstance(record, str)]

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """Return the readable records as text."""
        return [tuple(value.decode() for value in record) for record in self.records if isinstance(record, tuple)]


def read_all(data: bytes, file_format: FileFormat = DEFAULT_FORMAT, /, **sizes: int) -> Contents:
    """Return all records of the CSV file `data`, in file order."""
    return contents(open_csv(data, file_format, **sizes))


def contents(file: CsvFile) -> Contents:
    """Return all records of `file`, in file order."""
    records: list[Values | str] = []
    blocks = bare_quotes = 0
    for block in file.blocks():
        parsed = parse(block, file.header)
        found: dict[int, Any] = {record.index: record.code for record in parsed.unreadable}
        found |= dict(
            zip(
                parsed.index.to_pylist(),
                zip(*(column.to_pylist() for column in parsed.fields.columns), strict=True),
                strict=True,
            )
        )
        # Catches a record in neither or in both.
        assert len(found) == parsed.records == parsed.fields.num_rows + len(parsed.unreadable)
        records += [found[index] for index in range(parsed.records)]
        blocks += 1
        bare_quotes += parsed.bare_quotes
    return Contents(tuple(records), blocks, bare_quotes)


def hostile_csv(*, max_size: int = 20) -> st.SearchStrategy[bytes]:
    """Generate what may follow a header: good and bad records, stray quotes, all line ends, NULs, non-text bytes."""
    piece = st.sampled_from(
        [
            b'"', b'"', b'""', b",", b",", b",", b"\n", b"\n", b"\r", b"\r\n", b"a", b" ", b"\0", b"\xff",
            b"T1,x,1,1,2020-01-01\n", b'"T,1","x\ny","1.5","2","2020-01-31"\r\n', b"T2,x,1,1\n",
            b"T3,x,1,1,2020-01-01,\n", b'T4,"a ""b"","",",1,1,2020-01-01\n', b"\xe2\x82", b"\xff,x,1,1,2020-01-01\n",
            b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", b"\xef\xbb\xbf", b"\n\xef\xbb\xbf", b",,,,\n",
            b'"",', b', "a, b" ,', b'T5,Pipe 48",1,1,2020-01-01\n', b'T6"Desk, oak",1,1,2020-01-01\n', b'4"', b' "',
            b"#", b'# a, "b\n', b"//",
        ]
    )  # fmt: skip
    return st.lists(piece, max_size=max_size).map(b"".join)


class Rejected(NamedTuple):
    """A rejected row; its fields are None if it could not be split into fields."""

    source_row: int
    fields: tuple[str | None, ...]
    reasons: tuple[Reason, ...]


def rejected_rows(rows: Sequence[Rejected]) -> RejectedRows:
    """Return `rows` as columns."""
    columns = [pa.array([row.fields[place] for row in rows], pa.string()) for place in range(len(FIELDS))]
    return RejectedRows(
        pa.array([row.source_row for row in rows], pa.int64()),
        pa.RecordBatch.from_arrays(columns, names=list(FIELDS)),
        tuple(row.reasons for row in rows),
    )


def rejected_list(rows: RejectedRows) -> list[Rejected]:
    """Return the columns as rows."""
    fields = zip(*(column.to_pylist() for column in rows.fields.columns), strict=True)
    return list(map(Rejected, rows.source_row.to_pylist(), fields, rows.reasons))
