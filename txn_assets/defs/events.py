"""What the pipeline says while it works: one event a stage of a file.

Here belong the events and their two forms, a line for people and a JSON object for machines. When something is said is
the caller's concern. No event carries a clear PII value.

Events go to Dagster's log, which the UI and the terminal show. With TXN_LOG_FORMAT=json each goes to standard output
as one line of JSON, and `json_lines.py` makes the rest of Dagster's output take the same form.
"""

import datetime as dt
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import SAMPLE_ROWS, ValidationReport

LOGGER = logging.getLogger("txn_assets")
# Dagster's log has every event already.
LOGGER.propagate = False
LOGGER.addHandler(logging.NullHandler())
FORMAT_VARIABLE = "TXN_LOG_FORMAT"
WRITTEN = "txn_assets_written"
"""Attribute of a log record whose event is on standard output already."""
_OUTPUT = threading.Lock()


def writes_json() -> bool:
    """Tell whether standard output takes one JSON object per line."""
    return os.environ.get(FORMAT_VARIABLE) == "json"


def write_line(content: Mapping[str, Any]) -> None:
    """Write `content` as one line of JSON; lines of several threads do not mix."""
    line = json.dumps(content, default=str) + "\n"
    with _OUTPUT:
        sys.stdout.write(line)
        sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a file.

    Attributes:
        message: the sentence for people.
        stage: the asset that speaks.
        partition: the landed file.
        details: rows, seconds and what else a machine may ask for.
    """

    message: str
    stage: str
    partition: str
    details: dict[str, Any] = field(default_factory=dict)
    level: int = logging.INFO

    def as_json(self, run_id: str) -> dict[str, Any]:
        """Return the keys of `details` beside time, level, run_id, stage, partition and message."""
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
"""In a run of more files, Dagster's log gets warnings and one line a stage: it keeps each line as an event of its own,
which takes longer than a small file."""


@dataclass(frozen=True, slots=True)
class StageLog:
    """Where the events of a stage go, which works on so many `files`."""

    log: logging.Logger
    run_id: str
    files: int

    def emit(self, event: Event) -> None:
        """Sends `event` to Dagster's log, to whoever listens to `LOGGER`, and as JSON where that is asked for."""
        message = f"{event.partition}: {event.message}"
        as_json = writes_json()
        if as_json:
            write_line(event.as_json(self.run_id))
        if self.files <= SHOWN_FILES or event.level >= logging.WARNING:
            self.log.log(event.level, message, extra={WRITTEN: as_json})
        LOGGER.debug(message, extra={"event": event})

    def emit_rejections(self, stage: str, partition: str, report: ValidationReport) -> None:
        """Sends what `rejections` says; of many files, the counts alone."""
        for event in rejections(stage, partition, report, shown=SAMPLE_ROWS if self.files <= SHOWN_FILES else 0):
            self.emit(event)

    def done(self, files: int, seconds: float) -> None:
        """Says how many of many files the stage is done with."""
        if self.files > SHOWN_FILES:
            self.log.info(f"{files} of {self.files} files in {seconds:.1f} seconds")


def pinned(stage: str, version: FileVersion, seconds: float) -> Event:
    """The event of a file that was found in the landing zone."""
    details = {"generation": version.generation, "bytes": version.size, "seconds": round(seconds, 3)}
    message = f"Pinned generation {version.generation}, {version.size} bytes, in {seconds:.2f} seconds"
    return Event(message, stage, version.name, details)


def processed(stage: str, partition: str, rows: int, seconds: float, **details: Any) -> Event:  # noqa: ANN401 - any JSON value
    """The event of a stage that is done with a file."""
    shown = "".join(f", {name.replace('_', ' ')} {value}" for name, value in details.items())
    return Event(
        f"Processed {rows} records in {seconds:.2f} seconds{shown}",
        stage,
        partition,
        {"rows": rows, "seconds": round(seconds, 3), **details},
    )


def rejections(stage: str, partition: str, report: ValidationReport, *, shown: int = SAMPLE_ROWS) -> list[Event]:
    """A warning for each of the first `shown` rejected rows, and for a longer list the count of each reason."""
    events = []
    for row in report.sample[:shown]:
        reasons = "; ".join(f"{r.field or 'row'} {r.code} ({r.message})" for r in row.reasons)
        details = {"source_row": row.source_row, "reasons": [[r.field, r.code] for r in row.reasons]}
        events.append(Event(f"record {row.source_row} rejected: {reasons}", stage, partition, details, logging.WARNING))
    if report.rejected > shown:
        counts = ", ".join(f"{reason} {count}" for reason, count in report.reasons.items())
        message = f"{report.rejected} records rejected in all: {counts}"
        details = {"rejected": report.rejected, "counts": dict(report.reasons)}
        events.append(Event(message, stage, partition, details, logging.WARNING))
    return events
