"""A rotation of the hash key: what each store has under which key, what is still to do, and runs in between."""

import datetime as dt
import hmac
import io
import json
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from txn_assets.cli import main
from txn_assets.environment import project_root
from txn_assets.files.arrival import KEY_TAG
from txn_assets.files.erasures import ErasureRequests
from txn_assets.job import execute
from txn_assets.target import open_services
from txn_assets_tests.deployment import Deployment, failed_checks, failure, make_file, make_row

OLD, NEW = "old-key-" * 4, "new-key-" * 4
NO_DAGSTER = "http://127.0.0.1:9"


def digest(id_: str, key: str) -> str:
    """Return what the stores have of an id."""
    return hmac.digest(key.encode(), id_.encode(), "sha256").hex()


def rotate(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, *, drop: bool = False) -> None:
    """Configure the new key, with the old one as the previous one unless `drop`."""
    previous = {} if drop else {"previous": {"key_id": "k1"}}
    deployment.configure({"security": {"hash": {"key_id": "k2"} | previous}})
    monkeypatch.setenv("TXN_HASH_KEY", NEW)
    monkeypatch.setenv("TXN_HASH_KEY_PREVIOUS", OLD)


@pytest.fixture
def keyed(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment that hashes with the old key, and no Dagster that answers."""
    monkeypatch.setenv("TXN_DAGSTER_URL", NO_DAGSTER)
    monkeypatch.setenv("TXN_HASH_KEY", OLD)
    deployment.configure({"security": {"hash": {"algorithm": "hmac-sha256", "key_id": "k1"}}})
    return deployment


def txn(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    """Run a command of `txn` and return its exit code and what it printed."""
    capsys.readouterr()
    code = main(shlex.split(command))
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def documented_sql() -> str:
    """Return the query of the how-to page about rows under both keys."""
    page = (project_root() / "docs" / "how-to" / "rotate-the-key.md").read_text()
    (statement,) = re.findall(r"^```sql\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(statement)


def status(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Return the exit code of `txn rotate status --json`, and what it says about transactions."""
    code, text = txn(capsys, "rotate status --json")
    found = json.loads(text)
    return code, found["feeds"]["transactions"] | {"needed_by": found["previous_needed_by"]}


def test_life_of_a_rotation(
    keyed: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files move from the old to the new key one by one, and the figures of each store follow.

    A file that is no longer in the landing zone stays under the old key, which is needed as long as it is there.
    """
    keyed.load("a.csv", make_row(), make_row(transaction_id="T002"))
    keyed.load("gone.csv", make_row(transaction_id="T003"), make_row(product=""))
    keyed.bucket.blob(f"{keyed.config.data_lake.landing}/gone.csv").delete()
    rotate(keyed, monkeypatch)

    code, found = status(capsys)
    assert (code, found["current"], found["needed_by"]) == (3, "k2", [
        "2 files of transactions", "1 file of transactions with rejected rows in the quarantine",
    ])  # fmt: skip
    assert [version.partition("@")[0] for version in found["to_load"]] == ["a.csv"]
    assert (found["waiting"], found["gone"]) == ([], ["gone.csv"])
    under_old = {"k2": {"files": 0, "rows": 0}, "k1": {"files": 2, "rows": 3}}
    assert found["stores"] == {"GCS": under_old, "BigQuery": under_old, "PostgreSQL": under_old}
    code, text = txn(capsys, "rotate run")
    assert code == 1
    assert text.endswith("it runs the loads. The nightly sweep loads such files again, too.\n")

    keyed.materialize("a.csv")

    ids = [row[0] for row in keyed.rows_everywhere("a.csv")]
    assert ids == sorted(digest(id_, NEW) for id_ in ("T001", "T002"))
    code, found = status(capsys)
    assert (code, found["to_load"], found["files"]) == (3, [], {"gone.csv": ["k1"]})
    assert found["stores"]["BigQuery"] == {"k2": {"files": 1, "rows": 2}, "k1": {"files": 1, "rows": 1}}
    keyed.pg.execute(f"SET search_path = {keyed.pg_table.partition('.')[0]}")
    assert keyed.pg.execute(documented_sql()).fetchall() == [("k1", 1, 1), ("k2", 2, 2)]
    _, text = txn(capsys, "rotate status")
    assert "1 file is not hashed with the current key k2, but with k1; 1 no longer in the landing zone" in text
    assert text.endswith(
        "The previous key k1 is still needed: 1 file of transactions; 1 file of transactions with rejected rows in the "
        "quarantine.\n"
    )

    keyed.load("gone.csv", make_row(transaction_id="T003"), make_row(product=""))

    code, text = txn(capsys, "rotate status")
    assert code == 0
    assert "Every file is hashed with the current key." in text
    assert "The previous key k1 is no longer needed: remove security.hash.previous" in text


def test_run_that_began_before_the_rotation(keyed: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that hashed with the old key and continues after the rotation loads, and records, the old key.

    If the old key has been dropped, the run is refused: no erasure request could find its rows.
    """
    keyed.land("a.csv", make_file(make_row()))
    schema = keyed.config.data_warehouse.postgres.schema_
    keyed.pg.execute(f'CREATE SCHEMA "{schema}"')
    # A column that holds no product stops the load into PostgreSQL.
    columns = "transaction_id text, product varchar(3), price numeric, quantity int, date date"
    keyed.pg.execute(f"CREATE TABLE {keyed.pg_table} ({columns})")
    failed = execute(keyed.config, keyed.instance, tags={KEY_TAG: "a.csv"})
    assert "PostgreSQL" in failure(failed)
    keyed.pg.execute(f"ALTER TABLE {keyed.pg_table} ALTER product TYPE text")

    rotate(keyed, monkeypatch, drop=True)
    refused = _continued(keyed, failed)
    assert "a.csv was hashed with the key k1, which is no longer configured" in failure(refused)

    rotate(keyed, monkeypatch)
    continued = _continued(keyed, failed)

    assert continued.success
    assert [row[0] for row in keyed.rows_everywhere("a.csv")] == [digest("T001", OLD)]
    assert keyed.pg.execute(f"SELECT key_id FROM {keyed.pg_table}_loads").fetchall() == [("k1",)]
    assert _check(keyed).description == (
        "1 file is not hashed with the current key k2, but with k1; 1 to load again with `txn rotate run` or by the "
        "nightly sweep."
    )


def test_erasure_request_needs_its_key(
    keyed: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old key is needed until each erasure request has a hash under the new one, and missed if it is dropped."""
    request(keyed, {"k1": digest("T009", OLD)})
    rotate(keyed, monkeypatch, drop=True)
    code, text = txn(capsys, "rotate status")
    assert code == 3
    assert "transactions-1: known only under k1, which is not configured, so that loads stop." in text

    rotate(keyed, monkeypatch)
    code, found = status(capsys)
    assert (code, found["needed_by"]) == (3, ["erasure requests without a hash under the current key: transactions-1"])

    request(keyed, {"k1": digest("T009", OLD), "k2": digest("T009", NEW)})
    code, found = status(capsys)
    assert (code, found["needed_by"]) == (0, [])


def test_value_under_both_keys(
    keyed: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value on standard input is hashed under both keys, as the stores have it; the value is not shown."""
    rotate(keyed, monkeypatch)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b" T009\n")))

    code, text = txn(capsys, "rotate digests --field transaction_id")

    assert (code, text) == (0, f"k2  {digest('T009', NEW)}\nk1  {digest('T009', OLD)}\n")


def request(deployment: Deployment, digests: dict[str, str]) -> None:
    """Make an erasure request for the person with these hashes, or complete the one that there is."""
    add = partial(
        ErasureRequests.adding, column="transaction_id", digests=digests, by="test", at=dt.datetime.now(dt.UTC)
    )
    with open_services(deployment.config) as services:
        services.of(deployment.feed()).erasures.update(add)


def test_plain_hash_on_gcp(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the gcp target a load with the plain hash is refused in one sentence; trying a file and reading are not."""
    monkeypatch.setenv("TXN_TARGET", "gcp")
    file = tmp_path / "a.csv"
    file.write_bytes(make_file(make_row()))

    code, text = txn(capsys, f"run {file}")

    assert (code, text.count("\n")) == (1, 1)
    assert text.startswith("security.hash.algorithm is sha256, which anybody reverses by trying all ids: set it to ")
    assert txn(capsys, f"check {file}")[0] == 0


def _continued(deployment: Deployment, failed: dg.JobExecutionResult) -> dg.JobExecutionResult:
    options = dg.ReexecutionOptions.from_failure(failed.run_id, deployment.instance)
    return execute(deployment.config, deployment.instance, reexecution_options=options, tags={KEY_TAG: "a.csv"})


def _check(deployment: Deployment) -> dg.AssetCheckEvaluation:
    result = execute(deployment.config, deployment.instance, job="watch_landing_zone")
    assert "under_current_key" in failed_checks(result)
    (check,) = (one for one in result.get_asset_check_evaluations() if one.check_name == "under_current_key")
    assert check.severity == dg.AssetCheckSeverity.WARN
    return check
