"""The six assets of a feed, which load a landed file into the three stores.

`rows/processing.py` validates and hashes rows, and `stores/` loads files into each store. The README shows the graph.

Every asset processes one or more landed files, because a backfill puts many small files into one run. If a file fails,
the rest of the run skips it and does not record it as materialized. The other files go on, and the checks of the sinks
fail the run at the end.
"""

import datetime as dt
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import dagster as dg

from txn_assets.config import PipelineConfig
from txn_assets.defs.catalog import (
    catalog,
    code,
    column_schema,
    freshness,
    landing_uri,
    row_model_code,
    same_columns,
    store_metadata,
)
from txn_assets.defs.each_file import each_file, failures_of, file_refusal, stage_of
from txn_assets.defs.events import StageLog, pinned, processed, rejections
from txn_assets.defs.executor import IN_THREAD
from txn_assets.defs.failures import without_values
from txn_assets.defs.file_checks import checks_of_hashed_rows, checks_of_valid_rows
from txn_assets.defs.file_metadata import object_link, overview, rejects, speed
from txn_assets.defs.io_managers.sink import as_failure
from txn_assets.defs.names import asset_key, prefixed
from txn_assets.defs.partitions import landed_files_of, partitions_name
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import unusable
from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import ValidationReport
from txn_assets.files.shown import disguised, listed, printable, shown_name
from txn_assets.files.values import (
    HashedFile,
    HashedFiles,
    RawFile,
    RawFiles,
    ValidatedFile,
    ValidatedFiles,
)
from txn_assets.stores.errors import LandedFileError, StoreError
from txn_assets.stores.landed_names import too_long
from txn_assets.stores.registry import STORES, StoreEntry
from txn_assets.stores.services import AllServices, Services

VALIDATED, HASHED = dg.PythonObjectDagsterType(ValidatedFiles), dg.PythonObjectDagsterType(HashedFiles)
"""Types of values, shared by all feeds: Dagster refuses a job with two types of one name."""


@dataclass(frozen=True, kw_only=True)
class FeedAssets:
    """The assets of a feed; `sinks` has those of the stores, by the keys in `registry.STORES`."""

    landing_zone: dg.AssetSpec
    raw_csv: dg.AssetsDefinition
    validated: dg.AssetsDefinition
    hashed: dg.AssetsDefinition
    sinks: Mapping[str, dg.AssetsDefinition]

    @property
    def loading(self) -> tuple[dg.AssetsDefinition, ...]:
        """The assets that load a file, from upstream to downstream."""
        return self.raw_csv, self.validated, self.hashed, *self.sinks.values()


def make_assets(feed: Feed, config: PipelineConfig) -> FeedAssets:
    """Return the assets of `feed`."""
    about = catalog(feed, tier="source", pii="clear")
    landing_zone = dg.AssetSpec(
        asset_key(feed, "landing_zone"),
        group_name=prefixed(feed, "ingestion"),
        kinds={"gcs"},
        description=f"Where upstream systems drop files of the feed {feed.name}.",
        metadata=landing_uri(feed, config) | row_model_code(feed),
        owners=about["owners"],
        tags=about["tags"],
        freshness_policy=freshness(feed.expected),
    )
    raw_csv = _make_raw_csv(feed, config, landing_zone)
    validated = _make_validated(feed, raw_csv)
    hashed = _make_hashed(feed, validated)
    sinks = {entry.key: _make_sink(feed, entry, config, hashed) for entry in STORES}
    return FeedAssets(landing_zone=landing_zone, raw_csv=raw_csv, validated=validated, hashed=hashed, sinks=sinks)


def _landed_file_asset(
    feed: Feed,
    name: str,
    **options: Any,  # noqa: ANN401 - passed to the decorator
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    defaults = {"io_manager_key": prefixed(feed, "values"), "group_name": prefixed(feed, "ingestion")}
    with warnings.catch_warnings():
        # Backfill policies are in beta, but nothing else puts many files into one run.
        warnings.simplefilter("ignore", dg.BetaWarning)
        decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
            key=asset_key(feed, name),
            partitions_def=landed_files_of(feed),
            backfill_policy=dg.BackfillPolicy.single_run(),
            **(defaults | options),
        )
    return lambda function: decorate(without_values(function))


def _make_raw_csv(feed: Feed, config: PipelineConfig, landing_zone: dg.AssetSpec) -> dg.AssetsDefinition:
    @_landed_file_asset(
        feed,
        "raw_csv",
        kinds={"gcs", "csv"},
        deps=[landing_zone],
        metadata=landing_uri(feed, config) | code("txn_assets.stores.landing.zone", "txn_assets.rows.reader.header"),
        **catalog(feed, tier="internal", pii="clear"),
    )
    def raw_csv(context: dg.AssetExecutionContext, services: dg.ResourceParam[AllServices]) -> RawFiles:
        """A landed CSV file with a checked header, pinned to the generation that this run loads."""
        own = services.of(feed)
        names = {name: name for name in context.partition_keys}
        files, failed = each_file(context, own, names, partial(_pin, context, own))
        context.instance.add_dynamic_partitions(partitions_name(feed), [file.version.name for file in files])
        return RawFiles(files, failed)

    return raw_csv


def _pin(context: dg.AssetExecutionContext, services: Services, name: str, log: StageLog) -> RawFile:
    started = time.monotonic()
    landing = services.landing
    if refusal := too_long(name, landing.max_name_bytes):
        raise dg.Failure(refusal, allow_retries=False)
    if why := unusable(name):
        message = f"{printable(name)} is not loaded: {why}."
        raise dg.Failure(message, allow_retries=False)
    version = landing.latest(name)
    if version is None:
        raise dg.Failure(services.not_landed(name), allow_retries=False)
    if disguised(name):
        message = f"Letters of the name {name} only look like others: {shown_name(name)}. Check who sent it."
        context.log.warning(message)
    with failures_of(version, services):
        columns = services.run_files.read_header(version)
    metadata = {
        "generation": str(version.generation),
        "crc32c": version.crc32c,
        "size": dg.MetadataValue.int(version.size),
        "columns": listed(columns),
    }
    seconds = time.monotonic() - started
    context.add_asset_metadata(metadata | {"seconds": round(seconds, 3)}, partition_key=name)
    log.emit(pinned(stage_of(context), version, seconds))
    return RawFile(version)


def _make_validated(feed: Feed, raw_csv: dg.AssetsDefinition) -> dg.AssetsDefinition:
    name, checks = f"validated_{feed.name}", checks_of_valid_rows(feed)

    @_landed_file_asset(
        feed,
        name,
        kinds={"pydantic", "arrow"},
        ins={"raw": dg.AssetIn(raw_csv.key)},
        metadata=column_schema(
            feed, {name: kind.duckdb for name, kind in feed.contract.valid_columns.items()}, pii="clear"
        )
        | row_model_code(feed, "txn_assets.rows.validation", "txn_assets.rows.screen"),
        dagster_type=VALIDATED,
        check_specs=[check.spec(asset_key(feed, name), feed) for check in checks],
        **catalog(feed, tier="internal", pii="clear"),
    )
    def validated(
        context: dg.AssetExecutionContext, raw: RawFiles, services: dg.ResourceParam[AllServices]
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows only the bare class
        """The valid rows of the file; the rejected rows go to the quarantine with their reasons."""
        own = services.of(feed)
        files = ValidatedFiles(*each_file(context, own, raw.by_name, partial(_validate, context, own), raw.failed))
        return dg.MaterializeResult(value=files, check_results=[check.of(files) for check in checks])

    return validated


def _validate(context: dg.AssetExecutionContext, services: Services, file: RawFile, log: StageLog) -> ValidatedFile:
    started, started_at = time.monotonic(), dt.datetime.now(dt.UTC)
    run_files, version, stage = services.run_files, file.version, stage_of(context)
    with log.following(stage, version.name, size=version.size), failures_of(version, services):
        report = run_files.validate_file(version)
        rejected = run_files.folder(version).rejected
        place = _quarantine(services, version, report)
    log.emit_rejections(stage, version, report, rejected)
    seconds = time.monotonic() - started
    metadata: dict[str, Any] = {
        "records": report.records,
        "dagster/partition_row_count": report.valid,
        "rejected": report.rejected,
        "erased": report.erased,
        "generation": str(version.generation),
        "bytes": dg.MetadataValue.int(version.size),
        "reasons": dg.MetadataValue.json(dict(report.reasons)),
        **rejects(report),
        "rejected_rows": dg.MetadataValue.json([event.message for event in rejections(stage, version.name, report)]),
        "quarantine": place or "empty",
        **({"quarantine_link": object_link(services.clients.access, place)} if place else {}),
        "extra_columns": listed(report.extra_columns),
        "repeated_ids": report.repeated_ids,
        **speed(report.records, seconds),
    }
    context.add_asset_metadata(metadata, partition_key=version.name)
    counts = {"valid": report.valid, "rejected": report.rejected} | ({"erased": report.erased} if report.erased else {})
    log.emit(processed(stage, version.name, report.records, seconds, **counts))
    if report.records and not report.valid:
        where = f"{report.rejected} rejected rows with their reasons are in {place}." if place else "All are erased."
        message = (
            f"No valid {services.feed.name} in {version.name}. {where} The stores keep what they had{report.hint()}."
        )
        raise file_refusal(services, version, message, metadata)
    if not report.records:
        _refuse_to_empty(services, version)
    return ValidatedFile(version, services.feed.rules_id, report, started_at, seconds)


def _quarantine(services: Services, version: FileVersion, report: ValidationReport) -> str | None:
    """Store the rejected rows and return their address, unless somebody was erased since the run began.

    An erasure that looked into the quarantine before this did not see these rows.
    """
    rejected, key_id = services.run_files.folder(version).rejected, services.run_files.hasher.key_id
    place = services.quarantine.store(version, report, rejected, key_id=key_id)
    if place:
        try:
            services.run_files.refuse_new_requests(version)
        except LandedFileError:
            services.quarantine.remove(version)
            raise
    return place


def _refuse_to_empty(services: Services, version: FileVersion) -> None:
    """Fail if a store holds rows of the file, which now has only a header, as one that was cut off would."""
    name = version.name
    holders = []
    for entry in STORES:
        store = services.stores[entry.key]
        try:
            held = store.retry_transient(partial(store.held, name))
        except StoreError as error:
            raise as_failure(error) from error
        if held and held.totals.rows:
            holders.append(entry.label)
    if holders:
        message = (
            f"{name} has a header and no rows, but an earlier version had rows, which are in {', '.join(holders)}. "
            "The stores keep what they had. Land the complete file under the same name."
        )
        raise file_refusal(services, version, message)


def _make_hashed(feed: Feed, validated: dg.AssetsDefinition) -> dg.AssetsDefinition:
    name, checks = f"hashed_{feed.name}", checks_of_hashed_rows()

    @_landed_file_asset(
        feed,
        name,
        kinds={"duckdb", "parquet"},
        ins={"valid": dg.AssetIn(validated.key)},
        metadata=column_schema(feed, {name: kind.duckdb for name, kind in feed.contract.staged_columns.items()})
        | same_columns(feed.contract.valid_columns, validated.key)
        | code("txn_assets.rows.hashing"),
        dagster_type=HASHED,
        check_specs=[check.spec(asset_key(feed, name), feed) for check in checks],
        **catalog(feed, tier="internal", pii="hashed"),
    )
    def hashed(
        context: dg.AssetExecutionContext, valid: ValidatedFiles, services: dg.ResourceParam[AllServices]
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows only the bare class
        """The valid rows with PII hashed: the input of every sink, and the first value without clear-text PII."""
        own = services.of(feed)
        files = HashedFiles(*each_file(context, own, valid.by_name, partial(_hash, context, own), valid.failed))
        return dg.MaterializeResult(value=files, check_results=[check.of(files) for check in checks])

    return hashed


def _hash(context: dg.AssetExecutionContext, services: Services, file: ValidatedFile, log: StageLog) -> HashedFile:
    started = time.monotonic()
    if refusal := file.report.over_limit(services.feed.max_invalid_ratio, services.feed.key("max_invalid_ratio")):
        raise file_refusal(services, file.version, f"{file.version.name}: {refusal}")
    with (
        log.following(stage_of(context), file.version.name, rows=file.report.valid),
        failures_of(file.version, services),
    ):
        hashed = services.run_files.hash_file(file)
    totals = hashed.totals
    seconds = time.monotonic() - started
    context.add_asset_metadata(
        {
            "dagster/partition_row_count": totals.rows,
            **{f"sum_{name}": _sum(services.feed, name, total) for name, total in totals.sums.items()},
            **({"dates": f"{totals.min_date} to {totals.max_date}"} if totals.min_date else {}),
            "fingerprint": f"{totals.fingerprint:015x}",
            "key_id": hashed.key_id,
            "generation": str(file.version.generation),
            "erased": hashed.erased,
            **speed(totals.rows, seconds),
            **overview(services, hashed, file.report, files=log.files),
        },
        partition_key=file.version.name,
    )
    counts = {"erased": hashed.erased} if hashed.erased else {}
    log.emit(processed(stage_of(context), file.version.name, totals.rows, seconds, **counts))
    return hashed


def _sum(feed: Feed, column: str, total: Decimal) -> str | int:
    """Return the sum of a column for metadata, which has no type for decimals."""
    return int(total) if feed.contract.kinds[column].python_type is int else str(total)


def _make_sink(
    feed: Feed, entry: StoreEntry, config: PipelineConfig, hashed: dg.AssetsDefinition
) -> dg.AssetsDefinition:
    columns = entry.columns(feed)

    @_landed_file_asset(
        feed,
        entry.asset(feed),
        description=entry.description,
        io_manager_key=prefixed(feed, entry.key),
        group_name=prefixed(feed, "sinks"),
        kinds={entry.key},
        ins={"rows": dg.AssetIn(hashed.key)},
        metadata=column_schema(feed, columns) | same_columns(columns, hashed.key) | store_metadata(feed, entry, config),
        op_tags=IN_THREAD,
        **catalog(feed, tier="published", pii="hashed"),
        freshness_policy=freshness(feed.expected, minutes=config.orchestration.stuck_after_minutes),
    )
    def sink(rows: HashedFiles) -> HashedFiles:
        return rows

    return sink
