"""`make fuzz MINUTES=10`: examine inputs until the time is up, and print what was found."""

import argparse
import hashlib
import itertools
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from txn_assets.environment import txn_home
from txn_assets_tests.fuzz.corpus import forms
from txn_assets_tests.fuzz.examination import COUNTED, REFUSED, examine
from txn_assets_tests.fuzz.generation import Input, inputs
from txn_assets_tests.fuzz.watching import FAULTS, Examine, Result, Watched


def fuzz(
    tried: Iterable[Input], folder: Path, *, examine: Examine = examine, seconds: float = 60.0
) -> Iterator[tuple[Input, Result]]:
    """Examine the inputs in a watched process and yield the results; write those with a fault to `folder`."""
    with closing(Watched(examine, seconds=seconds)) as watched:
        for one in tried:
            result = watched.examine(one.form, one.data)
            if result.kind in FAULTS:
                _report(one, result, folder)
            yield one, result


def _report(one: Input, result: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(one.data).hexdigest()[:16]}.csv"
    path.write_bytes(one.data)
    last = result.detail.strip().splitlines()[-1]
    _write(f"{result.kind}: {last[:500]}")
    _write(f"  again: .venv/bin/python -m txn_assets_tests.fuzz --form '{one.form}' {path}")


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _until(end: float, found: Iterator[Input]) -> Iterator[Input]:
    return itertools.takewhile(lambda _: time.monotonic() < end, found)


def _again(path: Path, form: str) -> int:
    with closing(Watched(examine)) as watched:
        result = watched.examine(form, path.read_bytes())
    _write(f"{result.kind}, peak {result.peak_bytes >> 20:,} MiB\n{result.detail}")
    return int(result.kind in FAULTS)


def main() -> int:
    """Fuzz for `--minutes`, or examine one file again. Return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m txn_assets_tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--form", choices=list(forms()), default="transactions")
    parser.add_argument("file", type=Path, nargs="?", help="a file that was found, to examine it again")
    arguments = parser.parse_args()
    if arguments.file:
        return _again(arguments.file, arguments.form)
    start = secrets.randbits(32) if arguments.seed is None else arguments.seed
    begun = time.monotonic()
    kinds: Counter[str] = Counter()
    peak = size = 0
    for one, result in fuzz(_until(begun + 60 * arguments.minutes, inputs(start)), txn_home() / "fuzz"):
        kinds[result.kind] += 1
        peak, size = max(peak, result.peak_bytes), size + len(one.data)
    lines = {
        "inputs tried": kinds.total(),
        "  all rows accounted for": kinds[COUNTED],
        "  refused with a sentence": kinds[REFUSED],
        **{fault: kinds[fault] for fault in FAULTS},
        "bytes tried": size,
        "peak memory in MiB": peak >> 20,
        "seconds": round(time.monotonic() - begun),
        "seed": start,
    }
    for name, value in lines.items():
        _write(f"{name:<40} {value:>14}" if name == "seed" else f"{name:<40} {value:>14,}")
    return int(any(kinds[fault] for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
