"""How far a stage has come with a file: counted per block by the code that reads and loads, shown by the shell.

The code that does the work calls `count_rows`, `count_bytes` and `say`, which do nothing unless somebody follows the
stage in the same thread with `following`. `defs/events.py` turns what they say into lines, and `run.py` into a display.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

FIRST_SECONDS, MOST_SECONDS = 5.0, 15.0
"""Seconds between two reports on a stage: few at first, more when it has taken long, so that a log stays short."""


@dataclass
class Stage:
    """What a stage has done so far.

    Attributes:
        name: the asset.
        file: the landed file, or how many files the stage works on.
        size: bytes to read; None if the stage does not read the landed file.
        rows: rows to process; None while unknown.
        spent: seconds by what the stage was doing, as far as it said so.
    """

    name: str
    file: str
    size: int | None = None
    rows: int | None = None

    done_bytes: int = field(default=0, init=False)
    done_rows: int = field(default=0, init=False)
    doing: str = field(default="", init=False)
    spent: dict[str, float] = field(default_factory=dict, init=False)
    started: float = field(default_factory=time.monotonic, init=False)
    _since: float = field(default=0.0, init=False)

    @property
    def seconds(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.started

    @property
    def share(self) -> float | None:
        """The share of the file that is done, from 0 to 1; None if it is unknown."""
        done, total = (self.done_bytes, self.size) if self.size else (self.done_rows, self.rows)
        return min(done / total, 1.0) if total else None

    @property
    def rows_per_second(self) -> float:
        """Rows processed per second so far."""
        return self.done_rows / max(self.seconds, 1e-9)

    def say(self, doing: str) -> None:
        """Note what the stage is doing from now on."""
        now = time.monotonic()
        if self.doing:
            self.spent[self.doing] = self.spent.get(self.doing, 0.0) + now - self._since
        self.doing, self._since = doing, now

    def in_words(self) -> str:
        """Return percent, rows and rows per second as far as they are known, and what is being done."""
        percent = f"{self.share:.0%}" if self.share is not None and (self.done_rows or self.done_bytes) else ""
        rows = f"{self.done_rows:,} rows, {self.rows_per_second:,.0f} per second" if self.done_rows else ""
        return ", ".join(part for part in (percent, rows, self.doing) if part) or "working"


_CURRENT: ContextVar[Stage | None] = ContextVar("stage", default=None)

_ACTIVE: list[Stage] = []
"""The stages of this process that are under way, oldest first; a list's own operations are safe between threads."""


def active() -> list[Stage]:
    """Return the stages of this process that are under way."""
    return list(_ACTIVE)


@contextlib.contextmanager
def following(stage: Stage, report: Callable[[Stage], None]) -> Iterator[Stage]:
    """Count what the block does towards `stage`, and call `report` every few seconds until it ends.

    `report` is called from another thread, because a stage may wait for a store for minutes.
    """
    ended = threading.Event()
    token = _CURRENT.set(stage)
    _ACTIVE.append(stage)
    reporter = threading.Thread(target=_report, args=(stage, report, ended), name="progress", daemon=True)
    reporter.start()
    try:
        yield stage
    finally:
        stage.say("")
        ended.set()
        reporter.join()
        _ACTIVE.remove(stage)
        _CURRENT.reset(token)


def _report(stage: Stage, report: Callable[[Stage], None], ended: threading.Event) -> None:
    while not ended.wait(min(max(FIRST_SECONDS, stage.seconds / 10), MOST_SECONDS)):
        report(stage)


def count_bytes(count: int) -> None:
    """Note that `count` more bytes of the landed file were read."""
    if stage := _CURRENT.get():
        stage.done_bytes += count


def count_rows(count: int) -> None:
    """Note that `count` more rows were processed."""
    if stage := _CURRENT.get():
        stage.done_rows += count


def say(doing: str) -> None:
    """Note what the stage is doing now."""
    if stage := _CURRENT.get():
        stage.say(doing)


@contextlib.contextmanager
def aside(doing: str) -> Iterator[None]:
    """Note what the stage is doing during the block; after it, the stage does again what it did before."""
    stage = _CURRENT.get()
    before = stage.doing if stage else ""
    say(doing)
    try:
        yield
    finally:
        say(before)


class _Batch(Protocol):
    @property
    def num_rows(self) -> int: ...


def counted[BatchT: _Batch](batches: Iterable[BatchT]) -> Iterator[BatchT]:
    """Yield `batches`, and count their rows as they are used.

    Whoever follows the stage when this is called hears of them, even if another thread takes the batches.
    """
    stage = _CURRENT.get()
    return _counted(batches, stage) if stage else iter(batches)


def _counted[BatchT: _Batch](batches: Iterable[BatchT], stage: Stage) -> Iterator[BatchT]:
    for batch in batches:
        yield batch
        stage.done_rows += batch.num_rows
