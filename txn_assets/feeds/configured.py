"""The feeds of a configuration: the first one from the existing sections, the others from `feeds`."""

import difflib
import functools

from txn_assets.config import PipelineConfig
from txn_assets.environment import config_path
from txn_assets.errors import UserError
from txn_assets.feeds.feed import FIRST_FEED, Feed
from txn_assets.feeds.section import FeedSection
from txn_assets.feeds.transaction import AMOUNT, CONTRACT, ValidationRules
from txn_assets.rows.kinds import MoneyKind


@functools.lru_cache(maxsize=8)
def feeds_of(config: PipelineConfig) -> tuple[Feed, ...]:
    """Return the feeds of `config`, the first feed first."""
    return (
        _first(config),
        *(make_feed(name, section, config) for name, section in config.feeds.items()),
    )


def find_feed(config: PipelineConfig, name: str | None) -> Feed:
    """Return the feed `name` of `config`, or the first feed if `name` is None.

    Raises:
        UserError: there is no such feed.
    """
    feeds = {feed.name: feed for feed in feeds_of(config)}
    if name is None:
        return feeds[FIRST_FEED]
    if name not in feeds:
        near = difflib.get_close_matches(name, feeds, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Configured feeds: {', '.join(feeds)}."
        message = f"There is no feed {name!r} in {config_path()}. {hint}"
        raise UserError(message)
    return feeds[name]


def _first(config: PipelineConfig) -> Feed:
    lake, warehouse, ingestion = config.data_lake, config.data_warehouse, config.ingestion
    rules = ingestion.validation
    if ingestion.trust_input:
        rules = ValidationRules(required_fields=rules.required_fields)
    return Feed(
        name=FIRST_FEED,
        contract=rules.narrow(CONTRACT.with_pii(config.security.pii_fields)),
        landing=lake.landing,
        landing_dates=lake.landing_dates or "",
        landing_late_days=lake.landing_late_days,
        path=lake.path,
        quarantine=lake.quarantine,
        staging=lake.staging,
        lake_format=lake.format,
        bigquery_table=warehouse.table,
        postgres_table=warehouse.postgres.table,
        batch_size=ingestion.batch_size,
        max_invalid_ratio=ingestion.max_invalid_ratio,
        max_change_ratio=ingestion.max_change_ratio,
        max_shared_ids=ingestion.max_shared_ids,
        unknown_columns=ingestion.unknown_columns,
        file_format=ingestion.format,
        limits=config.limits,
        amount=AMOUNT,
        expected=config.orchestration.expected,
        owners=config.orchestration.owners,
        run_sizes=config.kubernetes.run_sizes,
    )


def make_feed(name: str, section: FeedSection, config: PipelineConfig) -> Feed:
    """Return the feed `name` that `section` of `config` configures.

    Raises:
        ValueError: the row model does not exist or cannot be used.
    """
    section = section.named(name)
    contract = section.contract(name)
    return Feed(
        name=name,
        contract=contract,
        landing=str(section.landing),
        landing_dates=section.landing_dates or "",
        landing_late_days=section.landing_late_days,
        path=str(section.path),
        quarantine=str(section.quarantine),
        staging=str(section.staging),
        lake_format=section.lake_format,
        bigquery_table=str(section.table),
        postgres_table=str(section.postgres_table),
        batch_size=section.batch_size,
        max_invalid_ratio=section.max_invalid_ratio,
        max_change_ratio=section.max_change_ratio,
        max_shared_ids=section.max_shared_ids,
        unknown_columns=section.unknown_columns,
        file_format=section.format,
        limits=config.limits,
        amount=contract.of_kind(MoneyKind)[:1],
        expected=section.expected,
        owners=config.orchestration.owners if section.owners is None else section.owners,
        run_sizes=config.kubernetes.run_sizes,
    )
