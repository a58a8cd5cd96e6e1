"""The commands of docs/how-to/check-in-the-senders-ci.md work with the packages it lists, and print what it shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from txn_assets.environment import project_root

PAGE = (project_root() / "docs" / "how-to" / "check-in-the-senders-ci.md").read_text()
TXN = """\
#!{python}
import importlib.metadata as metadata
import re
import sys


def with_dependencies(names):
    found = set()
    while names := {{name.lower().replace("_", "-") for name in names}} - found:
        found |= names
        needs = [need for name in names for need in metadata.requires(name) or () if "extra ==" not in need]
        names = {{re.match(r"[\\w.-]+", need)[0] for need in needs}}
    return found


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in blocked:
            raise ModuleNotFoundError(name)


installed = with_dependencies({packages!r}) | {{"txn-assets"}}
blocked = {{
    module
    for module, owners in metadata.packages_distributions().items()
    if not installed & {{owner.lower().replace("_", "-") for owner in owners}}
}}
assert "dagster" in blocked
sys.meta_path.insert(0, Blocker())
from txn_assets.cli import main

sys.exit(main())
"""
"""Runs `txn` as if only the packages of the page were installed."""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def sender(tmp_path: Path) -> Path:
    """Return a folder with what the page asks for, and `txn` in `venv/`."""
    (packages,) = re.findall(r"^venv/bin/pip install (pydantic .*)$", PAGE, re.MULTILINE)
    for name in ("venv/bin", "export"):
        (tmp_path / name).mkdir(parents=True)
    txn = tmp_path / "venv" / "bin" / "txn"
    txn.write_text(TXN.format(python=sys.executable, packages=packages.split()))
    txn.chmod(0o755)
    shutil.copy(project_root() / "data" / "pipeline_config.yaml", tmp_path)
    shutil.copy(project_root() / "data" / "transactions.csv", tmp_path / "export")
    return tmp_path


def _run(folder: Path, script: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "TXN_CONFIG": "pipeline_config.yaml"}
    return subprocess.run(
        ["/bin/sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_script(sender: Path) -> None:
    """The script fails because of the rejected row, and the workflow runs it."""
    script = _blocks("sh")[0]
    lines = [line for line in script.splitlines() if "pip install" not in line and "-m venv" not in line]

    done = _run(sender, "\n".join(lines))

    assert (done.returncode, done.stderr) == (1, "")
    steps = yaml.safe_load(_blocks("yaml")[0])["jobs"]["check"]["steps"]
    assert steps[-1] == {"run": "sh check.sh"}
    assert "Save it as `check.sh`" in PAGE


def test_script_that_accepts_rejected_rows(sender: Path) -> None:
    """The second script goes on after exit code 1, and fails if the file cannot be read."""
    script = _blocks("sh")[1]

    assert _run(sender, script).returncode == 0
    (sender / "export" / "transactions.csv").write_text("a,b\n")
    assert _run(sender, script).returncode != 0


def test_contracts(sender: Path) -> None:
    """The contract is written in each format."""
    done = _run(sender, _blocks("sh")[2])

    assert (done.returncode, done.stderr) == (0, "")
    assert all((sender / name).stat().st_size for name in ("contract.md", "contract.schema.json", "contract.odcs.yaml"))


@pytest.mark.parametrize("session", _blocks("console"), ids=lambda session: session.split("\n")[0][2:])
def test_output(sender: Path, session: str) -> None:
    """Each command prints what the page shows below it."""
    lines = session.splitlines()
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]

    done = _run(sender, "\n".join(commands))

    assert (done.stdout + done.stderr).splitlines() == lines[len(commands) :]
