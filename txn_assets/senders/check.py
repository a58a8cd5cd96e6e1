"""Try a file before it lands: `txn check FILE`.

The file goes through the same validation as a landed one. Nothing is started, and nothing is written outside a
temporary folder. docs/how-to/check-in-the-senders-ci.md documents the output and the exit codes.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from txn_assets.errors import UserError
from txn_assets.feeds.feed import Feed
from txn_assets.files import scratch_space
from txn_assets.files.report import ValidationReport
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.processing import read_header, validate_file
from txn_assets.rows.reader.compression import Unpacked
from txn_assets.rows.reader.file_format import DELIMITERS
from txn_assets.senders.files import open_file, today

VALID, INVALID, UNREADABLE = 0, 1, 2
"""Exit codes of `txn check`: all rows are valid, some are not or a check fails the run, or there is no verdict."""


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check that a file fails: its name in Dagster, a sentence, and whether it fails the load."""

    name: str
    sentence: str
    is_error: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a load would find in a file.

    Attributes:
        form: the encoding, the delimiter and the compression of the file.
        columns: the columns of the file; those of the feed under its own names.
        missing_columns: optional columns that the file lacks.
        failed: the checks that fail.
    """

    file: str
    feed: str
    form: Mapping[str, str]
    columns: tuple[str, ...]
    missing_columns: tuple[str, ...]
    report: ValidationReport
    failed: tuple[FailedCheck, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of `txn check`."""
        return INVALID if self.report.rejected or any(check.is_error for check in self.failed) else VALID

    def text(self) -> str:
        """Return what `make run` would print about the rows of the file."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        report = self.report
        yield from (f"FAILED  {check.name}: {check.sentence}" for check in self.failed if check.is_error)
        if report.records and not report.valid:
            yield "FAILED  no row is valid: the stores would keep what they have"
        yield self.file
        yield f"  read as     {', '.join(filter(None, self.form.values()))}"
        yield f"  rows in   {report.records:>12,}"
        yield f"  valid     {report.valid:>12,}"
        yield f"  rejected  {report.rejected:>12,}"
        yield from (f"              {row}" for row in report.sample)
        if report.rejected > len(report.sample):
            yield f"              {report.all_rejections()}"
        for check in self.failed:
            # The rejected rows are above.
            if not check.is_error and check.name != "no_rejected_rows":
                yield f"  warning     {check.name}: {check.sentence}"
        if self.missing_columns:
            yield f"  note        optional columns that the file lacks: {', '.join(self.missing_columns)}"

    def as_json(self) -> dict[str, Any]:
        """Return the object that `txn check --json` prints."""
        report = self.report
        return {
            "file": self.file,
            "feed": self.feed,
            "exit_code": self.exit_code,
            "refused": None,
            "form": self.form,
            "columns": self.columns,
            "unknown_columns": report.extra_columns,
            "missing_columns": self.missing_columns,
            "rows": {"in": report.records, "valid": report.valid, "rejected": report.rejected},
            "reasons": report.reasons,
            "rejected_rows": [asdict(row) for row in report.sample],
            "repeated_ids": report.repeated_ids,
            "looks_like": report.looks_like or None,
            "failed_checks": [asdict(check) for check in self.failed],
        }


def refusal(file: Path, feed: str, error: UserError) -> dict[str, Any]:
    """Return the object that `--json` prints instead if there is no verdict because of `error`."""
    return {"file": file.name, "feed": feed, "exit_code": UNREADABLE, "refused": str(error)}


def check(file: Path, feed: Feed) -> Outcome:
    """Validate `file` as if it had landed for `feed`.

    Raises:
        FileError: the file cannot be read.
    """
    reading = feed.reading(today())
    # The rejected rows are deleted with the folder, so their hash needs no key.
    hasher = Hasher(feed.pii_fields, None, "sha256")
    with open_file(file, feed) as stream, tempfile.TemporaryDirectory(prefix="txn-check-") as folder:
        compression = Unpacked(stream, feed.limits).compression
        stream.seek(0)
        columns = read_header(stream, reading)
        stream.seek(0)
        room = int(scratch_space.capacity(Path(folder), None) / scratch_space.SCRATCH_FACTOR)
        reading = replace(reading, limits=feed.limits.within(room))
        report = validate_file(stream, RunFolder(Path(folder)), reading=reading, hasher=hasher)
    return Outcome(
        file=file.name,
        feed=feed.name,
        form={
            "encoding": feed.file_format.encoding,
            "delimiter": DELIMITERS[feed.file_format.delimiter],
            "compression": compression,
        },
        columns=columns,
        missing_columns=tuple(name for name in reading.contract.names if name not in columns),
        report=report,
        failed=tuple(_failed_checks(report, feed)),
    )


def _failed_checks(report: ValidationReport, feed: Feed) -> Iterator[FailedCheck]:
    errors = {
        "every_row_accounted_for": report.unaccounted(),
        "rejected_share_within_limit": report.over_limit(feed.max_invalid_ratio, feed.key("max_invalid_ratio")),
    }
    warnings = {
        "no_rejected_rows": report.rejections(),
        feed.ids_check: report.repeats(),
        "header_as_expected": report.unknown_columns(),
        "no_stray_quotes": report.stray_quotes(),
    }
    for name, sentence in (errors | warnings).items():
        if sentence:
            yield FailedCheck(name, sentence, is_error=name in errors)
