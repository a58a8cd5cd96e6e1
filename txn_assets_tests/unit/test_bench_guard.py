"""The guard of the benchmark: which ratios are worse than at the last release, and when that is a failure."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.guard import ROUNDS, compare, keep, worse
from benchmarks.measure import Median
from benchmarks.points import POINTS
from benchmarks.report import table
from benchmarks.results import Line, Results

SLOWER, FASTER = "ours; a peer", "ours; a slow peer"
RELEASE = {SLOWER: 1.0, FASTER: 10.0}


def make_line(what: str, ratio: float) -> Line:
    """Return a line of the table, whose target is in its name."""
    wanted = ">= 5 times faster" if what == FASTER else "<= 1.5"
    return Line(1, what, "1 s", "1 s", ratio, wanted, reached=True)


@pytest.mark.parametrize(
    ("what", "ratio", "factor"),
    [(SLOWER, 1.14, None), (SLOWER, 1.2, 1.2), (SLOWER, 0.5, None), (FASTER, 9.0, None), (FASTER, 5.0, 2.0)],
)
def test_worse(what: str, ratio: float, factor: float | None) -> None:
    """A ratio to a peer gets worse by growing, and a factor by which a peer is slower by shrinking."""
    assert worse([make_line(what, ratio)], RELEASE) == ({what: factor} if factor else {})


def test_lines_without_a_release() -> None:
    """A new line is not worse than anything, and neither is a difference of import times."""
    difference = "import (the ratio column is the difference in seconds)"
    assert worse([make_line("new", 9.0), make_line(difference, 9.0)], {difference: 0.1}) == {}


def test_lines_without_a_target(tmp_path: Path) -> None:
    """A line for information is in the table, neither reached nor missed, and not among the ratios of a release."""
    results, ours, peer = Results(), Median(3.0, 1), Median(2.0, 1)
    results.inform(4, "for information", ours, peer)
    results.at_most(4, "with a target", ours, peer, 1.0)
    keep(results.lines, tmp_path / "release.json")
    assert json.loads((tmp_path / "release.json").read_text()) == {"with a target": 1.5}
    assert table(results.lines).endswith(
        "| 4 | for information | 3.00 s | 2.00 s | 1.50 |  |  |\n"
        "| 4 | with a target | 3.00 s | 2.00 s | 1.50 | <= 1.0 | no |\n"
    )


@pytest.mark.parametrize(("rounds", "code"), [([2.0] * ROUNDS, 1), ([2.0, 1.0], 0), ([2.0, 2.0, 1.0], 0), ([1.0], 0)])
def test_only_every_round_counts(rounds: Sequence[float], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A ratio fails if it is worse in all rounds; a round measures only the points that were worse before."""
    measured: list[str] = []

    def measure(point: str) -> list[Line]:
        measured.append(point)
        return [make_line(SLOWER, rounds[measured.count(point) - 1])] if point == "sinks" else [make_line(FASTER, 10)]

    assert compare(RELEASE, measure) == code
    assert len(measured) == len(POINTS) + len(rounds) - 1
    assert ("2.00 times worse" in capsys.readouterr().out) is (rounds[0] > 1)
