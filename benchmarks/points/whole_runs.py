"""Point 4: whole runs from process start to exit, against dlt and the row loop."""

import shutil
import sys

from benchmarks.bench import PEER_ROWS, STORES, Bench
from benchmarks.measure import Measurement, Median, function, in_turn, program
from benchmarks.results import Dot


def measure(bench: Bench) -> None:
    """Measure our run, and the peers at two sizes so that their start-up time is not scaled with the rows."""
    rows, few = min(bench.rows, 1_000_000), min(bench.rows, PEER_ROWS)
    taken = in_turn(
        bench.rounds,
        ours=lambda _: make_run(bench, rows),
        dlt=lambda _: _dlt(bench, few),
        loop=lambda _: _row_loop(bench, few),
    )
    fewer = few // 10
    start = in_turn(1, dlt=lambda _: _dlt(bench, fewer), loop=lambda _: _row_loop(bench, fewer))
    ours = taken["ours"]
    dlt, loop = (_extrapolated((fewer, start[who]), (few, taken[who]), rows) for who in ("dlt", "loop"))
    bench.results.faster(4, f"whole run of {rows:,} rows, three stores; dlt, PostgreSQL alone", ours, dlt, 5)
    net = Median(max(ours.seconds - bench.empty_run_seconds, 1e-3), ours.peak_mib)
    bench.results.faster(4, "whole run less an empty run; row loop, three stores", net, loop, 20)
    for who, name in (("dlt", "dlt"), ("row loop", "loop")):
        for count, median in ((fewer, start[name]), (few, taken[name])):
            bench.results.dots.append(Dot(who, count, median.seconds, median.peak_mib))
    bench.results.notes.append(f"dlt measured: {taken['dlt'].seconds:.1f} s for {few:,} rows.")
    bench.results.notes.append(f"Row loop measured: {taken['loop'].seconds:.1f} s for {few:,} rows.")


def make_run(bench: Bench, rows: int) -> Measurement:
    """Run what `make run` runs, then compare the stores."""
    with bench.names() as (config, _postgres):
        command = [sys.executable, "-m", "txn_assets.run", bench.file(rows)]
        # Without a DAGSTER_HOME, the run uses the instance of the local stack.
        measurement = program(command, environ={"TXN_CONFIG": config, "DAGSTER_HOME": ""})
        bench.check(config, bench.expected(rows), STORES)
    return measurement


def _dlt(bench: Bench, rows: int) -> Measurement:
    with bench.names() as (config, postgres):
        schema = f"{postgres['schema']}_dlt"
        folder = bench.home / "dlt"
        measurement = function(
            "benchmarks.peers.dlt_pipeline:load",
            path=bench.file(rows),
            dsn=postgres["dsn"],
            schema=schema,
            folder=str(folder),
        )
        bench.check(config, bench.expected(rows), ["postgres"], table=f"{schema}.transactions", hashed=False)
        shutil.rmtree(folder)
    return _from_start_to_exit(measurement)


def _row_loop(bench: Bench, rows: int) -> Measurement:
    with bench.names() as (config, _postgres):
        measurement = function("benchmarks.peers.row_loop:whole_run", path=bench.file(rows), config=config)
        bench.check(config, bench.expected(rows), STORES)
    return _from_start_to_exit(measurement)


def _from_start_to_exit(measurement: Measurement) -> Measurement:
    return Measurement(measurement.wall, measurement.wall, measurement.peak_mib, measurement.result)


def _extrapolated(small: tuple[int, Median], large: tuple[int, Median], rows: int) -> Median:
    """Return the expected time for `rows` rows: process start counted once, time per row scaled by the rows."""
    (few, short), (more, long) = small, large
    if rows <= more:
        return long
    a_row = (long.seconds - short.seconds) / (more - few)
    return Median(long.seconds + a_row * (rows - more), long.peak_mib, scaled=True)
