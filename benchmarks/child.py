"""Run one measured function in this process: `python -m benchmarks.child MODULE:FUNCTION JSON`.

A function takes a `Timer` and the keywords in the JSON, and returns something JSON-serializable. Only what it does
inside `with timer` is timed, so imports and preparation do not count. Without arguments, the process reads calls from
stdin, one per line, so that preparations and comparisons share one interpreter. `measure.py` starts these processes.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Timer:
    """Sum of the seconds spent inside `with timer():`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


def call(name: str, keywords: dict[str, Any]) -> str:
    """Call MODULE:FUNCTION and return its result as one line of JSON."""
    module, _, function = name.partition(":")
    timer = Timer()
    result = getattr(importlib.import_module(module), function)(timer, **keywords)
    return json.dumps({"seconds": timer.seconds, "result": result})


def main() -> None:
    """Call the function named in the arguments or on stdin; the last line of stdout is the result."""
    if len(sys.argv) > 1:
        sys.stdout.write(f"\n{call(sys.argv[1], json.loads(sys.argv[2]))}\n")
        return
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        name, keywords = json.loads(line)
        answers.write(f"{call(name, keywords)}\n")
        answers.flush()


if __name__ == "__main__":
    main()
