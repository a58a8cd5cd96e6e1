"""A second feed: refunds are found, loaded, replaced, replayed and reconciled, apart from transactions."""

import csv
import datetime as dt
import io
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from txn_assets.definitions import build
from txn_assets.errors import UserError
from txn_assets.run import UsageError, run
from txn_assets_tests.deployment import Deployment, failed_checks, failure, make_file, make_row

HEADER = "refund_id,transaction_id,reason,amount,refunded_at,partial"
COLUMNS = tuple(HEADER.split(","))
STORES = ("refunds/gcs_raw", "refunds/bigquery_raw_refunds", "refunds/postgres_refunds")

type Refund = tuple[str, str, str, Decimal, dt.datetime, bool | None]


def refund(**overrides: str) -> str:
    """Return a row of a refund."""
    row = {
        "refund_id": "R001",
        "transaction_id": "T001",
        "reason": "damaged",
        "amount": "10.00",
        "refunded_at": "2024-03-02T10:30:00+02:00",
        "partial": "false",
    } | overrides
    return ",".join(row[name] for name in COLUMNS)


def refunds(*rows: str) -> bytes:
    """Return a file of refunds."""
    return make_file(*rows, header=HEADER)


@pytest.fixture
def both(deployment: Deployment) -> Deployment:
    """Return a deployment with the feeds transactions and refunds."""
    deployment.configure({"feeds": {"refunds": {}}})
    return deployment


def load(both: Deployment, name: str, *rows: str, raise_on_error: bool = True) -> dg.JobExecutionResult:
    """Land a file of refunds and materialize the assets of the feed for it."""
    both.land(name, refunds(*rows), feed="refunds")
    return both.materialize(name, feed="refunds", raise_on_error=raise_on_error)


def rows_everywhere(both: Deployment, name: str) -> list[Refund]:
    """Return the rows of a file of refunds after checking that all three stores agree on them."""
    feed = both.feed("refunds")
    schema = both.config.data_warehouse.postgres.schema_
    where = f"WHERE source_file = '{name}'"
    dataset = both.bq_table.rpartition(".")[0]
    in_postgres = both.pg.execute(f"SELECT {HEADER} FROM {schema}.{feed.postgres_table} {where}").fetchall()
    in_bigquery = both.bq.query(f"SELECT {HEADER} FROM `{dataset}.{feed.bigquery_table}` {where}").result()
    lake = both.bucket.get_blob(f"{feed.path}/{name.removesuffix('.csv')}/processed.csv")
    in_lake = csv.DictReader(io.StringIO(lake.download_as_text(), newline="")) if lake else []
    found = [
        sorted(map(_row, in_postgres)),
        sorted(_row(tuple(row.values())) for row in in_bigquery),
        sorted(_row(tuple(row[column] for column in COLUMNS)) for row in in_lake),
    ]
    assert found[0] == found[1] == found[2]
    return found[0]


def _row(values: tuple[Any, ...]) -> Refund:
    refund_id, transaction_id, reason, amount, at, partial = values
    if isinstance(at, str):
        at = dt.datetime.fromisoformat(at)
        partial = {"true": True, "false": False, "": None}[partial]
    return refund_id, transaction_id, reason, Decimal(amount), at.astimezone(dt.UTC), partial


def _tick(both: Deployment, name: str) -> dg.SensorResult:
    definitions = build(both.config)
    sensor = definitions.resolve_sensor_def(name)
    resources = {"services": (definitions.resources or {})["services"]}
    with dg.build_sensor_context(both.instance, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_landed_file_is_found_and_loaded(both: Deployment) -> None:
    """The sensor of the feed requests a landed file, and its run loads it into tables of its own, with all checks."""
    content = refunds(refund(), refund(refund_id="R002", partial="", amount="2.5"), refund(reason="mood"))
    generation = both.land("a.csv", content, feed="refunds")

    tick = _tick(both, "refunds_new_landed_files")
    requests = [request for request in tick.run_requests or [] if request.partition_key == "a.csv"]
    assert [request.run_key for request in requests] == [f"a.csv@{generation}"]
    assert [request.partitions_def_name for request in tick.dynamic_partitions_requests or []] == [
        "refunds_landed_files"
    ]
    result = both.materialize("a.csv", feed="refunds")

    found = rows_everywhere(both, "a.csv")
    at = dt.datetime(2024, 3, 2, 8, 30, tzinfo=dt.UTC)
    assert sorted((row[2:] for row in found), key=lambda row: row[1]) == [
        ("damaged", Decimal("2.5"), at, None),
        ("damaged", Decimal(10), at, False),
    ]
    assert all(len(row[0]) == len(row[1]) == 64 for row in found)
    assert failed_checks(result) == {"no_rejected_rows"}
    checks = {(check.asset_key.to_user_string(), check.check_name) for check in result.get_asset_check_evaluations()}
    assert {(store, "matches_hashed_refunds") for store in STORES} | {
        ("refunds/validated_refunds", "ids_unique")
    } <= checks
    assert both.bucket.get_blob("quarantine/refunds/a.csv/rejected.csv")
    assert both.instance.get_dynamic_partitions("refunds_landed_files") == ["a.csv"]
    assert "a.csv" not in both.instance.get_dynamic_partitions("landed_files")


def test_new_version_replaces_and_a_replay_changes_nothing(both: Deployment) -> None:
    """A new version replaces the rows of its file alone, and loading it again is a no-op."""
    load(both, "a.csv", refund(), refund(refund_id="R002"))
    load(both, "b.csv", refund(refund_id="R003"))

    assert not failed_checks(load(both, "a.csv", refund(amount="7.00")))
    result = both.materialize("a.csv", feed="refunds")

    assert [row[3] for row in rows_everywhere(both, "a.csv")] == [Decimal("7.00")]
    assert len(rows_everywhere(both, "b.csv")) == 1
    actions = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata["action"].value
        for event in result.all_events
        if event.is_step_materialization and event.asset_key and event.asset_key.to_user_string() in STORES
    }
    assert actions == dict.fromkeys(STORES, "unchanged")


def test_one_name_in_two_feeds(both: Deployment) -> None:
    """Files of one name in two feeds are two files."""
    both.load("a.csv", make_row(), make_row(transaction_id="T002"))
    load(both, "a.csv", refund())

    assert len(both.rows_everywhere("a.csv")) == 2
    assert len(rows_everywhere(both, "a.csv")) == 1


def test_make_run(both: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`txn run --feed` loads a file into its feed, and the summary has its rows, tables and objects."""
    _use_dagster_home(tmp_path, monkeypatch)
    file = tmp_path / "refunds.csv"
    file.write_bytes(refunds(refund(), refund(refund_id="R002", amount="x")))
    out = io.StringIO()

    assert run(file, both.config, out, feed="refunds", name="b.csv") == 0

    printed = out.getvalue()
    assert "rejected             1" in printed
    assert "record 2 rejected: amount" in printed
    assert "PostgreSQL           1  loaded" in printed
    assert ".refunds LIMIT 5" in printed
    assert "raw/refunds/b/processed.csv" in printed
    assert re.search(r"^    bigquery_raw_refunds {6} +[0-9.]+$", printed, re.MULTILINE)
    assert len(rows_everywhere(both, "b.csv")) == 1


def test_make_run_asks_before_it_replaces(both: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that shares no id with the rows under its name is not landed; one that shares an id replaces them."""
    _use_dagster_home(tmp_path, monkeypatch)
    load(both, "a.csv", refund(), refund(refund_id="R002"))
    file = tmp_path / "a.csv"
    file.write_bytes(refunds(refund(refund_id="R003")))

    with pytest.raises(UsageError, match="none of the ids in this file is among theirs"):
        run(file, both.config, io.StringIO(), feed="refunds")

    file.write_bytes(refunds(refund(refund_id="R003"), refund(refund_id="R002")))
    assert run(file, both.config, io.StringIO(), feed="refunds") == 0
    assert len(rows_everywhere(both, "a.csv")) == 2


def test_unknown_feed(both: Deployment, tmp_path: Path) -> None:
    """A feed that is not configured is refused with the nearest one."""
    file = tmp_path / "a.csv"
    file.write_bytes(refunds(refund()))

    with pytest.raises(UserError, match=r"There is no feed 'refund' in .* Did you mean 'refunds'\?"):
        run(file, both.config, io.StringIO(), feed="refund")


def test_same_data_under_another_name(both: Deployment) -> None:
    """A file whose bytes, or more than half of whose ids, are loaded under another name gets a warning."""
    load(both, "week35.csv", refund(), refund(refund_id="R002"))

    twin = load(both, "week35 (1).csv", refund(), refund(refund_id="R002"))
    overlap = load(both, "week36.csv", refund(amount="1.00"), refund(refund_id="R002"), refund(refund_id="R003"))
    other = load(both, "week37.csv", refund(refund_id="R004"), refund(refund_id="R002"))

    assert _warning(twin) == "week35 (1).csv: the same bytes are loaded as week35.csv"
    assert _warning(overlap) == "week36.csv: 2 of 3 ids are also in week35 (1).csv, week35.csv"
    assert _warning(other) == ""


def _warning(result: dg.JobExecutionResult) -> str:
    """Return what the check for data loaded twice says."""
    (check,) = (one for one in result.get_asset_check_evaluations() if one.check_name == "loaded_under_one_name")
    assert check.passed or check.severity is dg.AssetCheckSeverity.WARN
    return check.description or ""


def test_what_a_new_version_changes(both: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary says what a new version changes, and a change over the configured limit fails a check."""
    _use_dagster_home(tmp_path, monkeypatch)
    both.configure({"feeds": {"refunds": {"max_change_ratio": "0.9"}}})
    assert not failed_checks(load(both, "a.csv", refund(), refund(refund_id="R002"), refund(refund_id="R003")))
    file = tmp_path / "a.csv"
    file.write_bytes(refunds(refund(), refund(refund_id="R002", amount="11.50"), refund(refund_id="R004")))
    out = io.StringIO()

    assert run(file, both.config, out, feed="refunds") == 1

    printed = out.getvalue()
    (line,) = (line.strip() for line in printed.splitlines() if line.startswith("  replaces"))
    assert re.fullmatch(r"replaces    3 rows loaded on 20\d\d-.* UTC: 1 added, 1 gone, 1 changed, amount \+1\.5", line)
    assert (
        "FAILED  refunds__bigquery_raw_refunds, change_within_limit: a.csv: 1 rows added, 1 gone, 1 changed" in printed
    )
    assert len(rows_everywhere(both, "a.csv")) == 3


def test_header_only_file(both: Deployment) -> None:
    """A new file without rows is loaded as a file of zero rows, which the ledgers note and later versions replace."""
    result = load(both, "a.csv")

    assert result.success
    assert not failed_checks(result)
    assert rows_everywhere(both, "a.csv") == []
    schema = both.config.data_warehouse.postgres.schema_
    ledger = both.pg.execute(f"SELECT row_count FROM {schema}.refunds_loads WHERE source_file = 'a.csv'").fetchall()
    assert ledger == [(0,)]

    load(both, "a.csv", refund())
    assert len(rows_everywhere(both, "a.csv")) == 1


def test_header_only_version(both: Deployment) -> None:
    """A version without rows of a file that had some fails, and the stores keep what they had."""
    load(both, "a.csv", refund())

    result = load(both, "a.csv", raise_on_error=False)

    assert not result.success
    assert failure(result).startswith(
        "a.csv has a header and no rows, but an earlier version had rows, which are in GCS, BigQuery, PostgreSQL."
    )
    assert len(rows_everywhere(both, "a.csv")) == 1


def _use_dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
