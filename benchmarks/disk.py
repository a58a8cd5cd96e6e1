"""Peak disk use of folders while something else runs."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 0.05
"""Time between two looks."""


@dataclass
class Peak:
    """The most bytes on disk that a look has found."""

    size: int = 0


@contextmanager
def watched(folder: Path) -> Iterator[Peak]:
    """Yield the peak disk use of `folder`, which need not exist yet, until the end of the block."""
    peak, end = Peak(), threading.Event()

    def watch() -> None:
        pause = 0.0
        while not end.wait(pause):
            started = time.monotonic()
            peak.size = max(peak.size, _used(folder))
            # A folder with many files takes longer: look less often, so that the run has the cores.
            pause = max(SECONDS, 20 * (time.monotonic() - started))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        end.set()
        thread.join()


def _used(folder: Path) -> int:
    """Return the bytes that the files in `folder` take up, without those that vanish meanwhile."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118 - a Path for each would take longer than the look
            except FileNotFoundError:
                continue
    return size
