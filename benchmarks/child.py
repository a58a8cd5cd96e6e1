"""`python -m benchmarks.child MODULE:FUNCTION JSON`: one measured process; without arguments, one that helps out.

Here belongs how a measured function is called and answers. What it does is its module's. A function takes a `Timer` and
the keywords in the JSON; what it does `with timer` is timed, so that neither imports nor preparations count. It returns
what can be written as JSON. Without arguments, calls are read from stdin, one a line: preparations and comparisons
then share one interpreter. `measure.py` starts these processes.
"""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Timer:
    """Adds up the seconds spent within `with timer():`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Times a block."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


def call(name: str, keywords: dict[str, Any]) -> str:
    """Calls MODULE:FUNCTION; its answer in one line."""
    module, _, function = name.partition(":")
    timer = Timer()
    result = getattr(importlib.import_module(module), function)(timer, **keywords)
    return json.dumps({"seconds": timer.seconds, "result": result})


def main() -> None:
    """Calls what the arguments name, or what stdin names; the last line of stdout is the answer."""
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
