"""Fixtures of the deployment tests, and the list of what was checked.

Keep checks out. `make deploy-check` prints the summary.
"""

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from txn_assets_tests.deploy.manifests import Manifest
from txn_assets_tests.deploy.run_jobs import launched_job
from txn_assets_tests.deploy.values_files import ENVIRONMENTS, Values, merged

ROOT = Path(__file__).parents[2]
STATEMENT = "statement"


@pytest.fixture(params=sorted(ENVIRONMENTS), scope="session")
def environment(request: pytest.FixtureRequest) -> str:
    """Return each environment in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def values(environment: str) -> Values:
    """Return the merged values of the environment. A test that changes them works on a copy."""
    return merged(environment)


@pytest.fixture(scope="session")
def run_job(values: Values) -> Manifest:
    """Return the Job of a run without job tags, as the Materialize button starts it."""
    return launched_job(values)


@pytest.fixture(scope="session")
def deploy_checks() -> Path:
    """Return the platform team's folder of checks. The project's own rules run without it."""
    folder = Path(os.environ.get("TXN_DEPLOY_CHECKS") or ROOT.parent / "shared" / "deploy-checks")
    if not (folder / "check_values.py").is_file():
        pytest.skip(f"no deploy-checks in {folder}: TXN_DEPLOY_CHECKS names the folder")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the first line of a test's docstring, which says what it checks, to its report."""
    report = yield
    statement = (getattr(getattr(item, "obj", None), "__doc__", None) or item.name).strip().splitlines()[0]
    report.user_properties.append((STATEMENT, statement))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was checked, and what was skipped and why, in one line each, if the make target asks for it."""
    if not os.environ.get("DEPLOY_CHECK_SUMMARY"):
        return
    for outcome, title in (("passed", "checked"), ("skipped", "not checked here")):
        reports = terminalreporter.stats.get(outcome, [])
        lines = Counter((_reason(report), _statement(report)) for report in reports)
        if lines:
            terminalreporter.section(title)
        shown = ""
        for (reason, statement), cases in lines.items():
            if reason != shown:
                terminalreporter.line(f"{reason}:")
            shown = reason
            terminalreporter.line(f"  {statement}" + (f" ({cases} cases)" if cases > 1 else ""))


def _statement(report: pytest.TestReport) -> str:
    return next((str(value) for name, value in report.user_properties if name == STATEMENT), report.nodeid)


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
