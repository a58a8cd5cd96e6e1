"""docs/tutorial/first-file.md, typed from its beginning to its end: each command prints what the page shows.

`make dev` has another port than on the page, and the bucket and the schema are those of a test.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from txn_assets.environment import project_root
from txn_assets.local.home import Home
from txn_assets_tests.daemon import dagster_dev
from txn_assets_tests.deployment import Deployment, make_config

PAGE = project_root() / "docs" / "tutorial" / "first-file.md"


@dataclass(frozen=True)
class Step:
    """A command of the page, and the output that the page shows below it."""

    command: str
    shown: tuple[str, ...]


def _steps() -> list[Step]:
    """Return the steps: blocks of `sh` and indented lines are commands, blocks of `text` the output of the last one."""
    found: list[Step] = []
    for block in re.finditer(
        r"^```(\w+)\n(.*?)^```$|((?:^ {4}\S[^\n]*\n)+)", PAGE.read_text(), re.DOTALL | re.MULTILINE
    ):
        language, content, indented = block.groups()
        if language == "text":
            found[-1] = Step(found[-1].command, tuple(content.splitlines()))
        else:
            commands = [content] if language == "sh" else [line.strip() for line in indented.splitlines()]
            found += [Step(command, ()) for command in commands]
    return found


STEPS = _steps()


class Terminal:
    """A shell that stays open, so that variables which a command exports are there for the next."""

    _END = "the command has ended"

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Closes the pipes, which ends the shell, and waits for it.
        self._shell.__exit__(None, None, None)

    def type(self, command: str) -> str:
        """Run `command` and return what it printed; fail if its exit code is not 0."""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{command}\necho {self._END} $?\n")
        self._shell.stdin.flush()
        printed = ""
        for line in self._shell.stdout:
            # A command need not end its last line.
            before, end, code = line.partition(self._END)
            printed += before
            if end:
                assert code.strip() == "0", f"{command}\n{printed}"
                return printed
        raise AssertionError(printed)


def _clone(folder: Path) -> Path:
    """Return a folder that looks like a clone, so that the files of the tutorial do not end up in this one."""
    folder.mkdir()
    for path in project_root().iterdir():
        if path.name not in {".git", ".local"}:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def deployment(stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Yield a deployment with a bucket and a schema of its own."""
    config = tmp_path_factory.mktemp("config") / "pipeline_config.yaml"
    make_config(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TXN_HOME", str(stack_home))
        patch.setenv("TXN_CONFIG", str(config))
        with Deployment.temporary(config) as opened:
            yield opened


@pytest.fixture(scope="module")
def printed(deployment: Deployment, stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what each step of the page printed."""
    (programs,) = Home(stack_home).postgres.glob("*/bin")
    environment = os.environ | {
        "PATH": f"{os.environ['PATH']}:{programs}",
        "PGOPTIONS": f"-c search_path={deployment.config.data_warehouse.postgres.schema_},public",
    }
    folder = tmp_path_factory.mktemp("tutorial")
    outputs = []
    with ExitStack() as running, Terminal(_clone(folder / "clone"), environment) as terminal:
        for command in (step.command for step in STEPS):
            if command == "make dev":
                running.enter_context(dagster_dev(folder))
                outputs.append("")
                continue
            outputs.append(terminal.type(command.replace("hijra-transactions", deployment.bucket.name)))
    return outputs


@pytest.mark.parametrize("number", [number for number, step in enumerate(STEPS) if step.shown])
def test_step(number: int, printed: list[str]) -> None:
    """The output has the lines of the page, one after the other; `...` on the page stands for anything."""
    lines = [re.escape(line).replace(r"\.\.\.", ".*") for line in STEPS[number].shown]

    assert re.search(r"\s*\n".join(lines), printed[number]), printed[number]


@pytest.mark.usefixtures("printed")
def test_rows_in_the_stores(deployment: Deployment) -> None:
    """At the end both files are in all three stores, corrected."""
    for name in ("orders.csv", "more-orders.csv"):
        products = sorted(row[1] for row in deployment.rows_everywhere(name))
        assert products == ["Backpack", "Desk lamp", "Desk lamp", "Notebook", "Pen"]
