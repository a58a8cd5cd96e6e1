"""What is left of a file after a person is erased: exact objects, tables and ledgers, and a landed file of its form."""

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from txn_assets.cli import main
from txn_assets.stores.quarantine import Quarantine
from txn_assets_tests.deployment import FIELDS, SINKS, Deployment, failure, make_config, make_file, make_row

PERSON = "PERSON-4711"
DIGEST = hashlib.sha256(PERSON.encode()).hexdigest()
OTHERS = [("T1", "12.50"), ("T2", "0.25"), ("T3", "7.00")]
PACKED = "packed.csv.gz"
GARBAGE = "workbook.csv"


def lines_of() -> list[str]:
    """Return the lines of a file: rows of others around those of the person, valid and rejected ones."""
    others = [make_row(transaction_id=id_, price=price, product='19" screen, "large"') for id_, price in OTHERS]
    of_person = make_row(transaction_id=PERSON, price="99.00", date="2024-02-29")
    rejected = [make_row(transaction_id=PERSON, product=""), make_row(transaction_id="T4", product="", quantity="0")]
    return [others[0], of_person, *rejected, *others[1:], of_person]


def erase(monkeypatch: pytest.MonkeyPatch, value: str = PERSON) -> int:
    """Run `txn erase` for a person, and return its exit code."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(value.encode())))
    return main(["erase", "--field", "transaction_id"])


@pytest.fixture(scope="module")
def erased(stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Load a compressed file with a person, and erase the person. Rows of the original pipeline are in the tables."""
    config = tmp_path_factory.mktemp("erased") / "pipeline_config.yaml"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TXN_HOME": stack_home, "TXN_TARGET": "local", "TXN_CONFIG": config}.items():
            patch.setenv(name, str(value))
        for name in ("BUCKET_NAME", "TXN_EXECUTOR", "TXN_HASH_KEY", "TXN_LOG_FORMAT"):
            patch.delenv(name, raising=False)
        make_config(config, {"ingestion": {"max_invalid_ratio": 0.5}})
        with Deployment.temporary(config) as deployment:
            deployment.land(PACKED, gzip.compress(make_file(*lines_of())))
            deployment.land(GARBAGE, b"PK\x03\x04 no rows")
            assert deployment.materialize(PACKED).success
            for id_ in (DIGEST, "0" * 64):
                row = f"(transaction_id, product) VALUES ('{id_}', 'Lamp')"
                deployment.pg.execute(f"INSERT INTO {deployment.pg_table} {row}")
                deployment.bq.query(f"INSERT INTO `{deployment.bq_table}` {row}").result()
            assert erase(patch) == 0
            yield deployment


def test_rows_of_others_are_exact(erased: Deployment) -> None:
    """Each store has exactly the rows of the others, in the same places of the file."""
    expected = [
        (hashlib.sha256(id_.encode()).hexdigest(), '19" screen, "large"', Decimal(price), 2, "2023-10-01")
        for id_, price in OTHERS
    ]
    assert sorted(erased.rows_everywhere(PACKED)) == sorted(expected)
    query = f"SELECT source_row FROM {{}} WHERE source_file = '{PACKED}' ORDER BY 1"
    assert erased.pg.execute(query.format(erased.pg_table)).fetchall() == [(1,), (5,), (6,)]
    assert [row[0] for row in erased.bq.query(query.format(f"`{erased.bq_table}`")).result()] == [1, 5, 6]


def test_ledgers_are_exact(erased: Deployment) -> None:
    """Each ledger row has the totals of what is left, and what was erased, and is otherwise the same."""
    columns = "row_count, sum_price, sum_quantity, min_date, max_date, records, rejected, erased"
    query = f"SELECT {columns}, fingerprint FROM {{}} WHERE source_file = '{PACKED}'"
    (in_postgres,) = erased.pg.execute(query.format(f"{erased.pg_table}_loads")).fetchall()
    (in_bigquery,) = erased.bq.query(query.format(f"`{erased.bq_table}_loads`")).result()
    assert in_postgres == in_bigquery.values()
    first = dict(zip(columns.split(", "), map(str, in_postgres), strict=False))
    assert first == {
        "row_count": "3",
        "sum_price": "19.7500",
        "sum_quantity": "6",
        "min_date": "2023-10-01",
        "max_date": "2023-10-01",
        "records": "7",
        "rejected": "2",
        "erased": "2",
    }
    (blob,) = erased.gcs.list_blobs(erased.bucket, prefix=f"{erased.feed().path}/")
    assert {key: blob.metadata[key] for key in ("rows", "sum_price", "max_date", "erased")} == {
        "rows": "3",
        "sum_price": "19.7500",
        "max_date": "2023-10-01",
        "erased": "2",
    }


def test_rows_of_the_original_pipeline(erased: Deployment) -> None:
    """Rows that belong to no file are erased too."""
    query = "SELECT transaction_id FROM {} WHERE source_file IS NULL"
    assert erased.pg.execute(query.format(erased.pg_table)).fetchall() == [("0" * 64,)]
    assert [row[0] for row in erased.bq.query(query.format(f"`{erased.bq_table}`")).result()] == ["0" * 64]


def test_record_of_the_erasure(erased: Deployment) -> None:
    """Both databases note how many rows were removed, and when that was finished."""
    query = "SELECT request_id, field, rows_removed, finished_at IS NOT NULL FROM {}"
    noted = ("transactions-1", "transaction_id", 3, True)
    assert erased.pg.execute(query.format(f"{erased.pg_table}_erasures")).fetchall() == [noted]
    job = erased.bq.query(query.format(f"`{erased.bq_table}_erasures`"))
    assert [row.values() for row in job.result()] == [noted]


def test_quarantine_is_exact(erased: Deployment) -> None:
    """The rejected row of the other stays, and the counts of the object are those of its rows."""
    (row,) = erased.quarantined(PACKED)
    assert (row["source_row"], row["transaction_id"]) == ("4", hashlib.sha256(b"T4").hexdigest())
    blob = erased.bucket.get_blob(f"{erased.config.data_lake.quarantine}/{PACKED}/rejected.csv")
    assert blob
    assert json.loads(blob.metadata["reasons"]) == {"product: missing": 1, "quantity: greater_than_equal": 1}
    assert (blob.metadata["records"], blob.metadata["erased"]) == ("7", "1")


def test_no_object_has_the_person(erased: Deployment) -> None:
    """Neither the value nor its hash is in any object, but for the request; staged rows with it are deleted."""
    objects = {name: data for name, data in erased.objects().items() if not name.startswith("erasures/")}
    assert len(objects) > 4
    assert [name for name, data in objects.items() if PERSON.encode() in data or DIGEST.encode() in data] == []


def test_landed_file_is_landed_again(erased: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The landed file keeps its form and the other records, and is loaded as a new version without erased rows."""
    blob = erased.bucket.get_blob(f"{erased.feed().landing}/{PACKED}")
    assert blob
    left = [line for line in lines_of() if PERSON not in line]
    assert gzip.decompress(blob.download_as_bytes(raw_download=True)) == make_file(*left)
    before = erased.rows_everywhere(PACKED)

    assert erased.materialize(PACKED).success

    assert erased.rows_everywhere(PACKED) == before
    query = f"SELECT generation, records, row_count, rejected, erased FROM {erased.pg_table}_loads"
    newest = erased.pg.execute(f"{query} ORDER BY generation DESC LIMIT 1").fetchone()
    assert newest == (blob.generation, 4, 3, 1, 0)
    # The same command again has nothing to do.
    assert erase(monkeypatch) == 0
    assert erased.rows_everywhere(PACKED) == before


def test_landed_file_that_nobody_can_read(erased: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read as rows is named, because nobody knows whether the person is in it."""
    assert main(["erase", "verify"]) == 0
    assert f"{GARBAGE} cannot be read as rows, so nobody knows whether the person is in it" in caplog.text


def test_deleted_landed_file_and_a_lake_of_parquet(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `erasure.landing: delete`, files with the person are deleted, and others stay; Parquet objects are exact."""
    deployment.configure({"erasure": {"landing": "delete"}, "data_lake": {"format": "parquet"}})
    deployment.land("other.csv", make_file(make_row()))
    others = [make_row(transaction_id=id_, price=price) for id_, price in OTHERS]
    deployment.load("person.csv", make_row(transaction_id=PERSON), *others)

    assert erase(monkeypatch) == 0

    landed = deployment.gcs.list_blobs(deployment.bucket, prefix=f"{deployment.feed().landing}/")
    # The sample lands when the servers start.
    assert {Path(blob.name).name for blob in landed} - {"transactions.csv"} == {"other.csv"}
    (blob,) = deployment.gcs.list_blobs(deployment.bucket, prefix=f"{deployment.feed().path}/")
    table = pyarrow.parquet.read_table(io.BytesIO(blob.download_as_bytes()))
    in_postgres = deployment.rows(SINKS[-1], "person.csv")
    assert sorted(tuple(row[name] for name in FIELDS[:3]) for row in table.to_pylist()) == sorted(
        row[:3] for row in in_postgres
    )
    assert (len(in_postgres), blob.metadata["rows"], blob.metadata["erased"]) == (3, "3", "1")
    # The run's staged rows had the person, so nobody can load them again.
    again = deployment.materialize("person.csv", select="postgres_transactions", raise_on_error=False)
    assert re.search(r"The staged rows at gs://.* are gone: .* Materialize hashed_transactions again", failure(again))


def test_erasure_while_a_file_is_validated(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejected rows that are stored after an erasure looked into the quarantine are removed, and the run says so."""
    store = Quarantine.store

    def stored_late(self: Quarantine, *arguments: Any, **options: Any) -> str | None:
        assert erase(monkeypatch) == 0
        return store(self, *arguments, **options)

    monkeypatch.setattr(Quarantine, "store", stored_late)
    deployment.land("a.csv", make_file(*lines_of()))

    result = deployment.materialize("a.csv", raise_on_error=False, select="+validated_transactions")

    assert re.search(r"Somebody was erased while a.csv@\d+ was validated. Materialize it again.", failure(result))
    assert deployment.quarantined("a.csv") == []
