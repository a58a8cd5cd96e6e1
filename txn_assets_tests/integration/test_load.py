"""What a landed file becomes: the same rows in three stores, once."""

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from txn_assets.definitions import build
from txn_assets.environment import project_root
from txn_assets_tests.deployment import SINKS, Deployment, failed_checks, failure, make_file, make_row, many_rows

T001 = "e78d6e358171a045d54a628e52c664755d2003250e554d6490a2e3b5794d20a2"


def test_sample_file(deployment: Deployment) -> None:
    """Each store holds the sample's four valid rows, hashed and exact, and the quarantine holds the fifth."""
    deployment.land("transactions.csv", (project_root() / "data" / "transactions.csv").read_bytes())

    result = deployment.materialize("transactions.csv")

    rows = deployment.rows_everywhere("transactions.csv")
    assert len(rows) == 4
    assert (T001, "Halal Laptop", Decimal("999.99"), 2, "2023-10-01") in rows
    (rejected,) = deployment.quarantined("transactions.csv")
    assert rejected["source_row"] == "4"
    assert '"field": "product", "code": "missing"' in rejected["reasons"]
    assert rejected["transaction_id"] == hashlib.sha256(b"T004").hexdigest()
    assert failed_checks(result) == {"no_rejected_rows"}


def test_sql_types_are_exact(deployment: Deployment) -> None:
    """Money is NUMERIC in both databases, so that sums of cents are exact."""
    deployment.load("cents.csv", *many_rows(30, price="0.1"))

    ((pg_sum,),) = deployment.pg.execute(f"SELECT sum(price) FROM {deployment.pg_table}").fetchall()
    (bq_sum,) = next(iter(deployment.bq.query(f"SELECT SUM(price) FROM `{deployment.bq_table}`").result()))

    assert (pg_sum, bq_sum) == (Decimal("3.0"), Decimal("3.0"))


def test_rows_carry_their_source(deployment: Deployment) -> None:
    """A row names its file and its record number in that file, counting rejected records."""
    deployment.load("a.csv", make_row(), make_row(product=""), make_row(transaction_id="T003"))

    rows = deployment.pg.execute(
        f"SELECT source_file, source_row FROM {deployment.pg_table} ORDER BY source_row"
    ).fetchall()

    assert rows == [("a.csv", 1), ("a.csv", 3)]


def test_replay_changes_nothing(deployment: Deployment) -> None:
    """Loading the same version again leaves rows, ledger and object unchanged."""
    deployment.load("a.csv", *many_rows(5))
    before = _state(deployment)

    deployment.materialize("a.csv")

    assert _state(deployment) == before


@pytest.mark.parametrize("rows", [many_rows(2), many_rows(9), many_rows(5, day="2024-02-29"), many_rows(5, start=100)])
def test_new_version_replaces(deployment: Deployment, rows: list[str]) -> None:
    """A new version with fewer rows, more rows, other dates or other ids replaces the old one in each store."""
    deployment.load("a.csv", *many_rows(5))
    deployment.load("b.csv", *many_rows(3))

    deployment.load("a.csv", *rows)

    assert len(deployment.rows_everywhere("a.csv")) == len(rows)
    assert {row[4] for row in deployment.rows_everywhere("a.csv")} == {rows[0].rpartition(",")[2]}
    assert len(deployment.rows_everywhere("b.csv")) == 3


def test_no_valid_rows(deployment: Deployment) -> None:
    """A new version without a valid row fails, and each store keeps what it had."""
    deployment.load("a.csv", *many_rows(5))
    deployment.land("a.csv", make_file(make_row(price="free")))

    result = deployment.materialize("a.csv", raise_on_error=False)

    assert not result.success
    assert failure(result).startswith("No valid transactions in a.csv")
    assert len(deployment.rows_everywhere("a.csv")) == 5
    assert len(deployment.quarantined("a.csv")) == 1


def test_too_many_rejected(deployment: Deployment) -> None:
    """More rejected rows than max_invalid_ratio allows stop the run before any store."""
    deployment.land("a.csv", make_file(make_row(), *[make_row(quantity="0")] * 2))

    result = deployment.materialize("a.csv", raise_on_error=False)

    assert "rejected_share_within_limit" in failed_checks(result)
    assert not {event.step_key for event in result.all_events if event.is_step_success} & {
        *SINKS,
        "hashed_transactions",
    }


def test_corrected_rules_replay(deployment: Deployment) -> None:
    """After the rules are corrected, the same version is validated again, in the quarantine and in each store."""
    deployment.load("a.csv", *many_rows(3), make_row(product="Monitor"))
    deployment.configure({"ingestion": {"validation": {"product_prefix": "Halal"}}})

    deployment.materialize("a.csv")

    assert len(deployment.rows_everywhere("a.csv")) == 3
    assert [row["product"] for row in deployment.quarantined("a.csv")] == ["Monitor"]


def test_quarantine_is_emptied(deployment: Deployment) -> None:
    """A corrected file leaves no rejected rows of its old version behind."""
    deployment.load("a.csv", make_row(), make_row(product=""))

    deployment.load("a.csv", make_row(), make_row(transaction_id="T002"))

    assert deployment.quarantined("a.csv") == []


def test_no_clear_pii_outside_landing(deployment: Deployment) -> None:
    """No object outside the landing zone holds a clear id, nor does any database row, log or event."""
    quantities = ("1", "0", "x", "2", "3")
    rows = [make_row(transaction_id=f"secret-{n}", quantity=quantity) for n, quantity in enumerate(quantities)]
    deployment.land("a.csv", make_file(*rows, "secret-5,short"))

    result = deployment.materialize("a.csv")

    outside = {n: c for n, c in deployment.objects().items() if not n.startswith("landing/")}
    assert len(outside) >= 4
    assert [name for name, content in outside.items() if b"secret-" in content] == []
    assert "secret-" not in str(deployment.rows("postgres_transactions", "a.csv"))
    events = deployment.instance.all_logs(result.run_id)
    assert "secret-" not in "".join(str(event) for event in events)


def test_keyed_hash(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hmac-sha256 the stores hold keyed hashes, and the ledger names the key."""
    monkeypatch.setenv("TXN_HASH_KEY", "k" * 32)
    deployment.configure({"security": {"hash": {"algorithm": "hmac-sha256", "key_id": "2026-11"}}})

    deployment.load("a.csv", make_row())

    (row,) = deployment.rows_everywhere("a.csv")
    assert row[0] == "e91f63b35fd188477386b7a42e35668bddd696f875cdd93fe0735a31776117a5"
    ledger = f"{deployment.pg_table}_loads"
    assert deployment.pg.execute(f"SELECT key_id FROM {ledger}").fetchone() == ("2026-11",)


def test_more_columns_are_hashed(deployment: Deployment) -> None:
    """A column that becomes PII is hashed in every store when the same version is loaded again."""
    deployment.load("a.csv", make_row())
    deployment.configure({"security": {"pii_fields": ["transaction_id", "product"]}})

    deployment.materialize("a.csv")

    ((_, product, *_),) = deployment.rows_everywhere("a.csv")
    assert product == hashlib.sha256(b"Halal Laptop").hexdigest()


def test_consumers_choose_their_form(deployment: Deployment) -> None:
    """An input annotated with a DataFrame, a Table or a RecordBatchReader gets the rows in that form."""
    seen: dict[str, tuple[str, int]] = {}

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="landed_files"))
    def as_frame(hashed_transactions: pd.DataFrame) -> None:
        seen["frame"] = (type(hashed_transactions["price"].iloc[0]).__name__, len(hashed_transactions))

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="landed_files"))
    def as_table(postgres_transactions: pa.Table) -> None:
        seen["table"] = (str(postgres_transactions.schema.field("date").type), postgres_transactions.num_rows)

    @dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="landed_files"))
    def as_stream(validated_transactions: pa.RecordBatchReader) -> None:
        seen["stream"] = (type(validated_transactions).__name__, sum(b.num_rows for b in validated_transactions))

    deployment.load("a.csv", *many_rows(7))
    merged = dg.Definitions.merge(build(deployment.config), dg.Definitions(assets=[as_frame, as_table, as_stream]))
    job = merged.resolve_implicit_global_asset_job_def()
    keys = [as_frame.key, as_table.key, as_stream.key]
    job.execute_in_process(instance=deployment.instance, partition_key="a.csv", asset_selection=keys)

    assert seen == {"frame": ("Decimal", 7), "table": ("date32[day]", 7), "stream": ("RecordBatchReader", 7)}


def test_steps_in_runs_of_their_own(deployment: Deployment) -> None:
    """Assets materialized in separate runs find their inputs, and clear text is read again from the landing zone."""
    deployment.land("a.csv", make_file(*many_rows(6), make_row(product="")))

    for asset in ("raw_csv", "validated_transactions", "hashed_transactions", *SINKS):
        deployment.materialize("a.csv", select=f'key:"{asset}"')

    assert len(deployment.rows_everywhere("a.csv")) == 6


def test_value_of_an_earlier_release(deployment: Deployment) -> None:
    """A staged value in the form of an earlier release counts as gone: the sentence says what to materialize."""
    deployment.land("a.csv", make_file(*many_rows(2)))
    upstream = deployment.materialize("a.csv", select="*hashed_transactions")
    staging = deployment.config.data_lake.staging
    manifest = deployment.bucket.blob(f"{staging}/{upstream.run_id}/hashed_transactions.json")
    value = json.loads(manifest.download_as_bytes())
    totals = value["HashedFiles"]["files"][0]["totals"]
    totals |= totals.pop("sums")
    manifest.upload_from_string(json.dumps(value))

    result = deployment.materialize("a.csv", select="postgres_transactions", raise_on_error=False)

    assert failure(result) == "hashed_transactions is no longer in staging for a.csv: materialize it first."


def test_registered_files_do_not_matter(deployment: Deployment) -> None:
    """A run and its checks look only at its own files, whatever else is registered."""
    deployment.instance.add_dynamic_partitions("landed_files", ["never-loaded.csv"])

    result = deployment.load("a.csv", *many_rows(3))

    assert failed_checks(result) == set()
    assert len(result.get_asset_check_evaluations()) == 12


def test_backfill_in_one_run(deployment: Deployment) -> None:
    """One run loads a range of files, each on its own and with its own ledger row."""
    for name, count in (("a.csv", 2), ("b.csv", 3), ("c.csv", 4), ("d.csv", 5)):
        deployment.land(name, make_file(*many_rows(count, start=10 * count)))
    deployment.instance.add_dynamic_partitions("landed_files", ["a.csv", "b.csv", "c.csv", "d.csv"])
    ends = {"dagster/asset_partition_range_start": "b.csv", "dagster/asset_partition_range_end": "d.csv"}

    result = deployment.materialize(None, tags=ends)

    assert failed_checks(result) == set()
    assert [len(deployment.rows_everywhere(f"{name}.csv")) for name in "bcd"] == [3, 4, 5]
    rows = deployment.pg.execute(
        f"SELECT source_file, row_count FROM {deployment.pg_table}_loads ORDER BY 1"
    ).fetchall()
    assert rows == [("b.csv", 3), ("c.csv", 4), ("d.csv", 5)]


def test_scratch_is_empty_after_a_run(deployment: Deployment, stack_home: Path) -> None:
    """A run leaves nothing of its file on the disk of the machine that loaded it."""

    def on_disk() -> set[Path]:
        return {path for path in (stack_home / "scratch").rglob("*") if path.is_file() and path.name != "lock"}

    # What a killed run of another test left is removed by the next process that opens scratch space.
    before = on_disk()

    deployment.load("a.csv", *many_rows(6))

    assert on_disk() <= before


def _state(deployment: Deployment) -> list[object]:
    pg, bq = deployment.pg_table, deployment.bq_table
    (blob,) = deployment.gcs.list_blobs(deployment.bucket, prefix="raw/")
    return [
        blob.generation,
        deployment.pg.execute(f"SELECT ctid, * FROM {pg} ORDER BY 1").fetchall(),
        sorted(str(row.values()) for row in deployment.bq.query(f"SELECT * FROM `{bq}`").result()),
        deployment.bq.query(f"SELECT count(*) FROM `{bq}_loads` WHERE source_file = 'a.csv'").result().total_rows,
        deployment.pg.execute(f"SELECT source_file, generation, row_count FROM {pg}_loads").fetchall(),
    ]
