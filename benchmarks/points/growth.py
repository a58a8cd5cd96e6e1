"""Points 6 and 7: seconds per row and peak memory of a whole run, from 10,000 rows to the largest file."""

from benchmarks.bench import Bench
from benchmarks.measure import in_turn
from benchmarks.points.whole_runs import make_run
from benchmarks.results import Dot, Line, say


def measure(bench: Bench) -> None:
    """Measure a whole run at each size."""
    results = bench.results
    sizes = sorted({bench.largest, *(10**power for power in range(4, 9) if 10**power <= bench.largest)})
    for rows in sizes:
        median = in_turn(bench.rounds_for(rows), ours=lambda _, rows=rows: make_run(bench, rows))["ours"]  # type: ignore[misc]  # bound now
        results.dots.append(Dot("ours", rows, median.seconds, median.peak_mib))
        say(f"  {rows:>11,} rows {median.seconds:8.1f} s {median.peak_mib:6.0f} MiB")
        if rows > 1_000_000:
            base, large = (next(d for d in results.dots if d.who == "ours" and d.rows == n) for n in (1_000_000, rows))
            results.lines.append(_flat(base, large))
    peak = max(dot.peak_mib for dot in results.dots if dot.who == "ours")
    what = f"peak memory of the run, up to {sizes[-1]:,} rows; 1 GiB (MiB)"
    results.lines.append(Line(6, what, f"{peak:.0f}", "1024", peak / 1024, "< 1.0", peak < 1024))


def _flat(base: Dot, large: Dot) -> Line:
    ours, peer = (dot.seconds / dot.rows * 1e6 for dot in (large, base))
    what = f"microseconds a row at {large.rows:,} rows; at {base.rows:,}"
    return Line(6, what, f"{ours:.1f}", f"{peer:.1f}", ours / peer, "<= 1.15", ours <= 1.15 * peer)
