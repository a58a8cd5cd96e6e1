"""What must be true of each input: all its records are accounted for, or one sentence says why it is refused.

The same input goes through the product twice: as it is, and with every record read and judged by itself, in blocks of
another size. Rows, values, reasons and counts must be the same.
"""

import csv
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet

from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import ValidationReport
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows import hashed_rows, processing, validation
from txn_assets.rows.contract import RowContract
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.reader import csv_file, detection
from txn_assets.rows.reader.csv_file import CsvFile, Sizes
from txn_assets.rows.reader.runs import Run, Runs
from txn_assets.rows.reading import Reading
from txn_assets.senders import check as senders
from txn_assets.senders.files import FileError, open_file
from txn_assets_tests.fuzz.corpus import forms

TODAY = dt.date(2024, 9, 1)
SENTENCE_CHARACTERS = 3000
"""Maximum length of what is said about a file."""

COUNTED, REFUSED = "counted", "refused"


class LostError(AssertionError):
    """Rows are lost, doubled or changed."""


class WordingError(AssertionError):
    """What is said about a file is not one sentence that a terminal can show."""


def examine(form: str, data: bytes, folder: Path) -> str:
    """Send `data` through validation and hashing as a file of `form`, and return what became of it.

    Raises:
        LostError: not every record is accounted for, or the two ways differ.
        WordingError: the file is refused with something else than a sentence.
    """
    feed = forms()[form].feed
    file = folder / "a.csv"
    file.write_bytes(data)
    with _looks_once():
        outcome, refusal = _checked(file, feed)
        report, run = _validated(file, feed, folder / "product")
        with _row_by_row():
            again, other = _validated(file, feed, folder / "row-by-row")
    if (report is None) != (again is None) or (report is None) != (outcome is None):
        message = f"one way refuses the file: {report}, {again}, {refusal}"
        raise LostError(message)
    if report is None or again is None or outcome is None:
        return REFUSED
    _demand(outcome.report == report, f"txn check counts otherwise: {outcome.report}, {report}")
    _demand(again == report, f"read row by row, the report differs: {again}, {report}")
    _demand(_valid(other).equals(valid := _valid(run)), "read row by row, the valid rows differ")
    _demand(other.rejected.read_bytes() == run.rejected.read_bytes(), "read row by row, the rejected rows differ")
    _account(report, valid, run)
    _hash(feed, run, report.valid)
    return COUNTED


def _checked(file: Path, feed: Feed) -> tuple[senders.Outcome | None, str]:
    try:
        with patch.object(senders, "today", return_value=TODAY):
            outcome = senders.check(file, feed)
    except FileError as error:
        _say(str(error))
        if not str(error).endswith("."):
            message = f"not a sentence: {error}"
            raise WordingError(message) from error
        return None, str(error)
    for line in outcome.text().removesuffix("\n").split("\n"):
        _say(line)
    outcome.as_json()
    return outcome, ""


def _say(text: str) -> None:
    if not text.isprintable() or len(text) > SENTENCE_CHARACTERS:
        message = f"a terminal cannot show this: {ascii(text)[:SENTENCE_CHARACTERS]}"
        raise WordingError(message)


def _validated(file: Path, feed: Feed, folder: Path) -> tuple[ValidationReport | None, RunFolder]:
    folder.mkdir()
    run = RunFolder(folder)
    try:
        with open_file(file, feed) as stream:
            return processing.validate_file(stream, run, reading=feed.reading(TODAY), hasher=_hasher(feed)), run
    except FileError:
        return None, run


def _hasher(feed: Feed) -> Hasher:
    return Hasher(feed.pii_fields, b"k" * 32, "fuzz")


@contextmanager
def _looks_once() -> Iterator[None]:
    """Find out once what a file looks like, which takes longer than everything else."""
    found: dict[bytes, str] = {}
    real = detection.looks_like

    def looks_like(start: bytes, reading: Reading) -> str:
        if start not in found:
            found[start] = real(start, reading)
        return found[start]

    with patch.object(processing, "looks_like", looks_like), patch.object(detection, "looks_like", looks_like):
        yield


@contextmanager
def _row_by_row() -> Iterator[None]:
    """Have every record read field by field and judged by Pydantic, in small blocks."""

    class NoRuns(Runs):
        def run(self, start: int, stop: int) -> Run:  # noqa: ARG002 - the base class's signature
            return Run(start, irregular=True, bare_quotes=0)

    def accept_nothing(columns: pa.RecordBatch, contract: RowContract) -> pa.BooleanArray:
        return pa.repeat(pa.scalar(value=False), columns.num_rows)

    def opened(stream: Any, contract: Any, file_format: Any, limits: Any, sizes: Sizes | None = None) -> CsvFile:
        sizes = replace(sizes or Sizes(), block_bytes=1 << 12, block_lines=50, step_bytes=1 << 10)
        return CsvFile(stream, contract, file_format, limits, sizes)

    with (
        patch.object(csv_file, "Runs", NoRuns),
        patch.object(validation, "screen", accept_nothing),
        patch.object(processing, "CsvFile", opened),
    ):
        yield


def _valid(run: RunFolder) -> pa.Table:
    with pa.OSFile(str(run.valid)) as source, pa.ipc.open_stream(source) as reader:
        return reader.read_all().combine_chunks()


def _account(report: ValidationReport, valid: pa.Table, run: RunFolder) -> None:
    """Check that each record is in exactly one of the files."""
    csv.field_size_limit(1 << 30)
    with run.rejected.open(encoding="utf-8", newline="") as file:
        rejected = [int(row["source_row"]) for row in csv.DictReader(file)]
    records = sorted([*valid["source_row"].to_pylist(), *rejected])
    _demand(records == list(range(1, report.records + 1)), f"records {records[:50]} of {report}")
    _demand((valid.num_rows, len(rejected)) == (report.valid, report.rejected), f"{valid.num_rows} rows of {report}")


def _hash(feed: Feed, run: RunFolder, rows: int) -> None:
    """Hash the rows, write the object of the data lake, and compare what its engine finds in both."""
    contract = feed.contract
    version = FileVersion("a.csv", 1, 1, "")
    processing.hash_file(run.valid, run.hashed, file=version, names=contract.names, hasher=_hasher(feed))
    totals, in_lake = hashed_rows.totals(run.hashed, contract)
    _demand(totals.rows == rows == pyarrow.parquet.read_metadata(run.hashed).num_rows, f"{totals.rows} rows are hashed")
    for file_format in ("csv", "parquet"):
        lake = run.path / f"processed.{file_format}"
        hashed_rows.write_lake(run.hashed, lake, contract, file_format=file_format)
        found = hashed_rows.lake_totals(lake, contract, file_format=file_format)
        _demand((found.rows, found.fingerprint) == (rows, in_lake), f"the lake holds other values as {file_format}")


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise LostError(message)
