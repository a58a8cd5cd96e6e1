"""docs/tutorial/second-feed.md: what it shows is what happens."""

import inspect
import io
import pickle
import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from txn_assets.cli import main
from txn_assets.definitions import build
from txn_assets.environment import project_root
from txn_assets.feeds.refund import Refund
from txn_assets.run import run
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.integration.test_own_defs import call, project

__all__ = ["project"]

PAGE = (project_root() / "docs" / "tutorial" / "second-feed.md").read_text()
FILE = project_root() / "data" / "refunds.csv"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


CONFIGURED, COMPONENT, RULES = _blocks("yaml")


@pytest.fixture
def configured(deployment: Deployment) -> Deployment:
    """Return a deployment with the feed of the tutorial."""
    deployment.configure(yaml.safe_load(CONFIGURED))
    return deployment


def test_row_model() -> None:
    """The class on the page is the one that is shipped, and a feed takes fewer than 30 lines."""
    module = Path(inspect.getfile(Refund)).read_text()

    assert _blocks("python")[0] == inspect.getsource(Refund)
    assert len(module.splitlines()) < 30


@pytest.mark.usefixtures("configured")
def test_check(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that try the file print what the page shows."""
    monkeypatch.chdir(project_root())
    shown = _blocks("console")[0]

    for command in re.findall(r"^\$ \.venv/bin/txn (.*)$", shown, re.MULTILINE):
        main(command.split())

    assert capsys.readouterr().out == "".join(re.split(r"^\$ .*\n", shown, flags=re.MULTILINE))


def test_load(configured: Deployment) -> None:
    """The file is loaded into tables of its own, with the rows of the page, and then is unchanged."""
    out = io.StringIO()

    assert run(FILE, configured.config, out, feed="refunds") == 0

    assert f"\n{_blocks('text')[0]}" in out.getvalue()
    (command,) = re.findall(r"-c '(SELECT .*)'", PAGE)
    schema = configured.config.data_warehouse.postgres.schema_
    rows = configured.pg.execute(command.replace("refunds", f"{schema}.refunds")).fetchall()
    table = _blocks("console")[1].splitlines()[4:-1]
    assert [tuple(map(str, row)) for row in rows] == [tuple(cell.strip() for cell in row.split("|")) for row in table]
    again = io.StringIO()
    assert run(FILE, configured.config, again, feed="refunds") == 0
    assert again.getvalue().count("  unchanged\n") == 3


def test_names_in_the_ui(configured: Deployment) -> None:
    """The definitions have the names that the page lists."""
    section = PAGE[PAGE.index("## 6. ") : PAGE.index("## 7. ")]
    definitions = build(configured.config)
    graph = definitions.resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    found: set[Any] = {key.to_user_string() for key in keys} | {graph.get(key).group_name for key in keys}
    found |= {getattr(graph.get(key).partitions_def, "name", None) for key in keys}
    found |= {check.name for check in graph.asset_check_keys}
    found |= {one.name for one in (*(definitions.sensors or ()), *(definitions.schedules or ()))}
    found |= {one.name for one in definitions.resolve_all_job_defs()}

    named = set(re.findall(r"`(refunds[/_]\w+|ids_unique)`", section))
    assert len(named) > 10
    assert named <= found


def test_feed_without_python(configured: Deployment, project: Path) -> None:
    """The component is the same feed: a file that the feed in Python loaded is unchanged."""
    run(FILE, configured.config, io.StringIO(), feed="refunds")
    content = yaml.safe_load(configured.config_path.read_text())
    del content["feeds"]
    configured.config_path.write_text(yaml.safe_dump(content))
    (command,) = re.findall(r"^ +\.venv/bin/(dg scaffold .*)$", PAGE, re.MULTILINE)
    call(project, configured, *command.split())
    defs = project / "txn_assets" / "own_defs" / "refunds" / "defs.yaml"
    assert defs.exists()
    defs.write_text(COMPONENT)

    printed = call(project, configured, "python", "-m", "txn_assets.run", str(FILE), "--feed", "refunds")

    assert printed.count("  unchanged\n") == 3


def test_own_asset(configured: Deployment, project: Path) -> None:
    """The asset of the page reads the rows of the feed, and the command of the page materializes both."""
    (project / "txn_assets" / "own_defs" / "reasons.py").write_text(_blocks("python")[1])
    configured.land("refunds.csv", FILE.read_bytes(), feed="refunds")
    commands = re.findall(r"^ +\.venv/bin/(dagster asset .*)$", PAGE, re.MULTILINE)

    call(project, configured, *shlex.split(commands[0]))

    (stored,) = (project / "dagster-home" / "storage" / "refunds_by_reason").iterdir()
    amounts = pickle.loads(stored.read_bytes()).set_index("reason")["amount"]  # noqa: S301 - the asset wrote it
    assert amounts["damaged"] == Decimal("1250.96")


def test_rules(configured: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """The rules at the end of the page narrow the kinds."""
    configured.configure(yaml.safe_load(RULES))

    main(["check", str(FILE), "--feed", "refunds"])

    assert "record 8 rejected: amount greater_than_equal" in capsys.readouterr().out
