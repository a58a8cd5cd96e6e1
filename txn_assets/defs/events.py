"""Progress events of the pipeline: one per stage and file, as a line for people or JSON for machines.

Callers decide when to emit one. No event contains PII in clear text.

Events go to Dagster's log, which the UI and the terminal show. With TXN_LOG_FORMAT=json, each event also goes to
standard output as one line of JSON, and `json_lines.py` puts the rest of Dagster's output into the same form.
"""

import datetime as dt
import json
import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from txn_assets.environment import writes_json
from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import SAMPLE_ROWS, ValidationReport

LOGGER = logging.getLogger("txn_assets")
# Do not propagate, because Dagster's log already has these events.
LOGGER.propagate = False
LOGGER.addHandler(logging.NullHandler())
WRITTEN = "txn_assets_written"
"""Attribute of log records that tells whether the event has already gone to standard output."""
_OUTPUT = threading.Lock()


def write_line(content: Mapping[str, Any]) -> None:
    """Write `content` as one line of JSON; safe to call from several threads."""
    line = json.dumps(content, default=str) + "\n"
    with _OUTPUT:
        sys.stdout.write(line)
        sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a file.

    Attributes:
        message: text for people.
        stage: the asset that emits the event.
        partition: the landed file.
        details: rows, seconds and other values for machines.
    """

    message: str
    stage: str
    partition: str
    details: dict[str, Any] = field(default_factory=dict)
    level: int = logging.INFO

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
        LOGGER.debug(message, extra={"event": event})

    def emit_rejections(self, stage: str, partition: str, report: ValidationReport) -> None:
        """Emit the events of `rejections`, or only the counts if the run has many files."""
        for event in rejections(stage, partition, report, shown=SAMPLE_ROWS if self.files <= SHOWN_FILES else 0):
            self.emit(event)

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
