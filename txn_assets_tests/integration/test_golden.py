"""What the first feed's stores hold for a file with 153 records of every sort, byte for byte.

The expected files were written by the release before feeds existed: a change of the row contract, the screen or the
stores that alters what readers get shows up here as a diff.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from txn_assets_tests.deployment import Deployment, make_config

GOLDEN = Path(__file__).parent.parent / "golden"
NAME = "golden.csv"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Return a deployment that has loaded the file."""
    path = tmp_path_factory.mktemp("golden") / "config.yaml"
    make_config(path, {"ingestion": {"max_invalid_ratio": 1, "validation": {"max_date": "2030-12-31"}}})
    with Deployment.temporary(path) as deployment:
        deployment.land(NAME, (GOLDEN / "transactions.csv").read_bytes())
        assert deployment.materialize(NAME).success
        yield deployment


def test_lake_object(loaded: Deployment) -> None:
    """The object in the data lake is the same, byte for byte."""
    objects = loaded.objects()
    assert objects[f"{loaded.config.data_lake.path}/golden/processed.csv"] == (GOLDEN / "processed.csv").read_bytes()


def test_quarantine(loaded: Deployment) -> None:
    """The rejected rows, their reasons and messages are the same, byte for byte."""
    quarantined = loaded.objects()[f"{loaded.config.data_lake.quarantine}/{NAME}/rejected.csv"]
    assert quarantined == (GOLDEN / "rejected.csv").read_bytes()


def test_postgres_table(loaded: Deployment) -> None:
    """The PostgreSQL table has the same columns, types and rows."""
    columns = loaded.pg.execute(
        "SELECT column_name, data_type, numeric_precision, numeric_scale, is_nullable FROM information_schema.columns "
        "WHERE table_name = 'transactions' AND table_schema = %s ORDER BY ordinal_position",
        [loaded.config.data_warehouse.postgres.schema_],
    ).fetchall()
    rows = loaded.pg.execute(f"SELECT * FROM {loaded.pg_table} ORDER BY source_row").fetchall()
    assert "\n".join(map(repr, [columns, *rows])) == (GOLDEN / "postgres.txt").read_text(encoding="utf-8")


def test_bigquery_table(loaded: Deployment) -> None:
    """The BigQuery table has the same columns, types, partitions, clusters and rows."""
    table = loaded.bq.get_table(loaded.bq_table)
    columns = [(field.name, field.field_type, field.mode) for field in table.schema]
    layout = (table.time_partitioning and table.time_partitioning.to_api_repr(), table.clustering_fields)
    rows = loaded.bq.query(f"SELECT * FROM `{loaded.bq_table}` ORDER BY source_row").result()
    found = "\n".join([repr(columns) + repr(layout), *(repr(tuple(row.values())) for row in rows)])
    assert found == (GOLDEN / "bigquery.txt").read_text(encoding="utf-8")
