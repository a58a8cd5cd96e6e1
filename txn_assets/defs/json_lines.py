"""One JSON object per line on standard output, as the log collector of a cluster reads it.

`install` makes Dagster's own output take that form where TXN_LOG_FORMAT=json asks for it: the events of a run, and the
errors that DAGSTER_REDACT_USER_CODE_ERRORS keeps out of the UI. What the pipeline itself logs is in `events.py`.
Documented in docs/operations.md.
"""

import datetime as dt
import logging
import traceback
from typing import Any

import dagster as dg

# A run without loggers in its config gets this console logger, and no run from a sensor or the Materialize button has
# any. Loggers of `Definitions` are only offered for the config; handlers of dagster.yaml write each event once more.
# txn_assets_tests/deploy/test_logs.py tells whether the next Dagster still looks here.
from dagster import _loggers

from txn_assets.defs.events import WRITTEN, write_line, writes_json

REDACTED_ERRORS = "dagster.redacted_errors"
"""Name of the logger that Dagster gives an error and its traceback to before it redacts them."""


class JsonLines(logging.Handler):
    """Writes each record as one line of JSON, a traceback included as one string.

    Dagster's JSON formatter writes `<traceback object at 0x…>` for a traceback, and the cause is nowhere else.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`, unless the pipeline has written it already."""
        if getattr(record, WRITTEN, False):
            return
        try:
            write_line(as_json(record))
        except Exception:  # noqa: BLE001 - the contract of logging: a handler never fails who logs
            self.handleError(record)


def as_json(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line says of `record`: of a Dagster event its run, step and type too."""
    content: dict[str, Any] = {
        "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
    }
    meta = getattr(record, "dagster_meta", None)
    if meta is None:
        content |= {"logger": record.name, "message": record.getMessage()}
    else:
        event: dg.DagsterEvent | None = meta["dagster_event"]
        error = getattr(event.event_specific_data, "error", None) if event else None
        content |= {
            "run_id": meta["run_id"],
            "job": meta["job_name"],
            "step": meta["step_key"],
            "event": event.event_type_value if event else None,
            "message": meta["orig_message"],
            "error": error.to_string() if error else None,
        }
    if record.exc_info:
        content["traceback"] = "".join(traceback.format_exception(*record.exc_info))
    return {key: value for key, value in content.items() if value is not None}


@dg.logger(
    config_schema={
        "log_level": dg.Field(str, is_required=False, default_value="INFO"),
        "name": dg.Field(str, is_required=False, default_value="dagster"),
    },
    description="A console that writes one JSON object per line.",
)
def json_console(context: dg.InitLoggerContext) -> logging.Logger:
    """Return the logger that stands in for Dagster's colored console."""
    logger = logging.getLogger(f"txn_assets.console.{context.logger_config['name']}")
    logger.setLevel(context.logger_config["log_level"].upper())
    logger.handlers = [JsonLines()]
    logger.propagate = False
    return logger


def install() -> None:
    """Write Dagster's events and redacted errors as JSON where TXN_LOG_FORMAT=json asks for it."""
    if not writes_json():
        return
    _loggers.colored_console_logger = json_console
    errors = logging.getLogger(REDACTED_ERRORS)
    errors.handlers = [JsonLines()]
    errors.propagate = False
