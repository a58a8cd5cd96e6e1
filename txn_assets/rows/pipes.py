"""Connect streams of Python to what reads or writes a path, with nothing on disk.

DuckDB reads and writes paths. It opens the end of a pipe by its path, and the other end is a stream.
"""

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class Output:
    """What a function writes to a pipe, to be read while it writes."""

    def __init__(self, pipe: BinaryIO, writing: Future[None]) -> None:
        self._pipe = pipe
        self._writing = writing

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, and fewer only at the end.

        Raises:
            Exception: what the function raised. Its bytes end there too, so nobody takes them for all.
        """
        data = self._pipe.read(size)
        if len(data) < size:
            self._writing.result()
        return data


@contextmanager
def output_of(write: Callable[[Path], object]) -> Iterator[Output]:
    """Yield what `write` writes to the path that it gets. At the end of the block its next write fails."""
    source, sink = os.pipe()

    def run() -> None:
        try:
            write(_path(sink))
        finally:
            os.close(sink)

    with ThreadPoolExecutor(1) as pool, os.fdopen(source, "rb") as pipe:
        yield Output(pipe, pool.submit(run))


def read_input[T](fill: Callable[[BinaryIO], object], read: Callable[[bytes, Path], T]) -> T:
    """Return what `read` makes of the text that `fill` writes; it gets the first line, and the path of the others.

    Raises:
        Exception: what `fill` raised; `read` did not get all of the text.
    """
    source, sink = os.pipe()

    def run() -> None:
        with os.fdopen(sink, "wb") as pipe:
            fill(pipe)

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(run)
        try:
            # Without a buffer, so that it reads nothing beyond the line.
            return read(io.FileIO(source, closefd=False).readline(), _path(source))
        finally:
            os.close(source)
            error = filling.exception()
            # A reader that failed has closed its end.
            if error and not isinstance(error, BrokenPipeError):
                raise error


def _path(descriptor: int) -> Path:
    return Path(f"/dev/fd/{descriptor}")
