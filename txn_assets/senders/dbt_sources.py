"""Print the tables of a feed as sources of a dbt project: `txn contract --format dbt-sources`.

The file serves both engines, because the type of dbt's target decides which names apply. See docs/how-to/dbt.md.
"""

from typing import Any

import yaml

from txn_assets.config import PipelineConfig
from txn_assets.feeds.feed import Feed
from txn_assets.rows.contract import Column
from txn_assets.rows.kinds import EnumerationKind

_SOURCE_COLUMNS = {
    "source_file": "the landed file that the row comes from",
    "source_row": "the number of the record in that file, from 1",
}


def dbt_sources(config: PipelineConfig, feed: Feed) -> str:
    """Return a `sources.yml` with the tables of `feed` and, if marts are built from it, the view of current rows."""
    warehouse, name = config.data_warehouse, config.transformation.dbt_project
    database = f'{{{{ "{warehouse.project_id}" if target.type == "bigquery" else target.database }}}}'
    rows = _rows(feed)
    sources = [
        {
            "name": name,
            "description": "Loaded by txn_assets, which replaces the rows of a file when the file lands again.",
            "database": database,
            "schema": _by_engine(warehouse.dataset, warehouse.postgres.schema_),
            "tables": [rows, _ledger(feed)],
        }
    ]
    selected_from = rows
    if feed.is_first and config.transformation.models:
        selected_from = _current(feed)
        sources.append(
            {
                "name": f"{name}_marts",
                "description": "Beside the marts of txn_assets.",
                "database": database,
                "schema": config.data_mart.dataset,
                "tables": [selected_from],
            }
        )
    # dagster-dbt reads this: models come after the asset that loads the rows. Two tables cannot have the same asset.
    selected_from["config"] = {"meta": {"dagster": {"asset_key": _asset_key(feed)}}}
    text: str = yaml.safe_dump({"version": 2, "sources": sources}, sort_keys=False, allow_unicode=True, width=120)
    return text


def _by_engine(bigquery: str, postgres: str) -> str:
    """Return the name in BigQuery and PostgreSQL as an expression of dbt, or as it is if both are equal."""
    return (
        bigquery if bigquery == postgres else f'{{{{ "{bigquery}" if target.type == "bigquery" else "{postgres}" }}}}'
    )


def _rows(feed: Feed) -> dict[str, Any]:
    return {
        "name": feed.name,
        "identifier": _by_engine(feed.bigquery_table, feed.postgres_table),
        "description": "Every valid row of every landed file. One id can be in several rows and files.",
        "columns": _columns(feed),
    }


def _asset_key(feed: Feed) -> list[str]:
    name = _by_engine(f"bigquery_raw_{feed.name}", f"postgres_{feed.name}")
    return [feed.prefix, name] if feed.prefix else [name]


def _current(feed: Feed) -> dict[str, Any]:
    row_id = feed.contract.row_id
    return {
        "name": f"{feed.name}_current",
        "description": f"One row for each {row_id}: that of the file that landed last.",
        "columns": _columns(feed, unique=row_id),
    }


def _ledger(feed: Feed) -> dict[str, Any]:
    return {
        "name": f"{feed.name}_loads",
        "identifier": _by_engine(f"{feed.bigquery_table}_loads", f"{feed.postgres_table}_loads"),
        "description": "The ledger: one row for each load of a file, with what it wrote.",
        "config": {"loaded_at_field": "loaded_at"},
    }


def _columns(feed: Feed, *, unique: str | None = None) -> list[dict[str, Any]]:
    """Return the columns of a table, with a test that the values of the column `unique` are."""
    of_feed = [_column(feed, column, is_unique=column.name == unique) for column in feed.contract.columns]
    of_source = [
        {"name": name, "description": description, "data_tests": ["not_null"]}
        for name, description in _SOURCE_COLUMNS.items()
    ]
    return [*of_feed, *of_source]


def _column(feed: Feed, column: Column, *, is_unique: bool) -> dict[str, Any]:
    tests: list[Any] = [*(["not_null"] if column.is_required else []), *(["unique"] if is_unique else [])]
    if isinstance(column.kind, EnumerationKind):
        tests.append({"accepted_values": {"arguments": {"values": list(column.kind.values)}}})
    shown: dict[str, Any] = {"name": column.name, "description": column.rule}
    if column.name in feed.pii_fields:
        shown["description"] = column.described("SHA-256 digest, 64 hex digits")
        shown["config"] = {"meta": {"pii": "hashed"}, "tags": ["pii"]}
    return shown | ({"data_tests": tests} if tests else {})
