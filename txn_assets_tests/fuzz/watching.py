"""Run examinations in a process that is watched: its time, its memory, and whether it survives."""

import multiprocessing
import os
import resource
import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from txn_assets_tests.fuzz.examination import LostError, WordingError

SECONDS = 60.0
"""How long an input may take. Each takes a fraction of a second on an idle machine."""

MEMORY_BYTES = 1 << 30
"""How much memory the process may hold at its peak."""

_ADDRESS_SPACE = 16 << 30
"""What the process may reserve, so that a fault cannot take down the machine. Arrow and DuckDB reserve far more than
they use."""

CRASH, HANG, MEMORY, LOST, WORDING = "crash", "hang", "over 1 GiB", "rows lost", "not a sentence"
FAULTS = (CRASH, HANG, MEMORY, LOST, WORDING)

type Examine = Callable[[str, bytes, Path], str]
"""Examines a file of a form in a folder of its own, and returns what became of it."""


@dataclass(frozen=True)
class Result:
    """What became of an input: a word of the examination or one of `FAULTS`, details, and the peak of the memory."""

    kind: str
    detail: str = ""
    peak_bytes: int = 0


class Watched:
    """A process that examines one input after another, and is replaced when it dies or hangs."""

    def __init__(self, examine: Examine, *, seconds: float = SECONDS) -> None:
        self._examine = examine
        self._seconds = seconds
        self._process: multiprocessing.context.SpawnProcess | None = None
        self._connection: Connection | None = None

    def examine(self, form: str, data: bytes) -> Result:
        """Return what became of `data`, a file of `form`."""
        connection = self._started()
        connection.send((form, data))
        try:
            if not connection.poll(self._seconds):
                self.close()
                return Result(HANG, f"no result after {self._seconds:g} seconds")
            result: Result = connection.recv()
        except EOFError:
            assert self._process
            self._process.join()
            code = self._process.exitcode
            self.close()
            return Result(CRASH, f"the process ended with {code}")
        if result.peak_bytes > MEMORY_BYTES:
            self.close()
            return Result(MEMORY, f"the process held {result.peak_bytes >> 20:,} MiB", result.peak_bytes)
        return result

    def close(self) -> None:
        """End the process."""
        if self._process and self._connection:
            self._process.kill()
            self._process.join()
            self._connection.close()
        self._process = self._connection = None

    def _started(self) -> Connection:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs, self._examine), daemon=True)
            self._process.start()
            theirs.close()
            # The start takes seconds, and does not count for the first input.
            self._connection.recv()
        return self._connection


def _work(connection: Connection, examine: Examine) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    home = Path(tempfile.mkdtemp(prefix="txn-fuzz-"))
    # One folder for all inputs, so that DuckDB's database is created once.
    folder = home / "input"
    tempfile.tempdir = str(folder)
    connection.send("ready")
    try:
        while True:
            form, data = connection.recv()
            folder.mkdir()
            # Resets the peak; see proc(5).
            Path("/proc/self/clear_refs").write_text("5")
            kind, detail = _result_of(examine, form, data, folder)
            shutil.rmtree(folder)
            connection.send(Result(kind, detail, _peak_bytes()))
    except EOFError:
        shutil.rmtree(home, ignore_errors=True)
        os._exit(0)


def _result_of(examine: Examine, form: str, data: bytes, folder: Path) -> tuple[str, str]:
    try:
        return examine(form, data, folder), ""
    except LostError:
        return LOST, traceback.format_exc()
    except WordingError:
        return WORDING, traceback.format_exc()
    except BaseException:  # noqa: BLE001 - whatever it is, it is what is looked for
        # An error that no caller expects ends the run without a sentence.
        return CRASH, traceback.format_exc()


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(peak) << 10
