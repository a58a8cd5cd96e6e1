"""What is measured, point by point, and the target for each.

Candidates, the comparison of what they left behind, and the limits. Timing is in `measure.py`, output in `report.py`;
docs/performance.md explains the points.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Helper, Measurement, Median, function, in_turn, program

PEER_ROWS = 100_000
"""Maximum number of rows for slow peers; their seconds are scaled up to our row count and marked."""

STORES = ["gcs", "bigquery", "postgres"]


class DifferenceError(Exception):
    """A store holds the wrong rows after a timed run."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: `ours` and `peer` are seconds (or MiB); `ratio` is compared with `wanted`."""

    point: int
    what: str
    ours: str
    peer: str
    ratio: float
    wanted: str
    reached: bool


@dataclass(frozen=True, slots=True)
class Dot:
    """A dot in the plot."""

    who: str
    rows: int
    seconds: float
    peak_mib: float


@dataclass
class Bench:
    """One benchmark: the folder of its files, rows and rounds, and the results so far."""

    home: Path
    rows: int
    rounds: int
    largest: int
    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    help: Helper = field(default_factory=Helper)
    _expected: dict[int, list[Any]] = field(default_factory=dict)
    _empty: float = 0.0

    def all(self) -> None:
        """Measure every point, in order."""
        for point in (self.stages, self.sinks, self.small_runs, self.whole_runs, self.growth):
            _say(f"{point.__name__} ...")
            point()

    def file(self, rows: int, *, bad_every: int = 100) -> str:
        """Return a file of `rows` rows, written on first use."""
        path = self.home / f"rows-{rows}-{bad_every}.csv"
        if not path.exists():
            self.help("benchmarks.data:write", path=str(path), rows=rows, bad_every=bad_every)
        return str(path)

    def expected(self, rows: int) -> list[Any]:
        """Return the totals of the valid rows of that file, from the bare DuckDB pass."""
        if rows not in self._expected:
            folder = self.home / "expected"
            path = self.file(rows)
            self._expected[rows] = self.help("benchmarks.peers.duckdb_pass:run", path=path, folder=str(folder))
            shutil.rmtree(folder)
        return self._expected[rows]

    def _rounds(self, rows: int) -> int:
        # At this size a run takes minutes, and a second run would tell nothing more.
        return self.rounds if rows <= 1_000_000 else 1

    @contextmanager
    def names(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield fresh names in the stores for one timed run: the configuration's path, and the PostgreSQL connection."""
        config = str(self.home / "config.yaml")
        made = self.help("benchmarks.stores:make", config=config)
        try:
            yield config, made
        finally:
            self.help("benchmarks.stores:drop", config=config)

    def check(self, config: str, expected: list[Any], stores: list[str], **keywords: Any) -> None:
        """Compare what each store holds with what it should hold."""
        found = self.help("benchmarks.stores:totals", config=config, stores=stores, **keywords)
        for store, totals in found.items():
            _same(store, totals, expected)

    # Point 1

    def stages(self) -> None:
        """Measure validation and hashing to Parquet."""
        few = min(self.rows, PEER_ROWS)
        expected, expected_few = self.expected(self.rows), self.expected(few)
        folder = str(self.home / "stages")

        def ours(rows: int, bad_every: int = 100) -> Measurement:
            path = self.file(rows, bad_every=bad_every)
            return function("benchmarks.ours:validate_and_hash", path=path, folder=folder)

        def checked(measurement: Measurement, totals: list[Any]) -> Measurement:
            _same("hashed.parquet", measurement.result[:4], totals)
            shutil.rmtree(folder)
            return measurement

        def peer(name: str, rows: int) -> Measurement:
            return function(f"benchmarks.peers.{name}", path=self.file(rows), folder=folder)

        taken = in_turn(
            self._rounds(self.rows),
            ours=lambda _: checked(ours(self.rows), expected),
            duckdb=lambda _: checked(peer("duckdb_pass:run", self.rows), expected),
        )
        self._at_most(1, "validate and hash, 1 % bad; bare DuckDB pass", taken["ours"], taken["duckdb"], 1.5)
        loop = in_turn(1, loop=lambda _: checked(peer("row_loop:to_parquet", few), expected_few))["loop"]
        self._faster(1, "validate and hash, 1 % bad; row loop", taken["ours"], self._scaled(loop, few), 40)

        def all_bad(measurement: Measurement, rejected: int) -> Measurement:
            if rejected != few:
                msg = f"{rejected} of {few} bad rows were rejected"
                raise DifferenceError(msg)
            return measurement

        def ours_bad(_: int) -> Measurement:
            measurement = function("benchmarks.ours:validate_and_hash", path=self.file(few, bad_every=1), folder=folder)
            return all_bad(measurement, measurement.result[4])

        def pydantic_bad(_: int) -> Measurement:
            measurement = function(
                "benchmarks.peers.pydantic_loop:run", path=self.file(few, bad_every=1), folder=folder
            )
            return all_bad(measurement, measurement.result["rejected"])

        taken = in_turn(self.rounds, ours=ours_bad, peer=pydantic_bad)
        what = f"validate, every one of {few:,} rows bad; Pydantic row loop"
        self._at_most(1, what, taken["ours"], taken["peer"], 1.0)

    # Points 2 and 3

    def sinks(self) -> None:
        """Measure each sink against the bare client, from the same Parquet file."""
        rows = min(self.rows, 10_000_000)
        expected = self.expected(rows)
        folder = self.home / "rows"
        function("benchmarks.ours:validate_and_hash", path=self.file(rows), folder=str(folder))
        parquet, copy_csv, lake_csv = (str(folder / name) for name in ("hashed.parquet", "copy.csv", "lake.csv"))
        self.help("benchmarks.stores:prepare_rows", parquet=parquet, copy_csv=copy_csv, lake_csv=lake_csv)
        sizes = {"landed": Path(self.file(rows))} | {name: folder / name for name in ("valid.arrow", "hashed.parquet")}
        sizes |= {"processed.csv": Path(lake_csv)}
        shown = ", ".join(f"{name} {path.stat().st_size / rows:.0f}" for name, path in sizes.items())
        self.notes.append(f"Bytes a row on disk: {shown}.")

        def sink(kind: str) -> Callable[[int], Measurement]:
            def run(_: int) -> Measurement:
                with self.names() as (config, _postgres):
                    measurement = function("benchmarks.ours:sink", config=config, kind=kind, parquet=parquet)
                    self.check(config, expected, [kind])
                return measurement

            return run

        def replace(_: int) -> Measurement:
            with self.names() as (config, _postgres):
                for generation in (1, 2):
                    measurement = function(
                        "benchmarks.ours:sink", config=config, kind="postgres", parquet=parquet, generation=generation
                    )
                self.check(config, expected, ["postgres"])
            return measurement

        def copy(_: int) -> Measurement:
            with self.names() as (config, postgres):
                if shutil.which("psql"):
                    columns = "source_file, source_row, transaction_id, product, price, quantity, date"
                    command = (
                        f"\\copy {postgres['schema']}.transactions ({columns}) from '{copy_csv}' with (format csv)"
                    )
                    measurement = program(["psql", "-X", "-q", postgres["dsn"], "-c", command])
                else:
                    measurement = function("benchmarks.peers.clients:copy", csv=copy_csv, **postgres)
                self.check(config, expected, ["postgres"])
            return measurement

        def client(name: str, store: str, **keywords: str) -> Callable[[int], Measurement]:
            def run(_: int) -> Measurement:
                with self.names() as (config, _postgres):
                    measurement = function(f"benchmarks.peers.clients:{name}", config=config, **keywords)
                    self.check(config, expected, [store])
                return measurement

            return run

        copier = "psql \\copy" if shutil.which("psql") else "psycopg COPY of the CSV (no psql here)"
        rounds = self._rounds(rows)
        taken = in_turn(rounds, ours=sink("postgres"), replace=replace, copy=copy)
        self._at_most(2, f"postgres_transactions, first load; {copier}", taken["ours"], taken["copy"], 1.0)
        what = f"postgres_transactions, replacing all rows; {copier}, nothing replaced"
        self._at_most(2, what, taken["replace"], taken["copy"], 1.0)
        taken = in_turn(
            rounds,
            ours=sink("bigquery"),
            bare=client("load_table_from_uri", "bigquery", parquet=parquet),
        )
        self._at_most(3, "bigquery_raw_transactions; load_table_from_uri", taken["ours"], taken["bare"], 1.3)
        taken = in_turn(rounds, ours=sink("gcs"), bare=client("upload_from_filename", "gcs", csv=lake_csv))
        self._at_most(3, "gcs_raw; upload_from_filename of the same bytes", taken["ours"], taken["bare"], 1.3)
        shutil.rmtree(folder)

    # Point 5

    def small_runs(self) -> None:
        """Measure a five-row run and the cost of an import."""
        materialize = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize", "--select", "*"]
        path = self.file(5, bad_every=100)
        expected = self.expected(5)
        name = Path(path).name

        def environ(config: str) -> dict[str, str]:
            return {"TXN_CONFIG": config, "DAGSTER_HOME": str(_dagster_home(self.home / "dagster"))}

        def ours(_: int) -> Measurement:
            with self.names() as (config, _postgres):
                self.help("benchmarks.ours:land", config=config, path=path)
                arguments = [*materialize, "-m", "txn_assets.definitions", "--partition", name]
                measurement = program(arguments, environ=environ(config))
                self.check(config, expected, STORES)
            return measurement

        def command(_: int) -> Measurement:
            with self.names() as (config, _postgres):
                measurement = program([sys.executable, "-m", "txn_assets.run", path], environ=_as_make_run(config))
                self.check(config, expected, STORES)
            return measurement

        def empty(_: int) -> Measurement:
            return program([*materialize, "-m", "benchmarks.empty_assets"], environ=environ(""))

        def importing(module: str) -> Callable[[int], Measurement]:
            return lambda _: program([sys.executable, "-c", f"import {module}"])

        taken = in_turn(self.rounds, ours=ours, command=command, empty=empty)
        what = "five rows, dagster asset materialize; six empty assets"
        self._at_most(5, what, taken["ours"], taken["empty"], 1.5)
        what = "five rows, python -m txn_assets.run; six empty assets"
        self._at_most(5, what, taken["command"], taken["empty"], 1.5)
        self._empty = taken["empty"].seconds
        taken = in_turn(2 * self.rounds + 1, ours=importing("txn_assets.definitions"), dagster=importing("dagster"))
        more = taken["ours"].seconds - taken["dagster"].seconds
        self.lines.append(
            Line(
                5,
                "import txn_assets.definitions; import dagster (the ratio column is the difference in seconds)",
                _seconds(taken["ours"].seconds),
                _seconds(taken["dagster"].seconds),
                more,
                "<= 0.5 s more",
                more <= 0.5,
            )
        )

    # Point 4

    def whole_runs(self) -> None:
        """Measure from process start to exit, against dlt and the row loop."""
        rows, few = min(self.rows, 1_000_000), min(self.rows, PEER_ROWS)
        taken = in_turn(
            self.rounds,
            ours=lambda _: self.whole_run(rows),
            dlt=lambda _: self.dlt(few),
            loop=lambda _: self.loop(few),
        )
        fewer = few // 10
        start = in_turn(1, dlt=lambda _: self.dlt(fewer), loop=lambda _: self.loop(fewer))
        ours = taken["ours"]
        dlt, loop = (_on_a_line((fewer, start[who]), (few, taken[who]), rows) for who in ("dlt", "loop"))
        self._faster(4, f"whole run of {rows:,} rows, three stores; dlt, PostgreSQL alone", ours, dlt, 5)
        net = Median(max(ours.seconds - self._empty, 1e-3), ours.peak_mib, ours.runs)
        self._faster(4, "whole run less an empty run; row loop, three stores", net, loop, 20)
        for who, name in (("dlt", "dlt"), ("row loop", "loop")):
            for count, median in ((fewer, start[name]), (few, taken[name])):
                self.dots.append(Dot(who, count, median.seconds, median.peak_mib))
        self.notes.append(f"dlt measured: {taken['dlt'].seconds:.1f} s for {few:,} rows.")
        self.notes.append(f"Row loop measured: {taken['loop'].seconds:.1f} s for {few:,} rows.")

    def whole_run(self, rows: int) -> Measurement:
        """Run `python -m txn_assets.run`, then compare the stores."""
        with self.names() as (config, _postgres):
            command = [sys.executable, "-m", "txn_assets.run", self.file(rows)]
            measurement = program(command, environ=_as_make_run(config))
            self.check(config, self.expected(rows), STORES)
        return measurement

    def dlt(self, rows: int) -> Measurement:
        """Run dlt from process start to exit."""
        with self.names() as (config, postgres):
            schema = f"{postgres['schema']}_dlt"
            folder = self.home / "dlt"
            measurement = function(
                "benchmarks.peers.dlt_pipeline:load",
                path=self.file(rows),
                dsn=postgres["dsn"],
                schema=schema,
                folder=str(folder),
            )
            table = f"{schema}.transactions"
            self.check(config, self.expected(rows), ["postgres"], table=table, hashed=False)
            shutil.rmtree(folder)
        return _from_start_to_exit(measurement)

    def loop(self, rows: int) -> Measurement:
        """Run the row loop from process start to exit."""
        with self.names() as (config, _postgres):
            measurement = function("benchmarks.peers.row_loop:whole_run", path=self.file(rows), config=config)
            self.check(config, self.expected(rows), STORES)
        return _from_start_to_exit(measurement)

    # Points 6 and 7

    def growth(self) -> None:
        """Measure seconds per row and peak memory at each size."""
        sizes = sorted({self.largest, *(10**power for power in range(4, 9) if 10**power <= self.largest)})
        for rows in sizes:
            median = in_turn(self._rounds(rows), ours=lambda _, rows=rows: self.whole_run(rows))["ours"]  # type: ignore[misc]  # bound now
            self.dots.append(Dot("ours", rows, median.seconds, median.peak_mib))
            _say(f"  {rows:>11,} rows {median.seconds:8.1f} s {median.peak_mib:6.0f} MiB")
            if rows > 1_000_000:
                self._flat(rows)
        peak = max(dot.peak_mib for dot in self.dots if dot.who == "ours")
        self.lines.append(
            Line(6, f"peak memory of the run, up to {sizes[-1]:,} rows; 1 GiB (MiB)", f"{peak:.0f}", "1024",
                 peak / 1024, "< 1.0", peak < 1024)
        )  # fmt: skip

    def _flat(self, rows: int) -> None:
        base, large = (next(d for d in self.dots if d.who == "ours" and d.rows == n) for n in (1_000_000, rows))
        ours, peer = large.seconds / large.rows * 1e6, base.seconds / base.rows * 1e6
        what = f"microseconds a row at {rows:,} rows; at 1,000,000"
        self.lines.append(Line(6, what, f"{ours:.1f}", f"{peer:.1f}", ours / peer, "<= 1.15", ours <= 1.15 * peer))

    # The rows of the table

    def _scaled(self, median: Median, measured: int) -> Median:
        scaled = measured < self.rows
        return Median(median.seconds * self.rows / measured, median.peak_mib, -1 if scaled else median.runs)

    def _at_most(self, point: int, what: str, ours: Median, peer: Median, limit: float) -> None:
        ratio = ours.seconds / peer.seconds
        self._add(point, what, ours, peer, ratio=ratio, wanted=f"<= {limit}", reached=ratio <= limit)

    def _faster(self, point: int, what: str, ours: Median, peer: Median, factor: float) -> None:
        ratio = peer.seconds / ours.seconds
        self._add(point, what, ours, peer, ratio=ratio, wanted=f">= {factor} times faster", reached=ratio >= factor)

    def _add(  # noqa: PLR0913 - the columns of the table
        self, point: int, what: str, ours: Median, peer: Median, *, ratio: float, wanted: str, reached: bool
    ) -> None:
        scaled = " scaled" if peer.runs < 0 else ""
        line = Line(point, what, _seconds(ours.seconds), _seconds(peer.seconds) + scaled, ratio, wanted, reached)
        self.lines.append(line)
        _say(f"  {line.what}: {line.ours} against {line.peer}, ratio {ratio:.2f}, wanted {wanted}")


def _on_a_line(small: tuple[int, Median], large: tuple[int, Median], rows: int) -> Median:
    """Return the expected time for `rows` rows: process start counted once, time per row scaled by the rows."""
    (few, short), (more, long) = small, large
    if rows <= more:
        return long
    a_row = (long.seconds - short.seconds) / (more - few)
    return Median(long.seconds + a_row * (rows - more), long.peak_mib, -1)


def _from_start_to_exit(measurement: Measurement) -> Measurement:
    return Measurement(measurement.wall, measurement.wall, measurement.peak_mib, measurement.result)


def _same(where: str, found: list[Any], expected: list[Any]) -> None:
    if found != expected:
        msg = f"{where} holds {found}, not {expected} (rows, price, quantity, fingerprint)"
        raise DifferenceError(msg)


def _dagster_home(home: Path) -> Path:
    home.mkdir(exist_ok=True)
    source = Path(__file__).resolve().parent.parent / "txn_assets" / "defs" / "dagster.yaml"
    shutil.copyfile(source, home / "dagster.yaml")
    return home


def _as_make_run(config: str) -> dict[str, str]:
    # Without a DAGSTER_HOME, the run uses the instance of the local stack.
    return {"TXN_CONFIG": config, "DAGSTER_HOME": ""}


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
