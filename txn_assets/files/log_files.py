"""Log files that several processes append to, with a limit on what they take of the disk.

Every line is written whole: a process holds a lock while it looks at the size, renames what is full, and appends with
one call. `logging.handlers.RotatingFileHandler` would go on writing to a file that another process has renamed.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 4 << 20
"""Size from which a log file is renamed."""

KEPT = 4
"""Number of renamed log files: `txn.log.1` is the newest of them."""


@dataclass(frozen=True)
class LogFile:
    """A log file at `path`, readable by its owner alone."""

    path: Path
    max_bytes: int = MAX_BYTES

    def append(self, text: str) -> None:
        """Append `text`, which ends in a line break; rename the files first if it no longer fits.

        Raises:
            OSError: the file cannot be written.
        """
        data = text.encode("utf-8", "backslashreplace")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            with contextlib.suppress(FileNotFoundError):
                size = self.path.stat().st_size
                if size and size + len(data) > self.max_bytes:
                    self._rename()
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)

    def _rename(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).rename(self._numbered(number + 1))
        self.path.rename(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the file, which is a file of its own because this one is renamed."""
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
