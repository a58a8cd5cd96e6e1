"""The layers of the package: imports only go downward, and never in a circle."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from txn_assets.environment import project_root

LAYERS = (
    "files",
    "rows",
    "feeds",
    "senders",
    "stores",
    "marts",
    "erasure",
    "local",
    "runs",
    "watch",
    "upload",
    "defs",
    "entry",
)
"""Layers from bottom to top."""
ENTRY = ("cli", "commands", "definitions", "job", "own_defs", "run")
SAME_LAYER = {
    "errors": "files",
    "config": "feeds",
    "sections": "feeds",
    "environment": "rows",
    "target": "local",
} | dict.fromkeys(ENTRY, "entry")


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    root = project_root()
    found = {path: path.relative_to(root).with_suffix("").parts for path in (root / "txn_assets").rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in found.items()}


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Return the modules of the package that a module imports, including imports inside functions.

    What comes below `if __name__ == "__main__"` hands over to the command line and is not part of the module.
    """
    module = ast.parse(path.read_text())
    module.body = [one for one in module.body if not (isinstance(one, ast.If) and "__main__" in ast.unparse(one.test))]
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ([name for name in submodules if name in known] or [node.module])


def rank(module: str) -> int:
    """Return the rank of a module's layer, counted from the bottom."""
    folder = module.split(".")[1]
    return LAYERS.index(SAME_LAYER.get(folder, folder))


def test_no_import_points_upward() -> None:
    """A module imports only from its own layer and those below."""
    known = {name: path for name, path in modules().items() if name != "txn_assets"}
    upward = [
        f"{module} imports {target}"
        for module, path in known.items()
        for target in imports(path, known)
        if rank(target) > rank(module)
    ]
    assert not upward


def test_no_import_cycle() -> None:
    """Imports between modules form no cycle."""
    known = modules()
    graph = {module: {target for target in imports(path, known) if target != module} for module, path in known.items()}
    # Raises CycleError, which lists the cycle.
    TopologicalSorter(graph).prepare()


def test_every_folder_is_in_a_layer() -> None:
    """Every folder, including a new one, belongs to a layer."""
    folders = {module.split(".")[1] for module in modules() if "." in module}
    assert folders == {*LAYERS, *SAME_LAYER} - {"entry"}


def test_environment_is_read_in_one_module() -> None:
    """Only `environment.py` names a TXN_ variable; `exports.py` prints one for people to read."""
    readers = [
        f"{module}:{node.lineno}"
        for module, path in modules().items()
        if module not in ("txn_assets.environment", "txn_assets.local.exports")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and re.fullmatch("TXN_[A-Z_]+", str(node.value))
    ]
    assert not readers


def test_private_parts_of_dagster_are_documented() -> None:
    """The architecture says of each module that imports a private name of Dagster what happens without it."""
    text = (project_root() / "docs" / "architecture.md").read_text()
    listed = text.partition("## What rests on Dagster's internals")[2].partition("\n## ")[0]
    private = re.compile(r"^\s*(from|import) dagster\w*(\.\w+)*(\._| import .*\b_)", re.MULTILINE)
    named = {path.name for path in modules().values() if private.search(path.read_text())}
    assert "dagster_internals.py" in named
    assert [name for name in sorted(named) if f"/{name}`" not in listed] == []


HEAVY = ("duckdb", "google.cloud.bigquery", "google.cloud.storage", "pandas", "psycopg", "pyarrow")


@pytest.mark.parametrize(
    ("module", "clients"), [("txn_assets.definitions", []), ("txn_assets.stores.assemble", ["google.cloud.storage"])]
)
def test_heavy_libraries_wait_for_a_run(module: str, clients: list[str]) -> None:
    """Loading the definitions imports no client, and a tick of the sensor only that of GCS: pods have little memory."""
    program = f"import sys, {module}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == clients


def test_duckdb_waits_for_the_executor() -> None:
    """`txn run` imports no DuckDB before the executor freezes what is imported, which it cannot do later."""
    program = (
        "import sys, txn_assets.run, txn_assets.stores.gcs.store, txn_assets.stores.postgres.store; "
        "print('duckdb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("before", "frozen"), [("sys", True), ("duckdb", False)])
def test_imports_are_not_collected(before: str, frozen: bool) -> None:
    """What the definitions import is excluded from garbage collection, unless DuckDB came first and would complain."""
    program = f"import gc, {before}, txn_assets.definitions; print(gc.get_freeze_count() > 0)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{frozen}\n", "")


def test_columns_are_named_in_feeds_only() -> None:
    """No module names a column of a transaction, except its feed and its marts; others take them from a contract."""
    named = re.compile(r"\b(?:price|quantity|product|transaction_id)\b")
    naming = [
        name
        for name, path in modules().items()
        if named.search(path.read_text(encoding="utf-8"))
        and not name.startswith(("txn_assets.feeds.", "txn_assets.marts."))
    ]
    # The default of security.pii_fields, and a parameter of the routes that read the marts.
    assert naming == ["txn_assets.sections.security", "txn_assets.upload.sales"]
