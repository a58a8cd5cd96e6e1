"""Upkeep: stuck files are reported, and old data is removed."""

import datetime as dt

import dagster as dg

from txn_assets.definitions import build
from txn_assets.defs.checks import make_no_stuck_files
from txn_assets.defs.services import open_services
from txn_assets.feeds.configured import feeds_of
from txn_assets.files.arrival import RANGE_TAGS
from txn_assets_tests.deployment import SINKS, Deployment, make_file, make_row


def _run(deployment: Deployment, job: str) -> dg.ExecuteInProcessResult:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return (
        build(deployment.config).resolve_job_def(job).execute_in_process(instance=deployment.instance, run_config=quiet)
    )


def test_fresh_files_are_not_stuck(deployment: Deployment) -> None:
    """A file that has just landed is not reported as stuck."""
    deployment.land("a.csv", make_file(make_row()))

    checks = _run(deployment, "watch_landing_zone").get_asset_check_evaluations()

    assert {check.asset_key for check in checks} == {dg.AssetKey("landing_zone")}
    assert {check.check_name: check.passed for check in checks} == {"no_stuck_files": True, "under_current_key": True}


def test_stuck_files_are_counted(deployment: Deployment) -> None:
    """Each store says how many files it lacks, and the oldest files are named."""
    first = deployment.land("a.csv", make_file(make_row()))
    for name in ("notes.txt", "_unfinished.csv", "folder/.hidden.csv"):
        deployment.land(name, b"x")
    deployment.materialize("transactions.csv")
    check = make_no_stuck_files(feeds_of(deployment.config)[0], dg.AssetSpec("landing_zone"), minutes=-1)

    with open_services(deployment.config) as services:
        result = check(dg.build_asset_check_context(instance=deployment.instance), services=services)
    assert isinstance(result, dg.AssetCheckResult)

    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.metadata["stuck_files"].value == 1
    assert result.metadata["missing_in"].value == {"GCS": 1, "BigQuery": 1, "PostgreSQL": 1}
    assert result.metadata["oldest_files"].value == [f"a.csv@{first}"]
    assert result.metadata["left_alone"].value == {
        "notes.txt": "its name does not end in .csv, .csv.gz, .tsv, .zip or .zst"
    }
    assert "Left alone: 'notes.txt' (" in str(result.description)


def test_old_keys_are_removed_and_history_stays(deployment: Deployment) -> None:
    """Keys of deleted files leave the list of partitions; ledgers and rows stay."""
    deployment.load("a.csv", make_row())
    deployment.load("b.csv", make_row())
    deployment.instance.add_dynamic_partitions("landed_files", ["never-landed.csv"])
    _age(deployment, "a.csv", days=500)

    assert _run(deployment, "remove_old").success

    assert deployment.instance.get_dynamic_partitions("landed_files") == ["b.csv"]
    assert [len(deployment.rows(store, "a.csv")) for store in SINKS] == [1, 1, 1]
    ledger = deployment.pg.execute(f"SELECT count(*) FROM {deployment.pg_table}_loads WHERE source_file = 'a.csv'")
    assert ledger.fetchall() == [(1,)]


def test_keys_of_an_unfinished_run_are_kept(deployment: Deployment) -> None:
    """The keys of an unfinished run stay, because it names its files by the first and last key of a range."""
    names = ["a.csv", "b.csv", "c.csv"]
    deployment.instance.add_dynamic_partitions("landed_files", [*names, "d.csv"])
    job = build(deployment.config).resolve_job_def("load_landed_files")
    tags = dict(zip(RANGE_TAGS, ("a.csv", "c.csv"), strict=True))
    deployment.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)

    assert _run(deployment, "remove_old").success

    assert deployment.instance.get_dynamic_partitions("landed_files") == names


def _age(deployment: Deployment, name: str, *, days: int) -> None:
    """Make the three ledgers say that `name` was loaded long ago, and delete it from the landing zone."""
    long_ago = int((dt.datetime.now(dt.UTC) - dt.timedelta(days=days)).timestamp() * 1_000_000)
    deployment.bucket.blob(f"{deployment.config.data_lake.landing}/{name}").delete()
    deployment.pg.execute(
        f"UPDATE {deployment.pg_table}_loads SET generation = {long_ago} WHERE source_file = '{name}'"
    )
    deployment.bq.query(
        f"UPDATE `{deployment.bq_table}_loads` SET generation = {long_ago} WHERE source_file = '{name}'"
    ).result()
    blob = deployment.bucket.get_blob(f"{deployment.config.data_lake.path}/{name.removesuffix('.csv')}/processed.csv")
    assert blob
    blob.metadata = blob.metadata | {"source_generation": str(long_ago)}
    blob.patch()
