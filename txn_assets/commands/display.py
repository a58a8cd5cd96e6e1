"""What `txn run` shows while a file loads: lines, and on a terminal also a bar for each stage that is at work.

With TXN_LOG_FORMAT=json, standard output has nothing but lines of JSON. `defs/summary.py` says how the run ended.
"""

import datetime as dt
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from txn_assets.defs.events import LOGGER, Event, write_line
from txn_assets.defs.names import without_prefix
from txn_assets.environment import writes_json
from txn_assets.feeds.feed import Feed
from txn_assets.files import progress

STYLES = {
    "LOADED": "bold green",
    "UNCHANGED": "bold green",
    "SUPERSEDED": "bold yellow",
    "FAILED": "bold red",
    "warning": "yellow",
}
"""Styles of a line of the summary on a terminal, by its first word."""


class _Lines(logging.Handler):
    """Pass on each event of the run as a line, except warnings, which the summary repeats."""

    def __init__(self, feed: Feed, show: Callable[[str], None], *, shows_progress: bool) -> None:
        super().__init__(logging.DEBUG)
        self._feed = feed
        self._show = show
        self._shows_progress = shows_progress
        self._started = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one line."""
        event = getattr(record, "event", None)
        if isinstance(event, Event):
            if event.level >= logging.WARNING or (event.is_progress and not self._shows_progress):
                return
            message = f"{without_prefix(self._feed, event.stage):<26} {event.message}"
        else:
            message = record.getMessage()
        self._show(f"{time.monotonic() - self._started:7.1f} s  {message}")


class _JsonLines(logging.Handler):
    """Write what is not an event as JSON. An event of a stage has been written already."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        if not hasattr(record, "event"):
            now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
            write_line({"time": now, "level": record.levelname, "message": record.getMessage()})


@contextmanager
def showing(out: TextIO, feed: Feed) -> Iterator[None]:
    """Show on `out` what the runs of `feed` in this process do until the block ends."""
    if writes_json():
        with _handling(_JsonLines()):
            yield
    elif out.isatty():
        # Dagster captures standard output during a run, so keep a way to the terminal.
        with os.fdopen(os.dup(out.fileno()), "w", encoding="utf-8") as terminal, _bars(Console(file=terminal), feed):
            yield
    else:

        def show(line: str) -> None:
            out.write(f"{line}\n")
            out.flush()

        with _handling(_Lines(feed, show, shows_progress=True)):
            yield


@contextmanager
def _bars(console: Console, feed: Feed) -> Iterator[None]:
    def show(line: str) -> None:
        console.print(Text(line), soft_wrap=True)

    live = Live(
        get_renderable=lambda: _table(feed),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live, _handling(_Lines(feed, show, shows_progress=False)):
        yield


def _table(feed: Feed) -> Table:
    table = Table.grid(padding=(0, 1))
    for stage in progress.active():
        share = stage.share
        bar = ProgressBar(total=None if share is None else 1.0, completed=share or 0.0, width=20)
        table.add_row(Text(without_prefix(feed, stage.name)), bar, Text(stage.in_words(), no_wrap=True))
    return table


@contextmanager
def _handling(handler: logging.Handler) -> Iterator[None]:
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)


def write_summary(out: TextIO, text: str) -> None:
    """Write the summary of a run to `out`, with colors if it is a terminal that wants them."""
    if not out.isatty():
        out.write(text)
        return
    console = Console(file=out)
    for line in text.splitlines():
        first, *_ = line.split(maxsplit=1) or [""]
        console.print(Text(line, style=STYLES.get(first, "")), soft_wrap=True)
