"""The CI workflow: what it may do, for how long, and that its commands exist.

Only statements about the file; a runner shows whether a step succeeds.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from txn_assets.environment import project_root

ROOT = project_root()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def _commands() -> list[str]:
    return [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]


def test_least_privileges() -> None:
    """The token can only read the repository, no job asks for more, and no checkout keeps it."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [name for name, job in JOBS.items() if "permissions" in job]
    checkouts = [s for job in JOBS.values() for s in job["steps"] if s.get("uses", "").startswith("actions/checkout@")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * len(JOBS)


@pytest.mark.parametrize("job", JOBS)
def test_every_job_ends(job: str) -> None:
    """A job that hangs is ended."""
    assert JOBS[job]["timeout-minutes"] <= 60


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    """Every action is named by a commit, which nobody can move, with its version in a comment for people."""
    used = re.findall(r"^.*\buses:.*$", path.read_text(), re.MULTILINE)
    assert used
    assert [line for line in used if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_commands_exist() -> None:
    """Every make target, script, module and test that a step names is in the project."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(_commands())
    assert set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)) <= targets
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    modules = re.findall(r"-m ([a-z_.]+)", text)
    assert modules
    assert all((ROOT / f"{module.replace('.', '/')}.py").is_file() for module in modules)
    tests = re.findall(r"txn_assets_tests/\S+\.py", text)
    assert tests
    assert all((ROOT / test).is_file() for test in tests)
