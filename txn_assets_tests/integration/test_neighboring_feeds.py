"""Feeds next to each other: names that begin alike, and messages that name the settings of the feed they are about."""

import io
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from txn_assets.run import run
from txn_assets_tests.deployment import Deployment, failed_checks, make_file

FEEDS = {
    "order": {"fields": {"id": {"kind": "identifier"}, "item_day": {"kind": "date", "partition_key": True}}},
    "order_item": {"fields": {"id": {"kind": "identifier"}, "day": {"kind": "date", "partition_key": True}}},
}
FILES = {
    "order": make_file("A,2024-01-02", "B,2024-01-03", header="id,item_day"),
    "order_item": make_file("C,2024-02-02", header="id,day"),
}


@pytest.fixture
def orders(deployment: Deployment) -> Deployment:
    """Return a deployment with the feeds order and order_item."""
    deployment.configure({"feeds": FEEDS})
    return deployment


def load(orders: Deployment, feed: str, *, raise_on_error: bool = True) -> str:
    """Load the file of a feed, under one name for all feeds; return why steps failed, or ''."""
    orders.land("a.csv", FILES[feed], feed=feed)
    result = orders.materialize("a.csv", feed=feed, raise_on_error=raise_on_error)
    if result.success:
        assert not failed_checks(result)
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return " ".join(str(one.user_failure_data and one.user_failure_data.description) for one in failures)


def test_names_that_begin_alike(orders: Deployment) -> None:
    """A feed whose name begins with that of another has rows, objects and indexes of its own."""
    for feed in FEEDS:
        load(orders, feed)

    assert [len(orders.rows_everywhere("a.csv", feed=feed)) for feed in FEEDS] == [2, 1]
    schema = orders.config.data_warehouse.postgres.schema_
    indexes = orders.pg.execute("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = %s", [schema]).fetchall()
    found = {(table, definition.rpartition(" ")[2]) for table, definition in indexes if not table.endswith("_loads")}
    assert found == {
        ("order", "(source_file)"),
        ("order", "(item_day)"),
        ("order_rejects", "(source_file)"),
        ("order_item", "(source_file)"),
        ("order_item", "(day)"),
        ("order_item_rejects", "(source_file)"),
    }


def test_refused_table_is_named_with_the_key_of_the_feed(orders: Deployment) -> None:
    """A table that cannot be loaded is refused with the key that names another one for this feed."""
    schema = orders.config.data_warehouse.postgres.schema_
    orders.pg.execute(f"CREATE SCHEMA {schema}")
    orders.pg.execute(f"CREATE VIEW {schema}.order_item AS SELECT 1 AS id")

    assert "name another table in feeds.order_item.postgres_table" in load(orders, "order_item", raise_on_error=False)
    assert load(orders, "order") == ""
    orders.pg.execute(f"DROP VIEW {schema}.order_item")
    load(orders, "order_item")

    fields = FEEDS["order_item"]["fields"] | {"day": {"kind": "text", "partition_key": False}}
    orders.configure({"feeds": {"order_item": {"fields": fields}}})
    said = load(orders, "order_item", raise_on_error=False)
    assert "Column day is DATE instead of STRING" in said
    assert "or name another table in feeds.order_item.table" in said
    assert 'column "day" is date instead of text' in said
    assert len(orders.rows("bigquery_raw_transactions", "a.csv", feed="order_item")) == 1
    assert len(orders.rows("postgres_transactions", "a.csv", feed="order_item")) == 1


def test_printed_command_shows_rows_of_a_parquet_lake(
    orders: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that `txn run` prints for the data lake shows the rows of a feed whose lake has Parquet files."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    orders.configure({"feeds": {"order": {"lake_format": "parquet"}}})
    file = tmp_path / "a.csv"
    file.write_bytes(FILES["order"])
    out = io.StringIO()

    assert run(file, orders.config, out, feed="order") == 0

    (command,) = re.findall(r"^ +(.*cloud\.storage.*)$", out.getvalue(), re.MULTILINE)
    emulator = {"STORAGE_EMULATOR_HOST": orders.endpoints.gcs_url, "GOOGLE_CLOUD_PROJECT": "p"}
    shown = subprocess.run(
        shlex.split(command), env=os.environ | emulator, capture_output=True, text=True, check=True
    ).stdout
    assert "2024-01-03" in shown
