"""What `txn run` shows: on a terminal, in a pipe, as JSON, and in the log files."""

import io
import json
import os
import pty
import re
from pathlib import Path

import pytest

from txn_assets.environment import txn_home
from txn_assets.files import progress
from txn_assets.run import run
from txn_assets_tests.deployment import Deployment, make_file, make_row


@pytest.fixture(autouse=True)
def _dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))


def make(folder: Path, name: str) -> Path:
    """Return a file with a valid and a rejected row."""
    file = folder / name
    file.write_bytes(make_file(make_row(), make_row(transaction_id="TSECRET", product="")))
    return file


def shown_on_terminal(file: Path, deployment: Deployment) -> str:
    """Return what `txn run` writes to a terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        assert run(file, deployment.config, terminal) == 0
    written = b""
    # Reading a terminal whose other end is closed fails at its end.
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:
        pass
    os.close(ours)
    return written.decode()


def test_terminal_and_pipe(deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colors and bars are for terminals that want them; a pipe gets plain lines, with the progress of slow stages."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    file = make(tmp_path, "terminal.csv")
    colored = shown_on_terminal(file, deployment)
    assert re.search(r"\x1b\[1;32mLOADED  terminal.csv: 1 of 2 rows are in GCS, BigQuery and PostgreSQL", colored)

    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown_on_terminal(file, deployment))

    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    pipe = io.StringIO()
    assert run(file, deployment.config, pipe) == 0
    assert "\x1b" not in pipe.getvalue()
    assert "\nUNCHANGED  terminal.csv: 1 of 2 rows" in pipe.getvalue()
    assert " seconds so far\n" in pipe.getvalue()


def test_json(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`--json` prints one object, and TXN_LOG_FORMAT=json nothing but lines of JSON; the last one is the object."""
    file = make(tmp_path, "json.csv")
    out = io.StringIO()
    assert run(file, deployment.config, out, as_json=True) == 0
    summary = json.loads(out.getvalue())
    assert (summary["outcome"], summary["rows"], summary["valid"], summary["rejected"]) == ("loaded", 2, 1, 1)
    assert summary["reasons"] == {"product: missing": 1}
    assert summary["stores"]["BigQuery"] == {"rows": 1, "action": "loaded"}

    monkeypatch.setenv("TXN_LOG_FORMAT", "json")
    capfd.readouterr()
    assert run(file, deployment.config, out) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert any(line.get("stage") == "validated_transactions" for line in lines)
    assert (lines[-1]["outcome"], lines[-1]["name"]) == ("unchanged", "json.csv")


def test_log_files(deployment: Deployment, tmp_path: Path) -> None:
    """The lines of a load are in `txn.log` too, and its rejected rows, masked, in `invalid_records.log`."""
    name = f"{tmp_path.name}.csv"
    assert run(make(tmp_path, name), deployment.config, io.StringIO()) == 0

    logs = txn_home() / "logs"
    lines = [line for line in (logs / "txn.log").read_text().splitlines() if f" {name}: " in line]
    for stage in ("raw_csv", "validated_transactions", "hashed_transactions", "gcs_raw", "postgres_transactions"):
        assert any(f" {stage} {name}: " in line for line in lines), stage
    assert any(" WARNING " in line and "record 2 rejected" in line for line in lines)
    records = [json.loads(line) for line in (logs / "invalid_records.log").read_text().splitlines()]
    (record,) = [record for record in records if record["file"] == name]
    assert (record["source_row"], record["reasons"][0]["code"]) == (2, "missing")
    assert "TSECRET" not in (logs / "invalid_records.log").read_text() + (logs / "txn.log").read_text()
