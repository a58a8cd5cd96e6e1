"""Run processes in alternating rounds and report medians, ratios and peak memory.

What the processes run is defined elsewhere. Import nothing large here: on Linux, a child's peak memory counts from the
fork, so it would start at this process's. The rules are in docs/performance.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class ChildError(Exception):
    """A benchmark process failed; the message is the end of its output."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one process.

    Attributes:
        seconds: time that the process measured itself; for a program, from start to exit.
        wall: time from the start of the process to its exit.
        peak_mib: peak resident memory as the kernel counts it.
        result: what the process returned.
    """

    seconds: float
    wall: float
    peak_mib: float
    result: Any = None


@dataclass(frozen=True, slots=True)
class Median:
    """Summary of several measurements of the same thing; `scaled` if the seconds were scaled up to more rows."""

    seconds: float
    peak_mib: float
    scaled: bool = False

    @classmethod
    def of(cls, measurements: Sequence[Measurement]) -> "Median":
        """Return the median times and the highest peak."""
        return cls(statistics.median(m.seconds for m in measurements), max(m.peak_mib for m in measurements))


def program(arguments: Sequence[str], *, environ: Mapping[str, str] | None = None) -> Measurement:
    """Run a program; both times are from start to exit.

    Raises:
        ChildError: the program failed.
    """
    measurement, _ = _run(arguments, environ or {})
    return measurement


def function(name: str, *, python: str = sys.executable, **keywords: Any) -> Measurement:
    """Run a benchmark function in a separate process, of this environment or of that of `python`; see `child.py`.

    Raises:
        ChildError: the function failed.
    """
    measurement, out = _run([python, "-m", "benchmarks.child", name, json.dumps(keywords)], {})
    answer = json.loads(out.rstrip().rpartition("\n")[2])
    return Measurement(answer["seconds"], measurement.wall, measurement.peak_mib, answer["result"])


class Helper:
    """A long-lived process for untimed preparation and comparison, so that this process stays small; see `child.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, name: str, **keywords: Any) -> Any:
        """Return the result of a benchmark function.

        Raises:
            ChildError: the function failed; the reason is on stderr.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([name, keywords]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            msg = f"{name} failed"
            raise ChildError(msg)
        return json.loads(answer)["result"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def in_turn(rounds: int, **candidates: Callable[[int], Measurement]) -> dict[str, Median]:
    """Run each candidate once per round, passing it the number of the round."""
    taken: dict[str, list[Measurement]] = {name: [] for name in candidates}
    for number in range(rounds):
        # Rotate the order so that no candidate always runs right after the same one.
        order = list(candidates.items())
        for name, run in order if number % 2 == 0 else reversed(order):
            taken[name].append(run(number))
    return {name: Median.of(measurements) for name, measurements in taken.items()}


def _run(arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[Measurement, str]:
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(
            arguments, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, **environ}
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode(errors="replace")
    if process.returncode:
        message = f"{' '.join(arguments)[:300]}: exit code {process.returncode}\n{text[-3000:]}"
        raise ChildError(message)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Measurement(seconds, seconds, usage.ru_maxrss / unit), text
