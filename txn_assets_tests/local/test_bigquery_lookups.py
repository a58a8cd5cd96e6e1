"""The embedded BigQuery finds the same tables and columns as in DuckDB's lists of all of them, after each change."""

import subprocess
from pathlib import Path

from txn_assets.environment import project_root, servers_environment
from txn_assets_tests.local.conftest import Stack

PROGRAM = """
from pathlib import Path
from local_bigquery.settings import settings
settings.data_dir, settings.default_project_id = Path(), "a-project"
from local_bigquery.catalog import datasets, tables
from local_bigquery.engine import database
from local_bigquery.errors import BigQueryError
from txn_assets.local import bigquery_lookups

def columns(*place):
    try:
        return [(field.name, field.type, field.mode) for field in tables.columns(*place)]
    except BigQueryError as error:
        return error.reason

def found():
    names = ("kept", "Kept", "empty", "gone", "again", "old", "new", "view", "gone_view", "p:job")
    places = (("a-project", "local"), ("a-project", "other"), ("a-project", "nowhere"), ("none", "local"))
    return {
        (*place, name): database.objects(*place, name)
        for place in (*places, ("emulator", "_results"))
        for name in names
    } | {
        (*place, name, "columns"): (columns(*place, name), datasets.exists(*place))
        for place in places[:3]
        for name in names
    }

for statement in (
    "CREATE TABLE {}.kept (a INT NOT NULL)", "INSERT INTO {}.kept VALUES (1), (2)", "DELETE FROM {}.kept WHERE a = 1",
    "CREATE TABLE {}.empty (a INT)", "CREATE TABLE {}.gone (a INT)", "DROP TABLE {}.gone",
    "CREATE TABLE {}.again (a INT)", "DROP TABLE {}.again", "CREATE TABLE {}.again AS SELECT 1 AS a",
    "CREATE TABLE {}.old (a INT)", "ALTER TABLE {}.old RENAME TO new", "ALTER TABLE {}.kept ADD COLUMN b INT",
    "CREATE VIEW {}.view AS SELECT 1 AS a", "CREATE VIEW {}.gone_view AS SELECT 1 AS a", "DROP VIEW {}.gone_view",
    'CREATE SCHEMA "a-project".other', 'CREATE TABLE "a-project".other.kept (a INT)',
    'CREATE TABLE emulator._results."p:job" AS SELECT 1 AS a',
):
    database.execute(statement.format('"a-project".local'))
before = found()
print(sum(bool(rows) for place, rows in before.items() if "columns" not in place))
plain = database.objects, database.fetch, tables.columns
bigquery_lookups.install()
cheap = database.objects, database.fetch, tables.columns
for _ in range(2):
    assert found() == before, (before, found())
for statement in (
    "ALTER TABLE {}.kept ADD COLUMN c INT", "ALTER TABLE {}.kept ALTER COLUMN a DROP NOT NULL", "DROP TABLE {}.again",
    "INSERT INTO {}.empty VALUES (1)", "CREATE TABLE {}.gone (b INT)", 'DROP SCHEMA "a-project".other CASCADE',
):
    database.execute(statement.format('"a-project".local'))
    after = found()
    database.objects, database.fetch, tables.columns = plain
    assert after == found() != before, (statement, after)
    database.objects, database.fetch, tables.columns = cheap
    before = after
"""


def test_same_tables(stack: Stack, tmp_path: Path) -> None:
    """Tables, views and results are found or not as before, with the same kind, number of rows and columns."""
    environment = {"HOME": str(stack.home / "stack" / "bigquery-home"), "PYTHONPATH": str(project_root())}

    done = subprocess.run(
        [servers_environment() / "bin" / "python", "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    # DuckDB draws a progress bar first if a statement takes two seconds, as on a busy machine.
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["7"]), done.stderr
