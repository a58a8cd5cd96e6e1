"""Compare this commit's ratios with those of the last release: `make bench-guard`, before a release.

A ratio that is worse by more than `TOLERANCE` in each of `ROUNDS` rounds fails. A round measures only the points that
were worse in the one before, so most of the time there is only one. `make bench KEEP=1` writes the ratios of a release.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.bench import DifferenceError, TooLargeError, open_bench
from benchmarks.measure import ChildError
from benchmarks.points import POINTS
from benchmarks.results import Line, say

TOLERANCE = 1.15
"""How much worse a ratio may be than at the last release: single rounds differ by a tenth on a quiet machine."""

ROUNDS = 3
ROWS = 1_000_000
RELEASE = Path(__file__).with_name("release.json")


def slowdown(line: Line, released: float) -> float:
    """Return how many times worse the ratio of `line` is than `released`, its ratio at the last release."""
    return released / line.ratio if line.wanted.startswith(">=") else line.ratio / released


def worse(lines: Iterable[Line], release: Mapping[str, float]) -> dict[str, float]:
    """Return by how much each line is worse than in `release`, if it is worse by more than `TOLERANCE`.

    A line that the last release did not have has nothing to be compared with, and neither has the difference of two
    import times, which is near zero.
    """
    found = {line.what: slowdown(line, release[line.what]) for line in lines if release.get(line.what, 0) > 0}
    return {what: factor for what, factor in found.items() if factor > TOLERANCE and "difference" not in what}


def main() -> int:
    """Measure and compare; return 1 if a ratio is worse in every round."""
    try:
        release: dict[str, float] = json.loads(RELEASE.read_text())
        return compare(release, lambda point: measure(_needed(point)))
    except (ChildError, DifferenceError, TooLargeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def keep(lines: Iterable[Line], path: Path = RELEASE) -> None:
    """Write the ratios of `lines` that have a target to `path`, which belongs to the commit of a release."""
    ratios = {line.what: round(line.ratio, 3) for line in lines if line.wanted}
    path.write_text(json.dumps(ratios, indent=1) + "\n")


def compare(release: Mapping[str, float], measure_point: Callable[[str], Sequence[Line]]) -> int:
    """Compare up to `ROUNDS` rounds with the ratios in `release`; return 1 if a ratio is worse in every round."""
    points, suspects = list(POINTS), dict(release)
    for number in range(1, ROUNDS + 1):
        found = {point: worse(measure_point(point), suspects) for point in points}
        slow = {what: factor for of_point in found.values() for what, factor in of_point.items()}
        for what, factor in slow.items():
            say(f"round {number}: {what}: {factor:.2f} times worse than at the release")
        if not slow:
            say(f"No ratio is worse than at the release by more than {TOLERANCE - 1:.0%} in every round.")
            return 0
        points = [point for point, of_point in found.items() if of_point]
        suspects = {what: release[what] for what in slow}
    say(f"{len(suspects)} ratios are worse than at the release by more than {TOLERANCE - 1:.0%} in {ROUNDS} rounds.")
    return 1


def measure(points: Sequence[str]) -> list[Line]:
    """Measure `points` once."""
    with open_bench(ROWS, rounds=1) as bench:
        for point in points:
            say(f"{point} ...")
            POINTS[point](bench)
        return bench.results.lines


def _needed(point: str) -> Sequence[str]:
    """Return what to measure for `point`: whole runs need the empty run of the small ones."""
    return ("small_runs", point) if point == "whole_runs" else (point,)


if __name__ == "__main__":
    sys.exit(main())
