"""Point 4: whole runs from process start to exit, against dlt, DuckDB and the row loop."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import PEER_ROWS, STORES, Bench
from benchmarks.measure import Measurement, Median, function, in_turn, program
from benchmarks.results import Dot, say

DUCKDB_PYTHON = Path(".venv-bench-duckdb/bin/python")
"""The Python that has DuckDB's PostgreSQL extension."""


def measure(bench: Bench) -> None:
    """Measure our run, and the slow peers at two sizes so that their start-up time is not scaled with the rows."""
    rows, few = min(bench.rows, 1_000_000), min(bench.rows, PEER_ROWS)
    fast = {"merge": lambda number: _dlt_merge(bench, rows, again=number == 0)}
    if DUCKDB_PYTHON.exists():
        fast["duckdb"] = lambda number: _duckdb(bench, rows, again=number == 0)
    else:
        say("DuckDB's PostgreSQL extension is left out: `make bench` installs it into .venv-bench-duckdb")
    taken = in_turn(
        bench.rounds,
        ours=lambda _: make_run(bench, rows),
        dlt=lambda _: _dlt_append(bench, few),
        loop=lambda _: _row_loop(bench, few),
        **fast,
    )
    fewer = few // 10
    start = in_turn(1, dlt=lambda _: _dlt_append(bench, fewer), loop=lambda _: _row_loop(bench, fewer))
    ours = taken["ours"]
    dlt, loop = (_extrapolated((fewer, start[who]), (few, taken[who]), rows) for who in ("dlt", "loop"))
    what = f"whole run of {rows:,} rows, three stores;"
    bench.results.faster(4, f"{what} dlt appending rows, PostgreSQL alone", ours, dlt, 5)
    net = Median(max(ours.seconds - bench.empty_run_seconds, 1e-3), ours.peak_mib)
    bench.results.faster(4, "whole run less an empty run; row loop, three stores", net, loop, 20)
    for name, peer in (("merge", "dlt merging Arrow tables"), ("duckdb", "DuckDB's PostgreSQL extension")):
        if name in taken:
            bench.results.inform(4, f"{what} {peer}, PostgreSQL alone", ours, taken[name])
            bench.results.dots.append(Dot(peer, rows, taken[name].seconds, taken[name].peak_mib))
    for who, name in (("dlt appending rows", "dlt"), ("row loop", "loop")):
        for count, median in ((fewer, start[name]), (few, taken[name])):
            bench.results.dots.append(Dot(who, count, median.seconds, median.peak_mib))
    bench.results.notes.append(f"dlt appending rows measured: {taken['dlt'].seconds:.1f} s for {few:,} rows.")
    bench.results.notes.append(f"Row loop measured: {taken['loop'].seconds:.1f} s for {few:,} rows.")


def make_run(bench: Bench, rows: int) -> Measurement:
    """Run what `make run` runs, then compare the stores."""
    with bench.names() as (config, _postgres):
        command = [sys.executable, "-m", "txn_assets.run", bench.file(rows)]
        # Without a DAGSTER_HOME, the run uses the instance of the local stack.
        measurement = program(command, environ={"TXN_CONFIG": config, "DAGSTER_HOME": ""})
        bench.check(config, bench.expected(rows), STORES)
    return measurement


def _dlt_append(bench: Bench, rows: int) -> Measurement:
    with bench.names() as (config, postgres):
        schema, folder = f"{postgres['schema']}_dlt", bench.home / "dlt"
        measurement = function(
            "benchmarks.peers.dlt_append:load",
            path=bench.file(rows),
            dsn=postgres["dsn"],
            schema=schema,
            folder=str(folder),
        )
        bench.check(config, bench.expected(rows), ["postgres"], table=f"{schema}.transactions", hashed=False)
        shutil.rmtree(folder)
    return _from_start_to_exit(measurement)


def _dlt_merge(bench: Bench, rows: int, *, again: bool) -> Measurement:
    with bench.names() as (config, postgres):
        schema, folder = f"{postgres['schema']}_dlt", bench.home / "dlt"

        def load() -> Measurement:
            measurement = function(
                "benchmarks.peers.dlt_merge:load",
                path=bench.file(rows),
                dsn=postgres["dsn"],
                schema=schema,
                folder=str(folder),
            )
            bench.check(config, bench.expected(rows), ["postgres"], table=f"{schema}.transactions")
            return measurement

        measurement = _replaced(load, again=again)
        shutil.rmtree(folder)
    return measurement


def _duckdb(bench: Bench, rows: int, *, again: bool) -> Measurement:
    with bench.names() as (config, postgres):

        def load() -> Measurement:
            measurement = function(
                "benchmarks.peers.duckdb_postgres:load",
                python=str(DUCKDB_PYTHON),
                path=bench.file(rows),
                folder=str(bench.home),
                **postgres,
            )
            bench.check(config, bench.expected(rows), ["postgres"])
            return measurement

        return _replaced(load, again=again)


def _replaced(load: Callable[[], Measurement], *, again: bool) -> Measurement:
    """Load once and return that time; load `again` to see that the rows are replaced and not doubled."""
    measurement = load()
    if again:
        load()
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
