"""Progress events of the pipeline: one per stage and file, as a line for people or JSON for machines.

Callers decide when to emit one. No event contains PII in clear text.

Events go to Dagster's log, which the UI and the terminal show, and to the file `TXN_HOME/logs/txn.log`. With
TXN_LOG_FORMAT=json, each event also goes to standard output as one line of JSON, and `json_lines.py` puts the rest of
Dagster's output into the same form.
"""

import contextlib
import datetime as dt
import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from txn_assets.environment import txn_home, writes_json
from txn_assets.files import progress
from txn_assets.files.ledger import FileVersion
from txn_assets.files.log_files import LogFile
from txn_assets.files.report import SAMPLE_ROWS, ValidationReport

LOGGER = logging.getLogger("txn_assets")
# Do not propagate, because Dagster's log already has these events.
LOGGER.propagate = False
LOGGER.setLevel(logging.DEBUG)
WRITTEN = "txn_assets_written"
"""Attribute of log records that tells whether the event has already gone to standard output."""
_OUTPUT = threading.Lock()


def write_line(content: Mapping[str, Any]) -> None:
    """Write `content` as one line of JSON; safe to call from several threads."""
    line = json.dumps(content, default=str) + "\n"
    with _OUTPUT:
        sys.stdout.write(line)
        sys.stdout.flush()


def log_file(name: str) -> LogFile:
    """Return the log file `name` of this TXN_HOME."""
    return LogFile(txn_home() / "logs" / name)


class _ToLogFile(logging.Handler):
    """Handler that appends each record to `txn.log`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line. A disk that is full or read-only must not fail a load."""
        event, run_id = getattr(record, "event", None), getattr(record, "run_id", "")
        stage = event.stage if isinstance(event, Event) else "-"
        level = logging.getLevelName(event.level) if isinstance(event, Event) else record.levelname
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        message = " ".join(record.getMessage().splitlines())
        with contextlib.suppress(OSError):
            log_file("txn.log").append(f"{now} {level:<7} {run_id[:8] or '-':<8} {stage} {message}\n")


LOGGER.addHandler(_ToLogFile())


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a file.

    Attributes:
        message: text for people.
        stage: the asset that emits the event.
        partition: the landed file.
        details: rows, seconds and other values for machines.
        is_progress: whether the stage is still at work, so that a display that shows it can leave the event out.
    """

    message: str
    stage: str
    partition: str
    details: dict[str, Any] = field(default_factory=dict)
    level: int = logging.INFO
    is_progress: bool = False

    def as_json(self, run_id: str) -> dict[str, Any]:
        """Return time, level, run_id, stage, partition and message, plus the keys of `details`."""
        return {
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "level": logging.getLevelName(self.level),
            "run_id": run_id,
            "stage": self.stage,
            "partition": self.partition,
            "message": self.message,
            **self.details,
        }


SHOWN_FILES = 20
"""Maximum number of files per run that are logged one by one. In larger runs, Dagster's log gets only warnings
and one line per stage, because Dagster stores each line as an event, which takes longer than loading a small file."""


@dataclass(frozen=True, slots=True)
class StageLog:
    """Sends the events of a stage to the logs; `files` is the number of files that the stage works on."""

    log: logging.Logger
    run_id: str
    files: int

    def emit(self, event: Event) -> None:
        """Send `event` to Dagster's log, to the handlers of `LOGGER` and, if configured, to standard output as JSON."""
        message = f"{event.partition}: {event.message}"
        as_json = writes_json()
        if as_json:
            write_line(event.as_json(self.run_id))
        if self.files <= SHOWN_FILES or event.level >= logging.WARNING:
            self.log.log(event.level, message, extra={WRITTEN: as_json})
        LOGGER.debug(message, extra={"event": event, "run_id": self.run_id})

    @contextlib.contextmanager
    def following(
        self, stage: str, file: str, *, size: int | None = None, rows: int | None = None
    ) -> Iterator[progress.Stage]:
        """Emit an event every few seconds while the block works on `file`; see `progress.Stage` for the totals."""
        with progress.following(progress.Stage(stage, file, size=size, rows=rows), self._report) as followed:
            yield followed

    def _report(self, stage: progress.Stage) -> None:
        # If Dagster's storage is away, the stage itself says so.
        with contextlib.suppress(Exception):
            self.emit(in_progress(stage))

    def emit_rejections(self, stage: str, version: FileVersion, report: ValidationReport, rejected: Path) -> None:
        """Emit the events of `rejections`, or only the counts if the run has many files.

        The first rows of `rejected`, which are masked, go to `TXN_HOME/logs/invalid_records.log`.
        """
        for event in rejections(stage, version.name, report, shown=SAMPLE_ROWS if self.files <= SHOWN_FILES else 0):
            self.emit(event)
        if report.rejected:
            from txn_assets.rows.invalid_records import log_invalid_records  # noqa: PLC0415 - imports Arrow

            log_invalid_records(log_file("invalid_records.log"), version, rejected, run_id=self.run_id)

    def done(self, files: int, seconds: float) -> None:
        """Log how many files the stage has finished, if the run has many files."""
        if self.files > SHOWN_FILES:
            self.log.info(f"{files} of {self.files} files in {seconds:.1f} seconds")


def pinned(stage: str, version: FileVersion, seconds: float) -> Event:
    """Return the event for a file that was found in the landing zone."""
    details = {"generation": version.generation, "bytes": version.size, "seconds": round(seconds, 3)}
    message = f"Pinned generation {version.generation}, {version.size} bytes, in {seconds:.2f} seconds"
    return Event(message, stage, version.name, details)


def processed(stage: str, partition: str, rows: int, seconds: float, **details: Any) -> Event:  # noqa: ANN401 - any JSON value
    """Return the event for a file that a stage has finished."""
    shown = "".join(f", {name.replace('_', ' ')} {value}" for name, value in details.items())
    return Event(
        f"Processed {rows} records in {seconds:.2f} seconds{shown}",
        stage,
        partition,
        {"rows": rows, "seconds": round(seconds, 3), **details},
    )


def in_progress(stage: progress.Stage) -> Event:
    """Return the event for a stage that is at work."""
    details: dict[str, Any] = {"rows": stage.done_rows, "seconds": round(stage.seconds, 3)}
    if stage.share is not None:
        details["percent"] = round(100 * stage.share)
    return Event(
        f"{stage.in_words()}, {stage.seconds:.0f} seconds so far", stage.name, stage.file, details, is_progress=True
    )


def rejections(stage: str, partition: str, report: ValidationReport, *, shown: int = SAMPLE_ROWS) -> list[Event]:
    """Return a warning for each of the first `shown` rejected rows and, if there are more, the count of each reason."""
    events = []
    for row in report.sample[:shown]:
        details = {"source_row": row.source_row, "reasons": [[r.field, r.code] for r in row.reasons]}
        events.append(Event(str(row), stage, partition, details, logging.WARNING))
    if report.rejected > shown:
        details = {"rejected": report.rejected, "counts": dict(report.reasons)}
        events.append(Event(report.all_rejections(), stage, partition, details, logging.WARNING))
    return events
