"""`txn status` on the command line, without Dagster: what became of a file, and of the last files."""

import datetime as dt
import json
import shlex
from typing import Any

import pytest

from txn_assets.cli import main
from txn_assets.files.retention import landed_at
from txn_assets.runs import files
from txn_assets_tests.deployment import Deployment, make_file, make_row

MIXED = make_file(make_row(), make_row(transaction_id="TSECRET", product=""), make_row(transaction_id="T3", price="x"))
GOOD = make_file(make_row(), make_row(transaction_id="T002"))
NO_DAGSTER = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TXN_DAGSTER_URL", NO_DAGSTER)


def txn(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    """Run a command of `txn` and return its exit code and what it printed."""
    capsys.readouterr()
    code = main(shlex.split(command))
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def as_json(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, dict[str, Any]]:
    """Run a command of `txn` with `--json` and return its exit code and what it printed."""
    code, text = txn(capsys, f"{command} --json")
    return code, json.loads(text)


def test_life_of_a_file(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """A file has landed, is partly loaded, and is replaced by a version that is loaded; both versions are listed."""
    deployment.configure({"ingestion": {"max_invalid_ratio": 0.9}})
    first = deployment.land("life.csv", MIXED)
    code, found = as_json(capsys, "status life.csv")
    assert (code, found["files"][0]["state"], found["files"][0]["stores"]["GCS"]["rows"]) == (3, "landed", None)
    dataset = deployment.config.data_warehouse.dataset
    assert [table.table_id for table in deployment.bq.list_tables(dataset) if table.table_id.endswith("_loads")] == []

    deployment.materialize("life.csv", raise_on_error=False)
    code, found = as_json(capsys, "status life.csv")
    (file,) = found["files"]
    assert (code, file["state"], file["rows"], file["valid"]) == (0, "partly", 3, 1)
    assert file["rejected"] == {"product: missing": 1, "price: decimal_parsing": 1}
    assert file["quarantine"].endswith("/life.csv/rejected.csv")
    assert {label: store["rows"] for label, store in file["stores"].items()} == {
        "GCS": 1, "BigQuery": 1, "PostgreSQL": 1,
    }  # fmt: skip
    assert file["stores"]["PostgreSQL"]["address"] == deployment.pg_table
    assert file["landed_at"] < file["started_at"] < file["loaded_at"]
    assert set(file["seconds"]) == {"validate", "hash"}

    second = deployment.land("life.csv", GOOD)
    deployment.materialize("life.csv")
    code, text = txn(capsys, "status life.csv")
    assert (code, text.partition("\n")[0]) == (0, "LOADED  life.csv")
    versions = text.partition("versions in PostgreSQL's ledger\n")[2].splitlines()
    assert [line.split()[0] for line in versions[:2]] == [str(second), str(first)]
    assert versions[0].endswith("in GCS, BigQuery, PostgreSQL")
    assert "2 rejected" in versions[1]
    assert versions[1].endswith("replaced")
    assert "No Dagster answers" in text


def test_rejected_file(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without a valid row says why it was rejected, with exit code 1 and without a value; so does the overview.

    A name that is mistyped, or given as a path, is answered with the names nearest to it.
    """
    deployment.land("bad.csv", make_file(make_row(transaction_id="TSECRET", product="")))
    deployment.materialize("bad.csv", raise_on_error=False)
    deployment.land("waiting.csv", GOOD)

    code, text = txn(capsys, "status bad.csv")
    assert (code, text.splitlines()[0]) == (1, "REJECTED  bad.csv")
    assert "No valid transactions in bad.csv." in text
    assert "1  product: missing" in text
    assert "TSECRET" not in text

    code, found = as_json(capsys, "status")
    assert (code, found["states"], found["stuck"], found["dagster"]) == (1, {"landed": 2, "rejected": 1}, 0, None)
    # The local stack lands the sample.
    assert {file["name"] for file in found["files"]} == {"waiting.csv", "bad.csv", "transactions.csv"}
    _, text = txn(capsys, "status --feed transactions")
    assert text.startswith("Not in every store: 2 landed, 1 rejected.\n")

    code, text = txn(capsys, "status watiing.csv")
    assert (code, text) == (1, (
        "Neither the landing zone nor a ledger knows a file 'watiing.csv'. Did you mean 'waiting.csv'?\n"
    ))  # fmt: skip
    _, text = txn(capsys, "status inbox/bad.csv")
    assert text.endswith("Did you mean 'bad.csv'?\n")


def test_stuck_file(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is in one store too few for too long is stuck, even if nothing says so but the ledgers."""
    deployment.load("stuck.csv", make_row())
    deployment.load("transactions.csv", make_row())
    assert txn(capsys, "status")[0] == 0
    deployment.pg.execute(f"DELETE FROM {deployment.pg_table}_loads WHERE source_file = 'stuck.csv'")
    # Two hours later.
    monkeypatch.setattr(files, "landed_at", lambda generation: landed_at(generation) - dt.timedelta(hours=2))

    code, found = as_json(capsys, "status")

    assert (code, found["stuck"], found["states"]) == (1, 1, {"landed": 1})


def test_replay_without_dagster(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Without Dagster, a replay says how to start one, or load a file without it; with nothing to do, what to give."""
    code, text = txn(capsys, "replay a.csv")
    assert code == 1
    assert text == (
        "No Dagster answers. Start one with `txn dev`, or name its web server in TXN_DAGSTER_URL: it runs the loads. "
        "`txn run FILE` loads a file without it.\n"
    )
    for command in ("replay", "replay a.csv --failed"):
        code, text = txn(capsys, command)
        assert (code, text) == (1, "Name the files to load again, or give either --rules-changed or --failed.\n")
