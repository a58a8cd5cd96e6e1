"""docs/security.md: each row of each table ends with a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from txn_assets.environment import project_root

TESTS = project_root() / "txn_assets_tests"
TABLES = re.compile(r"^\|.*\|\n\|[-|: ]+\|\n((?:\|.*\|\n?)*)", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows(page: str) -> list[str]:
    """Return the rows of all tables of a page, without their headers."""
    return [row for table in TABLES.findall(page) for row in table.splitlines()]


def faults(row: str) -> list[str]:
    """Return what is wrong with the tests that the last cell of a row names."""
    last = re.split(r"(?<!\\)\|", row.strip().strip("|"))[-1]
    named = NAMED.findall(last)
    if not named:
        return [f"names no test: {row}"]
    return [f"there is no test {path}::{test}: {row}" for path, test in named if test not in _tests(TESTS / path)]


@cache
def _tests(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_row_names_a_test_that_exists() -> None:
    """Each claim of the page has its proof."""
    found = rows((project_root() / "docs" / "security.md").read_text())

    assert found
    assert [fault for row in found for fault in faults(row)] == []


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("| a claim | a way | |", "names no test"),
        ("| `unit/test_security_page.py::test_fault_is_noticed` | a way | none |", "names no test"),
        ("| a claim | a way | `unit/test_security_page.py::test_gone` |", "there is no test"),
        ("| a claim | a way | `unit/test_gone.py::test_gone` |", "there is no test"),
    ],
)
def test_fault_is_noticed(row: str, fault: str) -> None:
    """A row without a test, or with the name of one that is gone, turns the test above red."""
    page = f"Text.\n\n| claim | how | test |\n|---|---|---|\n{row}\n\nMore text.\n"

    assert rows(page) == [row]
    (found,) = faults(row)
    assert found.startswith(fault)
