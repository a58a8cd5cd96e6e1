"""Points 2 and 3: each sink against the bare client of its store, from the same Parquet file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.measure import Measurement, function, in_turn, program


def measure(bench: Bench) -> None:
    """Measure the three sinks, PostgreSQL also while it replaces all rows."""
    rows = min(bench.rows, 10_000_000)
    folder = bench.home / "rows"
    function("benchmarks.ours:validate_and_hash", path=bench.file(rows), folder=str(folder))
    parquet, copy_csv, lake_csv = (str(folder / name) for name in ("hashed.parquet", "copy.csv", "lake.csv"))
    bench.help("benchmarks.stores:prepare_rows", parquet=parquet, copy_csv=copy_csv, lake_csv=lake_csv)
    files = {
        "landed": Path(bench.file(rows)),
        "valid.arrow": folder / "valid.arrow",
        "hashed.parquet": Path(parquet),
    }
    shown = ", ".join(f"{name} {path.stat().st_size / rows:.0f}" for name, path in files.items())
    bench.results.notes.append(f"Bytes a row on disk: {shown}.")
    _postgres(bench, rows, parquet=parquet, csv=copy_csv)
    _bigquery(bench, rows, parquet=parquet)
    _gcs(bench, rows, parquet=parquet, csv=lake_csv)
    shutil.rmtree(folder)


def _postgres(bench: Bench, rows: int, *, parquet: str, csv: str) -> None:
    expected = bench.expected(rows)

    def replace(_: int) -> Measurement:
        with bench.names() as (config, _postgres):
            for generation in (1, 2):
                measurement = function(
                    "benchmarks.ours:sink", config=config, kind="postgres", parquet=parquet, generation=generation
                )
            bench.check(config, expected, ["postgres"])
        return measurement

    def copy(_: int) -> Measurement:
        with bench.names() as (config, postgres):
            if shutil.which("psql"):
                columns = "source_file, source_row, transaction_id, product, price, quantity, date"
                command = f"\\copy {postgres['schema']}.transactions ({columns}) from '{csv}' with (format csv)"
                measurement = program(["psql", "-X", "-q", postgres["dsn"], "-c", command])
            else:
                measurement = function("benchmarks.peers.clients:copy", csv=csv, **postgres)
            bench.check(config, expected, ["postgres"])
        return measurement

    ours = _into(bench, rows, "postgres", "benchmarks.ours:sink", kind="postgres", parquet=parquet)
    taken = in_turn(bench.rounds_for(rows), ours=ours, replace=replace, copy=copy)
    copier = "psql \\copy" if shutil.which("psql") else "psycopg COPY of the CSV (no psql here)"
    bench.results.at_most(2, f"postgres_transactions, first load; {copier}", taken["ours"], taken["copy"], 1.0)
    what = f"postgres_transactions, replacing all rows; {copier}, nothing replaced"
    bench.results.at_most(2, what, taken["replace"], taken["copy"], 1.0)


def _bigquery(bench: Bench, rows: int, *, parquet: str) -> None:
    taken = in_turn(
        bench.rounds_for(rows),
        ours=_into(bench, rows, "bigquery", "benchmarks.ours:sink", kind="bigquery", parquet=parquet),
        same=_into(bench, rows, "bigquery", "benchmarks.peers.bigquery_replace:load", parquet=parquet),
        bare=_into(bench, rows, "bigquery", "benchmarks.peers.clients:load_table_from_uri", parquet=parquet),
    )
    what = "bigquery_raw_transactions;"
    bench.results.at_most(3, f"{what} bare client, same promise", taken["ours"], taken["same"], 1.3)
    bench.results.inform(3, f"{what} load_table_from_uri", taken["ours"], taken["bare"])


def _gcs(bench: Bench, rows: int, *, parquet: str, csv: str) -> None:
    taken = in_turn(
        bench.rounds_for(rows),
        ours=_into(bench, rows, "gcs", "benchmarks.ours:sink", kind="gcs", parquet=parquet),
        bare=_into(bench, rows, "gcs", "benchmarks.peers.clients:upload_from_filename", csv=csv),
    )
    bench.results.at_most(3, "gcs_raw; upload_from_filename of the same bytes", taken["ours"], taken["bare"], 1.3)


def _into(bench: Bench, rows: int, store: str, name: str, **keywords: Any) -> Callable[[int], Measurement]:
    """Return a candidate that runs the named function under fresh names and checks what `store` holds then."""
    expected = bench.expected(rows)

    def run(_: int) -> Measurement:
        with bench.names() as (config, _postgres):
            measurement = function(name, config=config, **keywords)
            bench.check(config, expected, [store])
        return measurement

    return run
