"""Results of a benchmark: lines of the table, dots of the plot, and notes.

A line compares a ratio with the target of its point. Output is in `report.py` and `plot.py`.
"""

import sys
from dataclasses import dataclass, field

from benchmarks.measure import Median


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: `ours` and `peer` are seconds (or MiB); `ratio` is compared with `wanted`.

    `wanted` is empty if the line is for information only.
    """

    point: int
    what: str
    ours: str
    peer: str
    ratio: float
    wanted: str
    reached: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A dot in the plot."""

    who: str
    rows: int
    seconds: float
    peak_mib: float


@dataclass
class Results:
    """What has been measured so far."""

    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def at_most(self, point: int, what: str, ours: Median, peer: Median, limit: float) -> None:
        """Add a line whose target is at most `limit` times the peer's seconds."""
        ratio = ours.seconds / peer.seconds
        self._add(point, what, ours, peer, ratio=ratio, wanted=f"<= {limit}", reached=ratio <= limit)

    def faster(self, point: int, what: str, ours: Median, peer: Median, factor: float) -> None:
        """Add a line whose target is to be at least `factor` times faster than the peer."""
        ratio = peer.seconds / ours.seconds
        self._add(point, what, ours, peer, ratio=ratio, wanted=f">= {factor} times faster", reached=ratio >= factor)

    def inform(self, point: int, what: str, ours: Median, peer: Median) -> None:
        """Add a line for information, whose ratio has no target."""
        self._add(point, what, ours, peer, ratio=ours.seconds / peer.seconds, wanted="", reached=False)

    def _add(  # noqa: PLR0913 - the columns of the table
        self, point: int, what: str, ours: Median, peer: Median, *, ratio: float, wanted: str, reached: bool
    ) -> None:
        scaled = " scaled" if peer.scaled else ""
        line = Line(
            point, what, show_seconds(ours.seconds), show_seconds(peer.seconds) + scaled, ratio, wanted, reached
        )
        self.lines.append(line)
        say(f"  {line.what}: {line.ours} against {line.peer}, ratio {ratio:.2f}, wanted {wanted or 'nothing'}")


def show_seconds(seconds: float) -> str:
    """Return the time as the table shows it."""
    return f"{seconds:.2f} s"


def say(text: str) -> None:
    """Print a line at once, for people who watch a long benchmark."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
