"""What each tool promises: write the table, and see what repeats and races do to the rows in PostgreSQL.

`make bench-promises` runs it. The table comes from the constants next to the code of each tool. Its columns for a
repeated load and for two loads at once are what this prints for the tools that load PostgreSQL from the landed file.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, open_bench
from benchmarks.child import Timer
from benchmarks.measure import ChildError, function, program
from benchmarks.points.whole_runs import DUCKDB_PYTHON
from benchmarks.report import write_part

COLUMNS = (
    "tool",
    "bad rows",
    "ids",
    "load dies halfway",
    "same file again",
    "two loads at once",
    "compared before readers see it",
)
ROWS = 10_000
PEERS = {
    "dlt appending rows": "dlt_append:load",
    "dlt merging Arrow tables": "dlt_merge:load",
    "DuckDB's PostgreSQL extension": "duckdb_postgres:load",
}


def table(_: Timer) -> str:
    """Return the table in Markdown. Measured processes call this, because the tools' modules are large."""
    from benchmarks import ours  # noqa: PLC0415 - see above
    from benchmarks.peers import (  # noqa: PLC0415 - see above
        bigquery_replace,
        clients,
        dlt_append,
        dlt_merge,
        duckdb_postgres,
        row_loop,
    )

    peers = (bigquery_replace.PROMISE, dlt_append.PROMISE, dlt_merge.PROMISE, duckdb_postgres.PROMISE, row_loop.PROMISE)
    promised = (
        (p.tool, p.bad_rows, p.ids, p.crash, p.repeat, p.race, p.proof)
        for p in (ours.PROMISE, *clients.PROMISES, *peers)
    )
    return "".join(f"| {' | '.join(line)} |\n" for line in (COLUMNS, ("---",) * len(COLUMNS), *promised))


def main() -> None:
    """Print what happens to the rows, and write the table."""
    with open_bench(ROWS, rounds=1) as bench:
        for line in _observed(bench):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    docs = Path(__file__).resolve().parent.parent / "docs"
    write_part(docs / "performance.md", "promises", function("benchmarks.promises:table").result)


def _observed(bench: Bench) -> Iterator[str]:
    """Load a file twice in a row with each tool, then a new file twice at once, then that file twice at once again."""
    for tool in ("this project", *PEERS):
        found = []
        for together in (1, 2):
            with bench.names() as (config, postgres):
                load, where = _loader(bench, tool, config, postgres)
                for _ in range(2):
                    with ThreadPoolExecutor(together) as pool:
                        errors = [error for error in pool.map(load, range(together)) if error]
                    rows = bench.help("benchmarks.stores:totals", config=config, stores=["postgres"], **where)
                    found.append(f"{rows['postgres'][0]:,}" + "".join(f" (failed: {error})" for error in errors))
        yield f"{tool}: {found[0]} rows, again {found[1]}; two at once {found[2]}, again {found[3]}"


def _loader(
    bench: Bench, tool: str, config: str, postgres: Mapping[str, str]
) -> tuple[Callable[[int], str], dict[str, Any]]:
    """Return what loads the file with `tool` and returns the end of its error, if any, and where its rows are."""
    dlt = tool.startswith("dlt")
    schema = f"{postgres['schema']}_dlt" if dlt else postgres["schema"]
    path = bench.file(ROWS)

    def load(_: int) -> str:
        try:
            if tool in PEERS:
                python = sys.executable if dlt else str(DUCKDB_PYTHON)
                # Two loads have two folders, as on two machines.
                with tempfile.TemporaryDirectory(dir=bench.home) as folder:
                    where = {"dsn": postgres["dsn"], "schema": schema, "folder": folder}
                    function(f"benchmarks.peers.{PEERS[tool]}", python=python, path=path, **where)
            else:
                program(
                    [sys.executable, "-m", "txn_assets.run", path], environ={"TXN_CONFIG": config, "DAGSTER_HOME": ""}
                )
        except ChildError as error:
            return str(error).rstrip().rpartition("\n")[2][-200:]
        return ""

    return load, {"table": f"{schema}.transactions", "hashed": tool != "dlt appending rows"}


if __name__ == "__main__":
    main()
