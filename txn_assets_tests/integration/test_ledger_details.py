"""What the ledgers, the tables of rejects and the view `file_status` say about files, in both databases."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from txn_assets.files.ledger import LoadRecord
from txn_assets.files.ledger_columns import DETAIL_COLUMNS
from txn_assets.stores.bigquery.store import MAX_BOUND_REJECTS
from txn_assets.stores.status_view import COLUMNS, VIEW
from txn_assets_tests.deployment import Deployment, make_config, make_file, make_row, many_rows
from txn_assets_tests.faults.bench import open_stores

ENGINES = ("bigquery", "postgres")
BAD = (make_row(transaction_id="T9", product="", price="-1"), make_row(transaction_id="T8", product=""))
REASONS = {"product: missing": 2, "price: greater_than_equal": 1}
REJECTS = [(4, "price", "greater_than_equal"), (4, "product", "missing"), (5, "product", "missing")]

REFUNDS = make_file(
    "R1,T1,damaged,5.00,2023-10-01T12:00:00+00:00,",
    header="refund_id,transaction_id,reason,amount,refunded_at,partial",
)

type Rows = list[dict[str, Any]]


def query(deployment: Deployment, engine: str, table: str) -> Rows:
    """Return the rows of a table beside the data table; `{}` in its name is the data table."""
    if engine == "bigquery":
        name = table.format(deployment.bq_table.rpartition(".")[2])
        found = deployment.bq.query(f"SELECT * FROM `{deployment.bq_table.rpartition('.')[0]}.{name}`").result()
        rows = [dict(row) for row in found]
    else:
        name = table.format(deployment.pg_table.rpartition(".")[2])
        cursor = deployment.pg.execute(f"SELECT * FROM {deployment.pg_table.rpartition('.')[0]}.{name}")
        names = [column.name for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [row for row in rows if row["source_file"]]


def as_json(value: Any) -> Any:
    """Return a JSON column's value, which BigQuery keeps as text."""
    return json.loads(value) if isinstance(value, str) else value


@dataclass
class Snapshot:
    """What both databases say after a load."""

    loads: dict[str, Rows] = field(default_factory=dict)
    rejects: dict[str, Rows] = field(default_factory=dict)
    status: dict[str, Rows] = field(default_factory=dict)

    @classmethod
    def of(cls, deployment: Deployment) -> "Snapshot":
        return cls(
            loads={engine: query(deployment, engine, "{}_loads") for engine in ENGINES},
            rejects={engine: query(deployment, engine, "{}_rejects") for engine in ENGINES},
            status={engine: query(deployment, engine, VIEW) for engine in ENGINES},
        )


@dataclass
class History:
    """A file that was loaded, replayed, loaded under other rules, and replaced by a version without rejected rows.

    After that, a file of another feed is loaded.
    """

    deployment: Deployment
    generations: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def load(self) -> None:
        """Load the file as it is, and take a snapshot."""
        result = self.deployment.materialize("a.csv")
        assert result.success
        self.runs.append(result.run_id)
        self.snapshots.append(Snapshot.of(self.deployment))


@pytest.fixture(scope="module")
def history(stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Yield the history of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TXN_HOME", str(stack_home))
        patch.setenv("TXN_TARGET", "local")
        config = tmp_path_factory.mktemp("history") / "pipeline_config.yaml"
        patch.setenv("TXN_CONFIG", str(config))
        make_config(config, {"feeds": {"refunds": {}}})
        with Deployment.temporary(config) as deployment:
            made = History(deployment)
            made.generations.append(deployment.land("a.csv", make_file(*many_rows(3), *BAD)))
            made.load()
            made.load()
            deployment.configure({"ingestion": {"validation": {"max_quantity": 1000}}})
            made.load()
            made.generations.append(deployment.land("a.csv", make_file(*many_rows(4))))
            made.load()
            deployment.land("r.csv", REFUNDS, feed="refunds")
            assert deployment.materialize("r.csv", feed="refunds").success
            made.snapshots.append(Snapshot.of(deployment))
            yield made


@pytest.mark.parametrize("engine", ENGINES)
class TestHistory:
    """The ledgers of the databases."""

    def test_ledger_says_how_a_file_was_loaded(self, history: History, engine: str) -> None:
        """The row of a load has what validation found, its moments in order, and the seconds of each stage."""
        (row,) = history.snapshots[0].loads[engine]
        assert (row["records"], row["row_count"], row["rejected"]) == (5, 3, 2)
        assert as_json(row["reasons"]) == REASONS
        assert as_json(row["stage_seconds"]).keys() == {"validate", "hash", "load"}
        assert row["landed_at"] < row["started_at"] < row["loaded_at"] < dt.datetime.now(dt.UTC)
        assert row["replaced_generation"] is None
        is_bigquery = engine == "bigquery"
        assert str(row["job_id"]).startswith("txn_commit_") is is_bigquery
        assert row["bytes_billed"] == (0 if is_bigquery else None)

    def test_replay_changes_no_ledger_row(self, history: History, engine: str) -> None:
        """A replay that finds the version there leaves the row of the load that wrote the rows, and the rejects."""
        first, replayed = history.snapshots[:2]
        assert replayed.loads[engine] == first.loads[engine]
        assert replayed.rejects[engine] == first.rejects[engine]

    def test_rejects_have_a_row_for_each_reason(self, history: History, engine: str) -> None:
        """Each reason of each rejected record is noted once, with its version and its run, and no value."""
        rows = history.snapshots[0].rejects[engine]
        assert sorted((row["source_row"], row["field"], row["code"]) for row in rows) == REJECTS
        assert {(row["source_file"], row["generation"]) for row in rows} == {("a.csv", history.generations[0])}
        assert {row["run_id"] for row in rows} == {history.runs[0]}
        assert rows[0].keys() == {"source_file", "generation", "source_row", "field", "code", "run_id", "noted_at"}

    def test_other_rules_add_their_rejects(self, history: History, engine: str) -> None:
        """A load under other rules adds the rejects of its run, and those of the earlier one stay."""
        before, after = (history.snapshots[number].rejects[engine] for number in (1, 2))
        assert len(after) == 2 * len(before)
        assert {row["run_id"] for row in after} == {history.runs[0], history.runs[2]}
        (row,) = history.snapshots[2].loads[engine]
        assert (row["run_id"], row["replaced_generation"]) == (history.runs[2], history.generations[0])

    def test_version_without_rejects_adds_none(self, history: History, engine: str) -> None:
        """A version without rejected rows replaces the earlier one in the ledger, and notes no rejects."""
        before, after = history.snapshots[2:4]
        assert after.rejects[engine] == before.rejects[engine]
        newest = max(after.loads[engine], key=lambda row: row["generation"])
        assert (newest["rejected"], as_json(newest["reasons"])) == (0, {})
        assert newest["replaced_generation"] == history.generations[0]

    def test_view_shows_the_newest_version(self, history: History, engine: str) -> None:
        """The view has one row per file, of its newest version, with the columns that are documented."""
        (first,), (last,) = (history.snapshots[number].status[engine] for number in (0, 3))
        assert list(last) == list(COLUMNS)
        assert (first["records"], first["valid"], first["rejected"]) == (5, 3, 2)
        assert as_json(first["reasons"]) == REASONS
        assert (last["generation"], last["records"], last["valid"], last["rejected"]) == (
            history.generations[1],
            4,
            4,
            0,
        )
        (row,) = history.snapshots[0].loads[engine]
        assert first["seconds"] == pytest.approx(sum(as_json(row["stage_seconds"]).values()))
        tables = {"bigquery": history.deployment.bq_table, "postgres": history.deployment.pg_table}
        assert (last["feed"], last["table_name"]) == ("transactions", tables[engine])

    def test_view_shows_the_files_of_all_feeds(self, history: History, engine: str) -> None:
        """The first load of another feed adds its files to the view."""
        found = {row["feed"]: (row["source_file"], row["records"]) for row in history.snapshots[4].status[engine]}
        assert found == {"transactions": ("a.csv", 4), "refunds": ("r.csv", 1)}


def test_lake_says_it_too(history: History) -> None:
    """The metadata of the object in the lake has the details that do not depend on the upload."""
    with open_stores(history.deployment.config) as stores:
        record = stores["gcs_raw"].held("a.csv")
        assert record
        assert record.details
        in_postgres = stores["postgres_transactions"].held("a.csv")
    assert in_postgres
    assert in_postgres.details
    assert record.details.landed_at == in_postgres.details.landed_at
    assert record.details.started_at == in_postgres.details.started_at
    assert record.details.seconds.keys() == {"validate", "hash"}
    assert (record.details.records, record.details.replaced_generation) == (4, history.generations[0])


def test_recent_loads_are_newest_first(history: History) -> None:
    """The databases return the last loads, newest first, and no more than asked for."""
    with open_stores(history.deployment.config) as stores:
        for asset in ("bigquery_raw_transactions", "postgres_transactions"):
            loads: list[LoadRecord] = stores[asset].recent_loads(10)  # type: ignore[attr-defined]  # of the databases
            assert [record.file.generation for record in loads] == sorted(history.generations, reverse=True)
            assert stores[asset].recent_loads(1) == loads[:1]  # type: ignore[attr-defined]  # of the databases


def test_many_rejects(history: History) -> None:
    """More rejects than BigQuery takes as a parameter are noted all the same, as in PostgreSQL."""
    bad = MAX_BOUND_REJECTS + 1
    deployment = history.deployment
    good, wrong = (f"R2,T2,damaged,{amount},2023-10-01T12:00:00+00:00,\n".encode() * bad for amount in (1, -1))
    deployment.land("many.csv", REFUNDS + good + wrong, feed="refunds")
    assert deployment.materialize("many.csv", feed="refunds").success
    tables = {"bigquery": "raw_refunds_rejects", "postgres": "refunds_rejects"}
    found = {
        engine: {
            (row["source_row"], row["field"], row["code"], row["run_id"])
            for row in query(deployment, engine, table)
            if row["source_file"] == "many.csv"
        }
        for engine, table in tables.items()
    }
    assert found["bigquery"] == found["postgres"]
    assert len(found["bigquery"]) == bad


def test_ledgers_of_an_earlier_release(deployment: Deployment) -> None:
    """Ledgers without details and without a view keep their rows, are completed by a replay, and get the view."""
    deployment.land("a.csv", make_file(*many_rows(3), *BAD))
    deployment.land("b.csv", make_file(*many_rows(2)))
    assert deployment.materialize_batch("a.csv", "b.csv").success
    before = {engine: query(deployment, engine, "{}_loads") for engine in ENGINES}
    dataset, schema = deployment.bq_table.rpartition(".")[0], deployment.pg_table.rpartition(".")[0]
    drops = [f"DROP COLUMN {name}" for name in DETAIL_COLUMNS]
    deployment.pg.execute(f"DROP VIEW {schema}.{VIEW}; DROP TABLE {deployment.pg_table}_rejects")
    deployment.pg.execute(f"ALTER TABLE {deployment.pg_table}_loads {', '.join(drops)}")
    deployment.bq.delete_table(f"{dataset}.{VIEW}")
    deployment.bq.delete_table(f"{deployment.bq_table}_rejects")
    ledger = f"`{deployment.bq_table}_loads`"
    # Its lock row says nothing about the view.
    lock = "REPLACE (IF(source_file = '', '', rules_id) AS rules_id)"
    kept = f"SELECT * EXCEPT ({', '.join(DETAIL_COLUMNS)}) {lock} FROM {ledger}"
    deployment.bq.query(f"CREATE OR REPLACE TABLE {ledger} AS {kept}").result()
    with open_stores(deployment.config) as stores:
        for asset in ("bigquery_raw_transactions", "postgres_transactions"):
            loads: list[LoadRecord] = stores[asset].recent_loads(10)  # type: ignore[attr-defined]  # of the databases
            assert {record.file.name: record.details for record in loads} == {"a.csv": None, "b.csv": None}

    assert deployment.materialize("a.csv").success

    for engine in ENGINES:
        after = {row["source_file"]: row for row in query(deployment, engine, "{}_loads")}
        (was,) = (row for row in before[engine] if row["source_file"] == "b.csv")
        assert after["b.csv"] == was | dict.fromkeys(DETAIL_COLUMNS)
        assert {after["b.csv"][name] for name in DETAIL_COLUMNS} == {None}
        assert (after["a.csv"]["records"], as_json(after["a.csv"]["reasons"])) == (5, REASONS)
        assert len(query(deployment, engine, "{}_rejects")) == len(REJECTS)
        status = {row["source_file"]: (row["valid"], row["rejected"]) for row in query(deployment, engine, VIEW)}
        assert status == {"a.csv": (3, 2), "b.csv": (2, None)}
