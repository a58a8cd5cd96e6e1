"""An older version never replaces a newer one, whenever its run resumes."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from txn_assets.files.ledger import Action
from txn_assets.files.values import HashedFile
from txn_assets.stores.bigquery.store import BigQueryStore
from txn_assets.stores.errors import StoreError
from txn_assets.stores.store import Store
from txn_assets_tests.deployment import SINKS, Deployment
from txn_assets_tests.faults.bench import Content, difference, leftovers, make_load, stage, turn_into


class Wakes:
    """Stand-in for the run files: a successor loads the store right before the rows are handed out.

    That is the latest moment before a run writes, and after it has checked the ledger.
    """

    def __init__(self, sink: Store, successor: Content) -> None:
        self._run_files = sink.run_files
        self._sink = replace(sink)
        self._successor: Sequence[HashedFile] = [successor.file]

    def __getattr__(self, name: str) -> object:
        return getattr(self._run_files, name)

    def hashed_rows(self, file: HashedFile) -> object:
        if self._successor:
            successor, self._successor = self._successor, []
            self._sink.load(successor, "successor")
        return self._run_files.hashed_rows(file)


@pytest.mark.parametrize("store", SINKS)
def test_older_version_changes_nothing(
    deployment: Deployment, stores: dict[str, Store], old: Content, new: Content, store: str
) -> None:
    """A run with an older generation than the loaded one changes nothing and says so."""
    make_load(stores[store], new)

    action = make_load(stores[store], old, "late")

    assert action is Action.STAND_BACK
    assert difference(deployment, store, new).size == 0
    assert leftovers(deployment, store, new) == []


def test_gcs_run_wakes_after_successor(
    deployment: Deployment, stores: dict[str, Store], old: Content, new: Content
) -> None:
    """A run that read the object before its successor wrote it is refused by the generation precondition."""
    store = "gcs_raw"
    stale = _stale(stores[store], new)

    assert make_load(stale, old, "late") is Action.STAND_BACK
    assert difference(deployment, store, new).size == 0


def test_bigquery_run_wakes_after_successor(
    deployment: Deployment, stores: dict[str, Store], old: Content, new: Content
) -> None:
    """A run that read the ledger before its successor committed is refused in its transaction, without leftovers."""

    class Sleeper(BigQueryStore):
        def _fill_load_table(self, *arguments: Any) -> str | None:
            filled = super()._fill_load_table(*arguments)
            successor = turn_into(BigQueryStore, self)
            successor.load([new.file], "successor")
            return filled

    store = "bigquery_raw_transactions"
    assert make_load(turn_into(Sleeper, stores[store]), old, "late") is Action.STAND_BACK
    assert difference(deployment, store, new).size == 0
    assert leftovers(deployment, store, new) == []


def test_bigquery_load_table_removed_by_another(
    deployment: Deployment, stores: dict[str, Store], old: Content, new: Content
) -> None:
    """A run whose load table was removed loads it again."""
    removed: list[str] = []

    class Robbed(BigQueryStore):
        def _fill_load_table(self, *arguments: Any) -> str | None:
            filled = super()._fill_load_table(*arguments)
            if filled and not removed:
                removed.append(filled)
                deployment.bq.delete_table(f"{self.tables.id_of(filled)}")
            return filled

    store = "bigquery_raw_transactions"
    make_load(stores[store], old)
    assert make_load(turn_into(Robbed, stores[store]), new, "robbed") is Action.LOAD
    assert removed
    assert difference(deployment, store, new).size == 0
    assert leftovers(deployment, store, new) == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM {table} WHERE source_row = 1",
        "UPDATE {table} SET price = price + 1 WHERE source_row = 1",
        "UPDATE {table} SET product = 'Halal 100' WHERE source_row = 1",
    ],
)
def test_bigquery_commits_nothing_but_the_file(
    deployment: Deployment, stores: dict[str, Store], old: Content, new: Content, damage: str
) -> None:
    """Rows that differ from the file's are found inside the transaction: the store and its ledger stay unchanged."""

    class Damaged(BigQueryStore):
        def _fill_load_table(self, *arguments: Any) -> str | None:
            filled = super()._fill_load_table(*arguments)
            deployment.bq.query(damage.format(table=self.tables.quoted(filled or ""))).result()
            return filled

    store = "bigquery_raw_transactions"
    make_load(stores[store], old)
    with pytest.raises(StoreError) as raised:
        make_load(turn_into(Damaged, stores[store]), new, "damaged")

    assert "a.csv" in str(raised.value)
    assert "Retrying for" not in str(raised.value)
    assert difference(deployment, store, old).size == 0
    assert leftovers(deployment, store, old) == []
    assert make_load(stores[store], new, "next") is Action.LOAD


def test_bigquery_load_table_of_killed_run_expires(
    deployment: Deployment, stores: dict[str, Store], old: Content
) -> None:
    """A run that was killed before its commit leaves a table that BigQuery removes within six hours."""

    class Killed(BaseException):
        pass

    class Short(BigQueryStore):
        def _fill_load_table(self, *arguments: Any) -> str | None:
            super()._fill_load_table(*arguments)
            raise Killed

    store = "bigquery_raw_transactions"
    with pytest.raises(Killed):
        make_load(turn_into(Short, stores[store]), old)

    (left,) = (
        table
        for table in deployment.bq.list_tables(deployment.bq_table.rpartition(".")[0])
        if table.table_id.startswith("_txn_staging_")
    )
    assert left.expires - left.created <= dt.timedelta(hours=6)
    assert make_load(stores[store], old, "next") is Action.LOAD
    assert difference(deployment, store, old).size == 0


def _stale(sink: Store, successor: Content) -> Store:
    return replace(sink, run_files=Wakes(sink, successor))  # type: ignore[arg-type]  # has what a store uses


KILL = """
CREATE FUNCTION {schema}.kill() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
CREATE TRIGGER kill BEFORE INSERT ON {schema}.{table}_loads FOR EACH ROW EXECUTE FUNCTION {schema}.kill();
"""
"""Ends the session of a load when it writes its ledger row, after the rows and the rejects."""


@pytest.mark.parametrize("store", ["bigquery_raw_transactions", "postgres_transactions"])
def test_rejects_are_committed_with_the_ledger(
    deployment: Deployment, stores: dict[str, Store], old: Content, store: str
) -> None:
    """A load that dies between the rejects and the ledger notes neither; the next one notes both, once."""
    new = stage(deployment, "a.csv", 30, seed=2, rejected=5)
    make_load(stores[store], old)
    table = deployment.bq_table if store.startswith("bigquery") else deployment.pg_table

    def count_rejects() -> int:
        if store.startswith("bigquery"):
            found = deployment.bq.query(f"SELECT source_row FROM `{table}_rejects`").result()
            return len({row.source_row for row in found})
        return len(deployment.pg.execute(f"SELECT DISTINCT source_row FROM {table}_rejects").fetchall())

    class Damaged(BigQueryStore):
        def _fill_load_table(self, jobs: Any, work_id: str, *arguments: Any) -> str | None:
            filled = super()._fill_load_table(jobs, work_id, *arguments)
            if not work_id.endswith("_rejects"):
                deployment.bq.query(f"DELETE FROM {self.tables.quoted(filled or '')} WHERE source_row = 1").result()
            return filled

    if store.startswith("bigquery"):
        with pytest.raises(StoreError):
            make_load(turn_into(Damaged, stores[store]), new, "damaged")
    else:
        schema, _, name = table.partition(".")
        deployment.pg.execute(KILL.format(schema=schema, table=name))
        with pytest.raises(StoreError):
            make_load(stores[store], new, "killed")
        deployment.pg.execute(f"DROP FUNCTION {schema}.kill CASCADE")

    assert count_rejects() == 0
    assert leftovers(deployment, store, old) == []
    assert make_load(stores[store], new, "next") is Action.LOAD
    assert count_rejects() == 5
    assert leftovers(deployment, store, new) == []
