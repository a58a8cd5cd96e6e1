"""A run that failed at one store and is re-executed from failure loads only that store."""

from typing import Any

import dagster as dg

from txn_assets.files.arrival import KEY_TAG
from txn_assets.job import execute
from txn_assets_tests.deployment import Deployment, failure, make_file, many_rows


def test_only_the_failed_sink_is_loaded(deployment: Deployment) -> None:
    """The two sinks that succeeded are not written again, and the third holds the file."""
    deployment.land("a.csv", make_file(*many_rows(5)))
    _break_postgres(deployment)
    failed = execute(deployment.config, deployment.instance, tags={KEY_TAG: "a.csv"})
    assert "PostgreSQL" in failure(failed)
    before = _gcs_and_bigquery(deployment)
    _mend_postgres(deployment)

    options = dg.ReexecutionOptions.from_failure(failed.run_id, deployment.instance)
    run = deployment.instance.get_run_by_id(failed.run_id)
    assert run
    # The UI passes on the tags, including the partition; this function does not.
    result = execute(deployment.config, deployment.instance, reexecution_options=options, tags=dict(run.tags))

    assert result.success
    done = {event.step_key for event in result.all_events if event.is_step_success}
    # The steps of its checks have names that begin with that of the asset.
    assert {step for step in done if step and not step.startswith("postgres_transactions_")} == {
        "postgres_transactions"
    }
    assert _gcs_and_bigquery(deployment) == before
    assert len(deployment.rows_everywhere("a.csv")) == 5


def _break_postgres(deployment: Deployment) -> None:
    """Create a table that cannot hold a product's name."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    deployment.pg.execute(
        f"CREATE TABLE {deployment.pg_table} "
        "(transaction_id text, product varchar(3), price numeric, quantity int, date date)"
    )


def _mend_postgres(deployment: Deployment) -> None:
    deployment.pg.execute(f"ALTER TABLE {deployment.pg_table} ALTER product TYPE text")


def _gcs_and_bigquery(deployment: Deployment) -> tuple[Any, ...]:
    (blob,) = deployment.gcs.list_blobs(deployment.bucket, prefix=f"{deployment.config.data_lake.path}/")
    rows = deployment.bq.query(f"SELECT loaded_at FROM `{deployment.bq_table}_loads` WHERE source_file = 'a.csv'")
    return blob.generation, [tuple(row.values()) for row in rows.result()]
