"""The marts in Dagster: an asset and a check for each, and when they are refreshed.

The stores compute the marts, with the SQL in `txn_assets/marts/`. See docs/marts.md.
"""

import warnings
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from txn_assets.config import PipelineConfig
from txn_assets.defs.catalog import catalog, freshness, mart_metadata, mart_version
from txn_assets.defs.charts import MAX_POINTS, draw
from txn_assets.defs.events import LOGGER
from txn_assets.defs.failures import without_values
from txn_assets.defs.io_managers.sink import as_failure
from txn_assets.defs.mart_automation import follow_files
from txn_assets.defs.names import asset_key
from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import FIRST_FEED, Feed
from txn_assets.marts.mart import Engine, Mart, MartRow, Refresh, marts_of, plain
from txn_assets.stores.errors import StoreError
from txn_assets.stores.registry import STORES
from txn_assets.stores.services import AllServices

if TYPE_CHECKING:
    from txn_assets.marts.engines import Marts

GROUP = "marts"
REFRESH = "refresh_marts"
"""Name of the job that refreshes all marts."""

TICK_SECONDS = 30
"""Seconds between two looks at whether files were loaded."""

_LABELS = {entry.key: entry.label for entry in STORES}

SHOWN_ROWS = 10
"""Number of rows of a mart in the metadata of its asset."""


class RefreshConfig(dg.Config):
    """How to refresh a mart."""

    force: bool = Field(default=False, description="Compute the mart again even if it is up to date.")


def define_marts(config: PipelineConfig) -> dg.Definitions:
    """Return the definitions of the marts in `transformation.models`, which need the resource `services`."""
    marts = marts_of(config)
    if not marts:
        return dg.Definitions()
    feed = find_feed(config, FIRST_FEED)
    assets = [_make_asset(feed, mart, config) for mart in marts]
    all_marts = dg.AssetSelection.assets(*assets)
    refresh = dg.define_asset_job(REFRESH, all_marts, description="Refreshes the marts that are not up to date.")
    schedule = dg.ScheduleDefinition(
        job=refresh,
        cron_schedule=config.orchestration.schedule,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Refreshes the marts once more, in case a file was loaded while Dagster was down.",
    )
    with warnings.catch_warnings():
        # Conditions of one's own are evaluated by the code location, which is in beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        sensor = dg.AutomationConditionSensorDefinition(
            "marts_follow_files",
            target=all_marts,
            minimum_interval_seconds=TICK_SECONDS,
            default_status=dg.DefaultSensorStatus.RUNNING,
            use_user_code_server=True,
            description=f"Refreshes the marts after loads, at most every {config.orchestration.mart_minutes} minutes.",
        )
    checks = [_make_agreement(feed, mart, asset) for mart, asset in zip(marts, assets, strict=True)]
    return dg.Definitions(assets=assets, asset_checks=checks, jobs=[refresh], schedules=[schedule], sensors=[sensor])


def _make_asset(feed: Feed, mart: Mart, config: PipelineConfig) -> dg.AssetsDefinition:
    loaded = {entry.key: asset_key(feed, entry.asset(feed)) for entry in STORES}
    upstream = [loaded[engine] for engine in mart.engines]
    about = catalog(feed, tier="published", pii="hashed" if set(feed.pii_fields) & set(mart.columns) else None)
    late = config.orchestration.stuck_after_minutes + config.orchestration.mart_minutes

    @dg.asset(
        key=asset_key(feed, mart.name),
        deps=upstream,
        group_name=GROUP,
        kinds=set(mart.engines),
        description=mart.description,
        automation_condition=follow_files(config.orchestration.mart_minutes),
        metadata=mart_metadata(mart, upstream, config),
        owners=about["owners"],
        tags=about["tags"],
        code_version=mart_version(mart, config),
        freshness_policy=freshness(feed.expected, minutes=late),
    )
    @without_values
    def refresh(
        context: dg.AssetExecutionContext, config: RefreshConfig, services: dg.ResourceParam[AllServices]
    ) -> dg.MaterializeResult[None]:
        opened = _open(services, feed)
        try:
            done = opened.refresh(mart, force=config.force)
            shown = opened.of(mart.engines[0])
            rows, sums = shown.rows(mart, limit=SHOWN_ROWS), shown.sums(mart, limit=MAX_POINTS)
            exports = opened.export(mart, done)
        except StoreError as error:
            raise as_failure(error) from error
        for engine, one in done.items():
            message = f"{mart.name:<26} {in_words(one)} in {_LABELS[engine]}, in {one.seconds:.2f} seconds"
            context.log.info(message)
            LOGGER.info(message)
        chart = draw(f"{mart.name}: {mart.measure} by {mart.key[0]}", sums)
        return dg.MaterializeResult(
            metadata=_metadata(mart, done, rows)
            | {"exports": ", ".join(exports)}
            | ({"chart": dg.MetadataValue.md(chart)} if chart else {})
        )

    return refresh


def _make_agreement(feed: Feed, mart: Mart, asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset)
    @without_values
    def marts_agree(services: dg.ResourceParam[AllServices]) -> dg.AssetCheckResult:
        """Check that every engine has the same rows, and that they count what the ledgers have less the duplicates."""
        from txn_assets.marts.comparison import compare  # noqa: PLC0415 - as in `_open`

        try:
            found = compare(_open(services, feed), mart)
        except StoreError as error:
            raise as_failure(error) from error
        # A load between the refreshes of the two engines is no fault; the next refresh makes them equal.
        severity = dg.AssetCheckSeverity.ERROR if found.is_certain else dg.AssetCheckSeverity.WARN
        return dg.AssetCheckResult(passed=not found.wrong, severity=severity, description=" ".join(found.wrong) or None)

    return marts_agree


def in_words(refresh: Refresh) -> str:
    """Return how many rows a mart has and whether they were computed."""
    return f"{refresh.rows:,} rows {'unchanged' if refresh.is_unchanged else 'computed'}"


def _metadata(mart: Mart, done: Mapping[Engine, Refresh], rows: Sequence[MartRow]) -> dict[str, Any]:
    first = done[mart.engines[0]]
    schema = dg.TableSchema([dg.TableColumn(name) for name in mart.columns])
    records = [dg.TableRecord(dict(zip(mart.columns, map(_shown, row), strict=True))) for row in rows]
    return {
        "dagster/row_count": first.rows,
        "superseded_rows": first.superseded,
        "is_unchanged": all(one.is_unchanged for one in done.values()),
        **{f"version_{engine}": one.version.version for engine, one in done.items()},
        **{f"seconds_{engine}": round(one.seconds, 3) for engine, one in done.items()},
        "first_rows": dg.MetadataValue.table(records, schema),
    }


def _shown(value: Any) -> str | int | None:  # noqa: ANN401 - a value of a row
    """Return a value for a table in the UI, which has no decimals and no days."""
    if isinstance(value, Decimal):
        return plain(value)
    return value if value is None or isinstance(value, int) else str(value)


def _open(services: AllServices, feed: Feed) -> "Marts":
    from txn_assets.marts.engines import open_marts  # noqa: PLC0415 - imports the clients, see `services.py`

    return open_marts(services.of(feed), services.config)
