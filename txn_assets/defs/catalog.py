"""What the catalog says of the assets before their first run: columns, lineage, places, owners, tags, freshness, code.

The definitions take it as options of their assets. What a run finds out is in `file_metadata.py`. See docs/catalog.md.
"""

import datetime as dt
import hashlib
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import dagster as dg

from txn_assets.config import PipelineConfig
from txn_assets.environment import txn_target
from txn_assets.feeds.feed import Feed
from txn_assets.files.expected import Expected
from txn_assets.marts.mart import COLUMN_SOURCES, Mart, Rules
from txn_assets.stores.registry import StoreEntry

type Tier = Literal["source", "internal", "published"]
"""Whether others send the data, only the platform reads it, or people query it."""

PII = "pii"
"""Tag of columns and assets: whether PII is `clear` or `hashed` in them."""


def catalog(feed: Feed, *, tier: Tier, pii: str | None) -> dict[str, Any]:
    """Return owners, tags and code version of an asset of `feed`; `pii` is the value of its tag."""
    tags = {"tier": tier} | ({PII: pii} if pii and feed.pii_fields else {})
    return {"owners": list(feed.owners), "tags": tags, "code_version": feed.rules_id}


def column_schema(feed: Feed, columns: Mapping[str, str], *, pii: str = "hashed") -> dict[str, Any]:
    """Return the metadata that shows `columns`, with their types; `pii` is the tag of PII columns."""
    of_feed = {column.name: column for column in feed.contract.columns}
    schema = [
        dg.TableColumn(
            name,
            kind,
            description=of_feed[name].rule if name in of_feed else _SOURCE_RULES.get(name),
            constraints=dg.TableColumnConstraints(nullable=name in of_feed and not of_feed[name].is_required),
            tags={PII: pii} if name in feed.pii_fields else None,
        )
        for name, kind in columns.items()
    ]
    return {"dagster/column_schema": dg.TableSchema(schema)}


_SOURCE_RULES = {"source_file": "the landed file", "source_row": "the number of the record in the file, from 1"}


def same_columns(columns: Iterable[str], upstream: dg.AssetKey) -> dict[str, Any]:
    """Return the metadata that says that each of `columns` comes from the one of the same name in `upstream`."""
    deps = {name: [dg.TableColumnDep(upstream, name)] for name in columns}
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)}


def mart_metadata(mart: Mart, upstream: Iterable[dg.AssetKey], config: PipelineConfig) -> dict[str, Any]:
    """Return the metadata of a mart that is computed from the tables `upstream`."""
    columns = mart.types(mart.engines[0])
    keys = list(upstream)
    deps = {name: [dg.TableColumnDep(key, one) for key in keys for one in COLUMN_SOURCES[name]] for name in columns}
    warehouse = config.data_warehouse
    database = warehouse.project_id if mart.engines[0] == "bigquery" else warehouse.postgres.dbname
    return {
        "dagster/column_schema": dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
        "dagster/column_lineage": dg.TableColumnLineage(deps),
        "dagster/table_name": f"{database}.{config.data_mart.dataset}.{mart.name}",
        "dagster/storage_kind": mart.engines[0],
        "dagster/uri": f"gs://{config.data_lake.gcs_bucket}/{config.data_lake.marts}/{mart.name}.csv",
        **code("txn_assets.marts.mart", *(f"txn_assets.marts.{engine}_sql" for engine in mart.engines)),
    }


def mart_version(mart: Mart, config: PipelineConfig) -> str:
    """Return the code version of a mart, which changes with its columns and the rules of what counts."""
    return hashlib.sha256(repr((mart, Rules.of(config))).encode()).hexdigest()[:16]


def landing_uri(feed: Feed, config: PipelineConfig) -> dict[str, Any]:
    """Return the metadata that says where files of `feed` land."""
    return {"dagster/uri": f"gs://{config.data_lake.gcs_bucket}/{feed.landing}/"}


def store_metadata(feed: Feed, entry: StoreEntry, config: PipelineConfig) -> dict[str, Any]:
    """Return the metadata that says where the store `entry` keeps the rows of `feed`."""
    warehouse = config.data_warehouse
    postgres = warehouse.postgres
    places: dict[str, dict[str, Any]] = {
        "gcs": {"dagster/uri": f"gs://{config.data_lake.gcs_bucket}/{feed.path}/"},
        "bigquery": {"dagster/table_name": f"{warehouse.project_id}.{warehouse.dataset}.{feed.bigquery_table}"},
        "postgres": {"dagster/table_name": f"{postgres.dbname}.{postgres.schema_}.{feed.postgres_table}"},
    }
    return {"dagster/storage_kind": entry.key, **places.get(entry.key, {}), **code(entry.module)}


def code(*modules: str) -> dict[str, Any]:
    """Return links to the source of `modules`, which open in an editor; none where nobody has one.

    The modules are not imported.
    """
    if txn_target() != "local":
        return {}
    root = Path(__file__).parents[2]
    with warnings.catch_warnings():
        # Code references are in beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        references: list[Any] = [
            dg.LocalFileCodeReference(file_path=str(root / f"{module.replace('.', '/')}.py"), label=module)
            for module in modules
        ]
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=references)}


def row_model_code(feed: Feed, *modules: str) -> dict[str, Any]:
    """Return links to the row model of `feed` and to `modules`."""
    references = code(*modules)
    model = feed.contract.source
    path = getattr(sys.modules.get(model.__module__), "__file__", None)
    if references and path:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            own = dg.LocalFileCodeReference(
                file_path=path, line_number=getattr(model, "__firstlineno__", None), label=model.__name__
            )
        references["dagster/code_references"].code_references.insert(0, own)
    return references


def freshness(expected: Expected | None, *, minutes: int = 0) -> dg.FreshnessPolicy | None:
    """Return the freshness policy of an asset that has files `minutes` after they are `expected`, if they are."""
    if expected is None:
        return None
    if expected.by is None:
        return dg.FreshnessPolicy.time_window(expected.period + dt.timedelta(minutes=minutes))
    hour, minute = map(int, expected.by.split(":"))
    hour, minute = divmod((hour * 60 + minute + minutes) % (24 * 60), 60)
    return dg.FreshnessPolicy.cron(f"{minute} {hour} * * *", expected.period, expected.timezone)
