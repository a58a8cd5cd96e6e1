"""A column is added in one place of the package: a field of the row contract."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from txn_assets.definitions import defs
from txn_assets.environment import project_root
from txn_assets_tests.unit.rows import make_row

PROGRAM = """
import datetime as dt, io, json, sys
from pathlib import Path
from txn_assets.feeds.feed import Feed
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.ledger import FileVersion
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows import hashed_rows
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.processing import hash_file, validate_file
from txn_assets.rows.reading import Reading
from txn_assets.stores.bigquery import sql as bigquery_sql
from txn_assets.stores.postgres import sql as postgres_sql

path, header, *lines = sys.argv[1:]
folder = RunFolder(Path(path))
hasher = Hasher(("transaction_id",), None, "sha256")
file = io.BytesIO("\\n".join([header, *lines]).encode())
reading = Reading(contract=CONTRACT.on(dt.date(2024, 1, 1)))
report = validate_file(file, folder, reading=reading, hasher=hasher)
hash_file(folder.valid, folder.hashed, file=FileVersion("a.csv", 1, 1, ""), names=CONTRACT.names, hasher=hasher)
processed = folder.path / "processed.csv"
hashed_rows.write_lake(folder.hashed, processed, CONTRACT, file_format="csv")
lake = hashed_rows.read_lake(processed.read_bytes(), CONTRACT, file_format="csv")
feed = Feed(
    name="a", contract=CONTRACT, landing="", path="", quarantine="", staging="", bigquery_table="t", postgres_table="t"
)
table, tables = postgres_sql.Table("public", feed), bigquery_sql.Tables("project", "dataset", feed)
found = {
    "reasons": dict(report.reasons),
    "staged": hashed_rows.read([folder.hashed], CONTRACT).read_all()["channel"].to_pylist(),
    "lake": lake["channel"].to_pylist(),
    "fingerprint": hashed_rows.totals(folder.hashed, CONTRACT)[0].fingerprint,
    "postgres": [postgres_sql.create_data(table).as_string(), postgres_sql.copy_statement(table).as_string()],
    "bigquery": [tables.columns, tables.load_columns],
}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a copy of the package that has the column of docs/how-to/add-a-column.md, a channel."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(project_root() / "txn_assets", folder / "txn_assets", ignore=shutil.ignore_patterns("__pycache__"))
    page = (project_root() / "docs" / "how-to" / "add-a-column.md").read_text()
    (change,) = re.findall(r"```diff\n(.*?)```", page, re.DOTALL)
    subprocess.run(["git", "apply", "--verbose", "-"], cwd=folder, input=change, text=True, check=True)
    return folder


@pytest.mark.parametrize(
    ("asset", "columns"),
    [
        ("raw_csv", {}),
        ("validated_transactions", {"source_row": "BIGINT", "price": "DECIMAL(18,4)"}),
        ("hashed_transactions", {"source_file": "VARCHAR", "price": "DECIMAL(18,4)"}),
        ("gcs_raw", {"transaction_id": "VARCHAR", "price": "DECIMAL(18,4)"}),
        ("bigquery_raw_transactions", {"source_file": "STRING", "price": "NUMERIC"}),
        ("postgres_transactions", {"source_file": "text", "price": "numeric(18,4)"}),
    ],
)
def test_catalog_shows_the_columns_before_the_first_run(asset: str, columns: dict[str, str]) -> None:
    """The definition of each asset has the columns of its rows, with the types of its engine."""
    schema = (
        defs().resolve_asset_graph().get(dg.AssetKey(asset)).metadata.get("dagster/column_schema", dg.TableSchema([]))
    )
    types = {column.name: column.type for column in schema.columns}
    assert columns.items() <= types.items()
    assert bool(types) is bool(columns)


@pytest.mark.parametrize(
    ("asset", "pii"), [("validated_transactions", "clear"), ("hashed_transactions", "hashed"), ("gcs_raw", "hashed")]
)
def test_catalog_marks_pii(asset: str, pii: str) -> None:
    """The catalog says which columns hold PII, and what a valid value of each column is."""
    schema = defs().resolve_asset_graph().get(dg.AssetKey(asset)).metadata["dagster/column_schema"]
    columns = {column.name: column for column in schema.columns}
    assert {name: column.tags for name, column in columns.items() if column.tags} == {"transaction_id": {"pii": pii}}
    assert columns["quantity"].description == "a whole number from 1"


def loaded(package: Path, folder: Path, *channels: str) -> dict[str, Any]:
    """Return what the package makes of a file with a row for each of `channels`."""
    rows = [",".join(make_row(channel=channel).values()) for channel in channels]
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, ",".join(make_row(channel="")), *rows],
        env=os.environ | {"PYTHONPATH": str(package)},
        cwd=package,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_new_field_is_a_column_everywhere(package: Path, tmp_path: Path) -> None:
    """A new field is validated, staged, fingerprinted and part of the tables without a second change."""
    found = loaded(package, tmp_path / "one", "web", "", "\u200b")

    assert found["reasons"] == {"channel: blank": 1}
    assert found["staged"] == found["lake"] == ["web", None]
    assert all('"channel"' in statement for statement in found["postgres"])
    assert all(columns["channel"] == "STRING" for columns in found["bigquery"])
    assert loaded(package, tmp_path / "two", "shop", "")["fingerprint"] != found["fingerprint"]
