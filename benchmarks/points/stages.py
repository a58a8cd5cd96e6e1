"""Point 1: validation and hashing to Parquet, against a bare DuckDB pass and row loops; with a key against without."""

import shutil
from typing import Any

from benchmarks.bench import PEER_ROWS, Bench, DifferenceError, compare
from benchmarks.data import EXCEL_FORMAT
from benchmarks.measure import Measurement, Median, function, in_turn


def measure(bench: Bench) -> None:
    """Measure a file with few bad rows, then one in which every row is bad."""
    few = min(bench.rows, PEER_ROWS)
    _mostly_valid(bench, few)
    _keyed(bench)
    _as_excel(bench)
    _all_bad(bench, few)


def _mostly_valid(bench: Bench, few: int) -> None:
    def run(name: str, rows: int) -> Measurement:
        path, expected = bench.file(rows), bench.expected(rows)
        folder = bench.home / "stages"
        measurement = function(name, path=path, folder=str(folder))
        compare("hashed.parquet", measurement.result[:4], expected)
        shutil.rmtree(folder)
        return measurement

    taken = in_turn(
        bench.rounds_for(bench.rows),
        ours=lambda _: run("benchmarks.ours:validate_and_hash", bench.rows),
        duckdb=lambda _: run("benchmarks.peers.duckdb_pass:run", bench.rows),
    )
    loop = in_turn(1, loop=lambda _: run("benchmarks.peers.row_loop:to_parquet", few))["loop"]
    ours, duckdb, loop = taken["ours"], taken["duckdb"], _scaled(loop, few, bench.rows)
    bench.results.at_most(1, "validate and hash, 1 % bad; bare DuckDB pass", ours, duckdb, 1.5)
    bench.results.faster(1, "validate and hash, 1 % bad; row loop", ours, loop, 40)


def _keyed(bench: Bench) -> None:
    path, folder = bench.file(bench.rows), str(bench.home / "stages")

    def run(key: str | None) -> Measurement:
        measurement = function("benchmarks.ours:validate_and_hash", path=path, folder=folder, key=key)
        # The fingerprint is about the hashes, which differ.
        compare("hashed.parquet", measurement.result[:3], bench.expected(bench.rows)[:3])
        return measurement

    taken = in_turn(bench.rounds_for(bench.rows), keyed=lambda _: run("k" * 32), plain=lambda _: run(None))
    what = "validate and hash, 1 % bad, keyed (hmac-sha256); the same with plain sha256"
    bench.results.at_most(1, what, taken["keyed"], taken["plain"], 1.5)


def _as_excel(bench: Bench) -> None:
    path = bench.excel_file(bench.rows)
    folder = str(bench.home / "stages")

    def run(**options: Any) -> Measurement:
        measurement = function("benchmarks.ours:validate_and_hash", folder=folder, **options)
        compare("hashed.parquet", measurement.result[:4], bench.expected(bench.rows))
        return measurement

    taken = in_turn(
        bench.rounds_for(bench.rows),
        excel=lambda _: run(path=path, file_format=EXCEL_FORMAT),
        default=lambda _: run(path=bench.file(bench.rows)),
    )
    what = "validate and hash: semicolons, decimal commas, windows-1252; the same rows in the default form"
    bench.results.at_most(1, what, taken["excel"], taken["default"], 1.3)


def _scaled(median: Median, measured: int, rows: int) -> Median:
    return Median(median.seconds * rows / measured, median.peak_mib, scaled=measured < rows)


def _all_bad(bench: Bench, few: int) -> None:
    path = bench.file(few, bad_every=1)
    folder = str(bench.home / "stages")

    def run(name: str, key: int | str) -> Measurement:
        measurement = function(name, path=path, folder=folder)
        rejected = measurement.result[key]
        if rejected != few:
            msg = f"{rejected} of {few} bad rows were rejected"
            raise DifferenceError(msg)
        return measurement

    taken = in_turn(
        bench.rounds,
        ours=lambda _: run("benchmarks.ours:validate_and_hash", 4),
        peer=lambda _: run("benchmarks.peers.pydantic_loop:run", "rejected"),
    )
    what = f"validate, every one of {few:,} rows bad; Pydantic row loop"
    bench.results.at_most(1, what, taken["ours"], taken["peer"], 1.0)
