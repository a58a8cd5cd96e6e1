"""Point 5: a five-row run against a run of empty assets, and the cost of an import."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import STORES, Bench
from benchmarks.measure import Measurement, in_turn, program
from benchmarks.points.whole_runs import make_run
from benchmarks.results import Line, show_seconds

ROWS = 5


def measure(bench: Bench) -> None:
    """Measure the run, started in both ways, and the import."""
    _five_rows(bench)
    _import(bench)


def _five_rows(bench: Bench) -> None:
    materialize = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize", "--select", "*"]
    path, expected = bench.file(ROWS), bench.expected(ROWS)

    def environ(config: str) -> dict[str, str]:
        return {"TXN_CONFIG": config, "DAGSTER_HOME": str(_dagster_home(bench.home / "dagster"))}

    def ours(_: int) -> Measurement:
        with bench.names() as (config, _postgres):
            bench.help("benchmarks.ours:land", config=config, path=path)
            arguments = [*materialize, "-m", "txn_assets.definitions", "--partition", Path(path).name]
            measurement = program(arguments, environ=environ(config))
            bench.check(config, expected, STORES)
        return measurement

    def empty(_: int) -> Measurement:
        return program([*materialize, "-m", "benchmarks.empty_assets"], environ=environ(""))

    taken = in_turn(bench.rounds, ours=ours, command=lambda _: make_run(bench, ROWS), empty=empty)
    what = "five rows, dagster asset materialize; six empty assets"
    bench.results.at_most(5, what, taken["ours"], taken["empty"], 1.5)
    what = "five rows, python -m txn_assets.run; six empty assets"
    bench.results.at_most(5, what, taken["command"], taken["empty"], 1.5)
    bench.empty_run_seconds = taken["empty"].seconds


def _dagster_home(home: Path) -> Path:
    home.mkdir(exist_ok=True)
    project = Path(__file__).resolve().parents[2]
    shutil.copyfile(project / "txn_assets" / "defs" / "dagster.yaml", home / "dagster.yaml")
    return home


def _import(bench: Bench) -> None:
    def importing(module: str) -> Callable[[int], Measurement]:
        return lambda _: program([sys.executable, "-c", f"import {module}"])

    taken = in_turn(2 * bench.rounds + 1, ours=importing("txn_assets.definitions"), dagster=importing("dagster"))
    more = taken["ours"].seconds - taken["dagster"].seconds
    bench.results.lines.append(
        Line(
            5,
            "import txn_assets.definitions; import dagster (the ratio column is the difference in seconds)",
            show_seconds(taken["ours"].seconds),
            show_seconds(taken["dagster"].seconds),
            more,
            "<= 0.5 s more",
            more <= 0.5,
        )
    )
