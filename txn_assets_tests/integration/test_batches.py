"""Several files in one run, as a backfill and the sensor make them: each keeps its own load and its own failure."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pandas as pd
import psycopg
import pytest
from google.api_core.exceptions import ServiceUnavailable

from txn_assets.definitions import build
from txn_assets.defs.services import share_services
from txn_assets.environment import ConfigError
from txn_assets.feeds.configured import feeds_of
from txn_assets.files.arrival import RANGE_TAGS
from txn_assets.files.ledger import Action, FileVersion
from txn_assets.files.report import ValidationReport
from txn_assets.files.values import HashedFile
from txn_assets.stores.errors import StoreError
from txn_assets.stores.postgres.store import PostgresStore
from txn_assets.stores.quarantine import Quarantine
from txn_assets.stores.services import Services
from txn_assets_tests.deployment import SINKS, Deployment, failure, make_file, make_row, many_rows
from txn_assets_tests.faults.bench import turn_into

ASSETS = ("raw_csv", "validated_transactions", "hashed_transactions", *SINKS)

BAD_FILES = {
    "header": b"a,b,c\n1,2,3\n",
    "no valid row": make_file(make_row(price="x")),
    "too many rejected": make_file(make_row(), make_row(price="x"), make_row(price="y")),
}


@pytest.mark.parametrize(("bad", "reached"), [("header", 0), ("no valid row", 1), ("too many rejected", 2)])
def test_bad_file_fails_alone(deployment: Deployment, bad: str, reached: int) -> None:
    """A bad file fails alone: the rest of its batch is loaded, and no asset behind the failure is recorded for it."""
    deployment.land("a.csv", make_file(*many_rows(3)))
    deployment.land("bad.csv", BAD_FILES[bad])
    deployment.land("c.csv", make_file(*many_rows(2, start=100)))

    result = deployment.materialize_batch("a.csv", "bad.csv", "c.csv")

    assert not result.success
    assert len(deployment.rows_everywhere("a.csv")) == 3
    assert len(deployment.rows_everywhere("c.csv")) == 2
    assert deployment.rows_everywhere("bad.csv") == []
    sentences = [check.description or "" for check in result.get_asset_check_evaluations() if not check.passed]
    assert any(sentence.startswith("bad.csv: not loaded: ") for sentence in sentences)
    assert not any("a.csv" in sentence for sentence in sentences)
    recorded = {asset: deployment.instance.get_materialized_partitions(dg.AssetKey(asset)) for asset in ASSETS}
    assert [asset for asset in ASSETS if "bad.csv" in recorded[asset]] == list(ASSETS[:reached])
    assert all("a.csv" in recorded[asset] for asset in ASSETS)


def test_row_that_one_store_cannot_hold(deployment: Deployment) -> None:
    """An older table with a narrow column refuses one file of a batch, and the others are loaded there too."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f"CREATE SCHEMA {schema}")
    deployment.pg.execute(
        f"CREATE TABLE {deployment.pg_table} "
        "(transaction_id text, product text, price real, quantity integer, date date)"
    )
    deployment.land("a.csv", make_file(*many_rows(3)))
    deployment.land("wide.csv", make_file(make_row(quantity="3000000000")))

    result = deployment.materialize_batch("a.csv", "wide.csv")

    assert not result.success
    assert [len(deployment.rows(store, "a.csv")) for store in SINKS] == [3, 3, 3]
    assert [len(deployment.rows(store, "wide.csv")) for store in SINKS] == [1, 1, 0]
    recorded = deployment.instance.get_materialized_partitions(dg.AssetKey("postgres_transactions"))
    assert recorded == {"a.csv"}


def test_batch_of_bad_files(deployment: Deployment) -> None:
    """If no file is left, the run fails where the last file did, with a sentence for each file."""
    deployment.land("a.csv", b"nothing\n")
    deployment.land("b.csv", b"at all\n")

    result = deployment.materialize_batch("a.csv", "b.csv")

    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data
    assert failure.step_key == "raw_csv"
    assert "a.csv is not a transaction file" in (data.description or "")
    assert "b.csv is not a transaction file" in (data.description or "")


def test_sinks_alone_load_what_was_hashed(deployment: Deployment) -> None:
    """A batch of one sink reads staged rows, and a file that has never been hashed fails alone."""
    deployment.load("a.csv", *many_rows(3))
    deployment.land("b.csv", make_file(*many_rows(2)))
    deployment.pg.execute(f"TRUNCATE {deployment.pg_table}, {deployment.pg_table}_loads")

    result = deployment.materialize_batch("a.csv", "b.csv", select="postgres_transactions")

    assert not result.success
    assert len(deployment.rows_everywhere("a.csv")) == 3
    assert deployment.rows("postgres_transactions", "b.csv") == []


def test_superseded_file_is_not_a_failure(deployment: Deployment) -> None:
    """A run whose file was overwritten and loaded in the meantime is a no-op and succeeds."""
    deployment.load("a.csv", *many_rows(3))
    older = deployment.materialize("a.csv", select="*hashed_transactions")
    assert older.success
    table = f"{deployment.pg_table}_loads"
    deployment.pg.execute(f"UPDATE {table} SET generation = generation + 1 WHERE source_file = 'a.csv'")

    result = deployment.materialize("a.csv")

    assert result.success
    assert len(deployment.rows_everywhere("a.csv")) == 3


def test_rows_are_never_passed_on_in_part(deployment: Deployment) -> None:
    """A consumer of the rows of several files gets all of them, or a sentence that names the missing file."""
    deployment.load("a.csv", *many_rows(3))
    deployment.instance.add_dynamic_partitions("landed_files", ["b.csv"])

    @dg.asset
    def consumer(hashed_transactions: pd.DataFrame) -> int:
        return len(hashed_transactions)

    definitions = dg.Definitions.merge(build(deployment.config), dg.Definitions(assets=[consumer]))
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=deployment.instance, asset_selection=[consumer.key], raise_on_error=False)

    assert "hashed_transactions has not been materialized for b.csv" in failure(result)


def test_reported_materialization(deployment: Deployment) -> None:
    """'Report materialization' in the UI carries no value, so a sink says what to materialize."""
    deployment.land("a.csv", make_file(make_row()))
    deployment.instance.report_runless_asset_event(
        dg.AssetMaterialization(asset_key="hashed_transactions", partition="a.csv")
    )

    result = deployment.materialize("a.csv", select="postgres_transactions", raise_on_error=False)

    assert "hashed_transactions has not been materialized for a.csv: materialize it first." in failure(result)


def test_range_of_files_that_are_not_registered(deployment: Deployment) -> None:
    """A range of unregistered files has no order yet, and the message says what to do."""
    for name in ("a.csv", "b.csv"):
        deployment.land(name, make_file(make_row()))

    with pytest.raises(
        dg.DagsterInvalidInvocationError, match=r"a\.csv, b\.csv is not registered yet: wait for the sensor"
    ):
        deployment.materialize(None, tags=dict(zip(RANGE_TAGS, ("a.csv", "b.csv"), strict=True)))


@pytest.mark.parametrize(("last", "loaded"), [("a.csv", []), ("b.csv", ["a.csv"])])
def test_store_goes_down_between_files(deployment: Deployment, last: str, loaded: list[str]) -> None:
    """If a store goes down while files are loaded one by one, the run waits for it once instead of once per file."""
    names = ["a.csv", "b.csv", "c.csv", "d.csv"]
    for name in names:
        deployment.land(name, make_file(*many_rows(3)))
    tried: list[str] = []

    class GoneMeanwhile(PostgresStore):
        def load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
            if len(files) > 1:
                raise StoreError("One of them is at fault.")
            tried.append(files[0].version.name)
            if last in tried:
                raise psycopg.OperationalError("connection refused")
            return super().load(files, run_id)

    def change(services: Services) -> None:
        gone = turn_into(GoneMeanwhile, services.stores["postgres"])
        services.stores["postgres"] = replace(gone, retry_seconds=0.1)

    result = _materialize_with(deployment, names, change)

    assert not result.success
    assert sorted(set(tried)) == [*loaded, last]
    assert deployment.instance.get_materialized_partitions(dg.AssetKey("postgres_transactions")) == set(loaded)
    failed = [line for line in _log(deployment, result) if "Retrying for" in line]
    assert [name for name in names if any(line.startswith(f"{name}: ") for line in failed)] == names[len(loaded) :]
    if loaded:
        assert [name for name in names if deployment.rows("postgres_transactions", name)] == loaded
    else:
        assert failure(result).startswith("a.csv: PostgreSQL")


def test_each_file_of_a_batch_has_its_own_metadata(deployment: Deployment) -> None:
    """Rows, action, generation and address are recorded for each file, although the files share one output."""
    generations = {name: deployment.land(name, make_file(*many_rows(n))) for name, n in (("a.csv", 3), ("b.csv", 2))}

    assert deployment.materialize_batch("a.csv", "b.csv").success

    for asset in SINKS:
        records = deployment.instance.fetch_observations(dg.AssetKey(asset), limit=10).records
        found = {one.partition_key: one.asset_observation.metadata for one in records if one.asset_observation}
        assert {name: str(one["generation"].value) for name, one in found.items()} == {
            name: str(generation) for name, generation in generations.items()
        }
        assert {name: one["dagster/partition_row_count"].value for name, one in found.items()} == {
            "a.csv": 3,
            "b.csv": 2,
        }
        assert all(one["action"].value == "loaded" and one["address"].value for one in found.values())


TEXT = "what an error may quote of row T0000001"


def test_unforeseen_error_fails_one_file(deployment: Deployment) -> None:
    """An unforeseen error fails only its own file, and its text, which may quote a row, is not shown anywhere."""
    names = ["a.csv", "bad.csv", "c.csv"]

    result, _ = _with_quarantine(deployment, names, {"bad.csv": RuntimeError})

    assert not result.success
    assert [len(deployment.rows_everywhere(name)) for name in names] == [3, 0, 3]
    recorded = {asset: deployment.instance.get_materialized_partitions(dg.AssetKey(asset)) for asset in ASSETS}
    assert [asset for asset in ASSETS if "bad.csv" in recorded[asset]] == ["raw_csv"]
    sentence = "bad.csv: validated_transactions failed with RuntimeError"
    assert any(line.startswith(sentence) for line in _log(deployment, result))
    told = [check.description or "" for check in result.get_asset_check_evaluations() if not check.passed]
    assert any("validated_transactions failed with RuntimeError" in description for description in told)
    assert not any(TEXT in text for text in [*told, *_events(deployment, result)])


def test_unforeseen_error_of_every_file(deployment: Deployment) -> None:
    """If no file is left, the run fails the way it does for bad files."""
    names = ["a.csv", "b.csv"]

    result, _ = _with_quarantine(deployment, names, dict.fromkeys(names, RuntimeError))

    sentence = failure(result)
    assert "a.csv: validated_transactions failed with RuntimeError" in sentence
    assert "b.csv: validated_transactions failed with RuntimeError" in sentence
    assert not any(TEXT in text for text in _events(deployment, result))


def test_unforeseen_error_of_a_file_alone(deployment: Deployment) -> None:
    """A run of one file says which error was raised where, but not its text, which may quote a row."""
    result, _ = _with_quarantine(deployment, ["a.csv"], {"a.csv": RuntimeError})

    assert "a.csv: validated_transactions failed with RuntimeError in store (integration/test_batches.py:" in failure(
        result
    )
    assert not any(TEXT in text for text in _events(deployment, result))


@pytest.mark.parametrize(("down_at", "loaded"), [("a.csv", []), ("b.csv", ["a.csv"])])
def test_storage_goes_down_between_files(deployment: Deployment, down_at: str, loaded: list[str]) -> None:
    """If the storage goes down, the remaining files do not wait for it, because the client has done so already."""
    names = ["a.csv", "b.csv", "c.csv"]

    result, tried = _with_quarantine(deployment, names, {down_at: ServiceUnavailable})

    assert not result.success
    assert tried == [*loaded, down_at]
    assert [name for name in names if deployment.rows("gcs_raw", name)] == loaded
    failed = [line for line in _log(deployment, result) if "validated_transactions failed with" in line]
    assert [name for name in names if any(line.startswith(f"{name}: ") for line in failed)] == names[len(loaded) :]


def test_configuration_error_in_a_batch(deployment: Deployment) -> None:
    """A configuration error belongs to no file: the run fails with its own message, which says what to correct."""
    names = ["a.csv", "b.csv"]

    result, tried = _with_quarantine(deployment, names, {"a.csv": ConfigError})

    (step,) = [event for event in result.all_events if event.is_step_failure]
    assert TEXT in str(step.step_failure_data.error_display_string)
    assert tried == ["a.csv"]


def _with_quarantine(
    deployment: Deployment, names: Sequence[str], errors: dict[str, type[Exception]]
) -> tuple[dg.ExecuteInProcessResult, list[str]]:
    """Land and load `names` with a quarantine that raises `errors` by file; return the result and the files tried."""
    tried: list[str] = []

    class Failing(Quarantine):
        def store(self, version: FileVersion, report: ValidationReport, rejected: Path, *, key_id: str) -> str | None:
            tried.append(version.name)
            if version.name in errors:
                raise errors[version.name](TEXT)
            return super().store(version, report, rejected, key_id=key_id)

    for name in names:
        deployment.land(name, make_file(*many_rows(3)))

    def change(services: Services) -> None:
        real = services.quarantine
        services.quarantine = Failing(real.clients, real.bucket, real.prefix)

    return _materialize_with(deployment, names, change), tried


def _materialize_with(
    deployment: Deployment, names: Sequence[str], change: Callable[[Services], None]
) -> dg.ExecuteInProcessResult:
    """Run all assets for `names`, the only registered files, with services that `change` has altered."""
    deployment.instance.add_dynamic_partitions("landed_files", list(names))
    with share_services(deployment.config) as services:
        change(services.of(feeds_of(deployment.config)[0]))
        job = build(deployment.config).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=deployment.instance,
            asset_selection=[dg.AssetKey(asset) for asset in ASSETS],
            tags={"dagster/asset_partition_range_start": names[0], "dagster/asset_partition_range_end": names[-1]},
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )


def _log(deployment: Deployment, result: dg.ExecuteInProcessResult) -> list[str]:
    """Return every message of the run, as the UI shows it."""
    return [entry.user_message for entry in deployment.instance.all_logs(result.run_id)]


def _events(deployment: Deployment, result: dg.ExecuteInProcessResult) -> list[str]:
    """Return every event of the run with everything in it."""
    return [dg.serialize_value(entry) for entry in deployment.instance.all_logs(result.run_id)]
