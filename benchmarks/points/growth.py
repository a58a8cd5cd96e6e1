"""Point 6: seconds per row, peak memory and peak disk use of a whole run, from 10,000 rows to the largest file."""

from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.disk import watched
from benchmarks.measure import in_turn
from benchmarks.points.whole_runs import make_run
from benchmarks.results import Dot, Line, say
from txn_assets.files.scratch_space import SCRATCH_FACTOR


def measure(bench: Bench) -> None:
    """Measure a whole run at each size."""
    results = bench.results
    sizes = sorted({bench.largest, *(10**power for power in range(4, 9) if 10**power <= bench.largest)})
    for rows in sizes:
        landed = Path(bench.file(rows)).stat().st_size
        with watched(bench.home) as disk, watched(bench.home / "scratch") as scratch:
            median = in_turn(bench.rounds_for(rows), ours=lambda _, rows=rows: make_run(bench, rows))["ours"]  # type: ignore[misc]  # bound now
        results.dots.append(Dot("ours", rows, median.seconds, median.peak_mib))
        say(
            f"  {rows:>11,} rows {median.seconds:8.1f} s {median.peak_mib:6.0f} MiB, "
            f"{scratch.size / rows:.0f} bytes of scratch a row, {disk.size / rows:.0f} on disk in all"
        )
        if rows > 1_000_000:
            base, large = (next(d for d in results.dots if d.who == "ours" and d.rows == n) for n in (1_000_000, rows))
            results.lines.append(_flat(base, large))
    peak = max(dot.peak_mib for dot in results.dots if dot.who == "ours")
    what = f"peak memory of the run, up to {sizes[-1]:,} rows; 1 GiB (MiB)"
    results.lines.append(Line(6, what, f"{peak:.0f}", "1024", peak / 1024, "< 1.0", peak < 1024))
    # Of the largest file, because a small one has blocks and a header that no row needs.
    results.lines.append(_scratch(scratch.size, landed, rows))
    results.notes.append(f"Peak scratch bytes a row, at {rows:,} rows: {scratch.size / rows:.0f}.")


def _scratch(peak: int, landed: int, rows: int) -> Line:
    reserved = SCRATCH_FACTOR * landed
    what = f"peak scratch of the run at {rows:,} rows; what it asks for (bytes a row)"
    return Line(6, what, f"{peak / rows:.0f}", f"{reserved / rows:.0f}", peak / reserved, "<= 1.0", peak <= reserved)


def _flat(base: Dot, large: Dot) -> Line:
    ours, peer = (dot.seconds / dot.rows * 1e6 for dot in (large, base))
    what = f"microseconds a row at {large.rows:,} rows; at {base.rows:,}"
    return Line(6, what, f"{ours:.1f}", f"{peer:.1f}", ours / peer, "<= 1.15", ours <= 1.15 * peer)
