"""The command behind `make run`: what it prints, and what it refuses."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from txn_assets.config import project_root
from txn_assets.resources import Workspace
from txn_assets.run import run
from txn_assets_tests.deployment import Deployment, make_file, make_row


@pytest.fixture(autouse=True)
def _dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "txn_assets.run", *arguments], capture_output=True, text=True, check=False
    )


def test_summary(deployment: Deployment) -> None:
    """The summary counts the rows in, valid, rejected with reasons, and what each store holds."""
    out = io.StringIO()

    code = run(project_root() / "data" / "transactions.csv", deployment.config, out)

    assert code == 0
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    wanted = ["rows in 5", "valid 4", "rejected 1", "record 4 rejected: product missing (Field required)"]
    assert [line for line in lines if line in wanted] == wanted
    assert {"GCS 4 loaded", "BigQuery 4 loaded", "PostgreSQL 4 loaded"} <= set(lines)


def test_second_run_is_unchanged(deployment: Deployment, tmp_path: Path) -> None:
    """The same file again is recognised by every store."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))
    run(file, deployment.config, io.StringIO())
    out = io.StringIO()

    code = run(file, deployment.config, out)

    assert code == 0
    assert out.getvalue().count("  unchanged") == 3


def test_failure_is_one_sentence(deployment: Deployment, tmp_path: Path) -> None:
    """A file that cannot be loaded ends with the sentence of the failing asset and exit code 1, with no traceback."""
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row(quantity="0")))

    done = _command(str(file))

    assert done.returncode == 1
    assert "FAILED  validated_transactions: No valid transactions in a.csv." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (["missing.csv"], {}, "There is no file missing.csv"),
        ([__file__], {}, "cannot be landed"),
        ([], {"TXN_CONFIG": "nowhere.yaml"}, "Cannot read the configuration nowhere.yaml"),
        ([], {"TXN_TARGET": "aws"}, "TXN_TARGET is 'aws'"),
    ],
)
def test_refusals(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environ: dict[str, str],
    sentence: str,
) -> None:
    """What cannot be done is refused in one sentence on standard error."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    done = _command(*arguments)

    assert done.returncode == 1
    assert done.stderr.startswith(sentence) or sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_key(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyed hash without its key is refused in one sentence that names the variable, before the file lands."""
    monkeypatch.delenv("TXN_HASH_KEY", raising=False)
    deployment.configure({"security": {"hash": {"algorithm": "hmac-sha256", "key_id": "2026-11"}}})
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))

    done = _command(str(file))

    assert done.returncode == 1
    assert "TXN_HASH_KEY has 0 bytes: set it to a secret" in done.stderr
    assert "Traceback" not in done.stderr
    assert not deployment.bucket.blob(f"{deployment.config.data_lake.landing}/a.csv").exists()


def test_failure_of_the_run(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run fails before its first step, its cause is printed in one line."""
    monkeypatch.setattr(Workspace, "setup_for_execution", lambda *_: 1 / 0)
    out = io.StringIO()

    code = run(project_root() / "data" / "transactions.csv", deployment.config, out)

    assert code == 1
    assert "FAILED  ZeroDivisionError: division by zero" in out.getvalue()


def test_json_log(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With TXN_LOG_FORMAT=json each stage of a file is one JSON object a line, and so is each rejected row."""
    monkeypatch.setenv("TXN_LOG_FORMAT", "json")
    deployment.land("a.csv", make_file(make_row(), make_row(product="")))

    deployment.materialize("a.csv")

    events = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    stages = {event["stage"]: event for event in events if "seconds" in event}
    assert stages["validated_transactions"]["rows"] == 2
    assert stages["postgres_transactions"]["action"] == "loaded"
    (warning,) = [event for event in events if event["level"] == "WARNING"]
    assert (warning["source_row"], warning["reasons"]) == (2, [["product", "missing"]])


def test_dagster_command(deployment: Deployment) -> None:
    """`dagster asset materialize` loads a landed file on a fresh DAGSTER_HOME, where no key is registered."""
    deployment.land("fresh.csv", make_file(make_row()))
    command = ["asset", "materialize", "-m", "txn_assets.definitions", "--select", "*", "--partition", "fresh.csv"]

    done = subprocess.run([Path(sys.executable).with_name("dagster"), *command], capture_output=True, check=False)

    assert done.returncode == 0
    assert len(deployment.rows_everywhere("fresh.csv")) == 1
