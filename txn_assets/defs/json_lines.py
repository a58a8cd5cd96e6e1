"""Write Dagster's own output as one JSON object per line, for the log collector of a cluster.

With TXN_LOG_FORMAT=json, `install` covers the events of a run and the errors that DAGSTER_REDACT_USER_CODE_ERRORS hides
from the UI. The pipeline's own events are in `events.py`. See docs/operations.md.
"""

import datetime as dt
import logging
from typing import Any

import dagster as dg

from txn_assets.defs.events import WRITTEN, write_line
from txn_assets.environment import writes_json
from txn_assets.errors import traceback_of

try:
    from dagster import _loggers
except ImportError:  # `install` reports it
    _loggers = None  # type: ignore[assignment]  # a module otherwise

REDACTED_ERRORS = "dagster.redacted_errors"
"""Name of the logger that gets an error and its traceback before Dagster redacts them."""


class JsonLines(logging.Handler):
    """Handler that writes each record as one line of JSON, with the traceback as a string.

    Dagster's JSON formatter writes `<traceback object at 0x…>` instead, and the cause appears nowhere else.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`, unless the pipeline has already written it."""
        if getattr(record, WRITTEN, False):
            return
        try:
            write_line(as_json(record))
        except Exception:  # noqa: BLE001 - a logging handler must never make its caller fail
            self.handleError(record)


def as_json(record: logging.LogRecord) -> dict[str, Any]:
    """Return the content of the line for `record`; for a Dagster event, include its run, step and type."""
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
    if error := record.exc_info and record.exc_info[1]:
        content["traceback"] = traceback_of(error, worded=(dg.Failure,))
    return {key: value for key, value in content.items() if value is not None}


@dg.logger(
    config_schema={
        "log_level": dg.Field(str, is_required=False, default_value="INFO"),
        "name": dg.Field(str, is_required=False, default_value="dagster"),
    },
    description="Console logger that writes one JSON object per line.",
)
def json_console(context: dg.InitLoggerContext) -> logging.Logger:
    """Return the logger that replaces Dagster's colored console."""
    logger = logging.getLogger(f"txn_assets.console.{context.logger_config['name']}")
    logger.setLevel(context.logger_config["log_level"].upper())
    logger.handlers = [JsonLines()]
    logger.propagate = False
    return logger


def install() -> None:
    """Write Dagster's events and redacted errors as JSON if TXN_LOG_FORMAT=json."""
    if not writes_json():
        return
    # Dagster uses this console logger for runs without loggers in their config. That includes all runs from a sensor
    # or the Materialize button. Loggers in `Definitions` only take effect if the config names them, and handlers in
    # dagster.yaml write each event a second time. txn_assets_tests/deploy/test_logs.py fails if a new Dagster version
    # no longer uses this name.
    if hasattr(_loggers, "colored_console_logger"):
        _loggers.colored_console_logger = json_console
    else:
        message = (
            f"Dagster {dg.__version__} has no dagster._loggers.colored_console_logger, so it does not write its own "
            "events as JSON. The events of txn_assets are still written as JSON."
        )
        write_line({"level": "WARNING", "logger": __name__, "message": message})
    errors = logging.getLogger(REDACTED_ERRORS)
    errors.handlers = [JsonLines()]
    errors.propagate = False
