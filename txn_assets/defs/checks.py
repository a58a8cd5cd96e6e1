"""The asset checks with a step of their own: they read a store or the landing zone.

`file_checks.py` has those of the files themselves. See docs/data-contract.md.
"""

import datetime as dt
import warnings
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from txn_assets.defs.assets import FeedAssets
from txn_assets.defs.failures import without_values
from txn_assets.defs.file_checks import ERROR, WARN, result
from txn_assets.defs.io_managers.sink import as_failure
from txn_assets.defs.landing_events import FILE_EXPECTED, Tally, count_expected, judge, observe
from txn_assets.defs.services import read_ledgers
from txn_assets.feeds.feed import Feed
from txn_assets.files.arrival import left_alone, list_left_alone
from txn_assets.files.ledger import describe, supersedes
from txn_assets.files.retention import landed_at
from txn_assets.files.rotation import find_rotation
from txn_assets.files.values import HashedFiles
from txn_assets.sections.operation import Orchestration
from txn_assets.stores.errors import StoreError
from txn_assets.stores.registry import STORES, StoreEntry
from txn_assets.stores.services import AllServices, Services

if TYPE_CHECKING:
    from txn_assets.stores.postgres.store import PostgresStore

SHOWN_FILES = 20


def make_checks(feed: Feed, assets: FeedAssets, orchestration: Orchestration) -> Iterable[dg.AssetChecksDefinition]:
    """Yield the checks of the landing zone and of the sinks of `feed`."""
    yield make_no_stuck_files(feed, assets.landing_zone, orchestration.stuck_after_minutes)
    yield make_under_current_key(feed, assets.landing_zone)
    if feed.expected:
        yield _make_file_expected(feed, assets.landing_zone)
    for entry in STORES:
        yield _make_reconciliation(feed, assets, entry)
    yield _make_loaded_under_one_name(feed, assets)
    if feed.max_change_ratio is not None:
        yield _make_change_within_limit(feed, assets, feed.max_change_ratio)


def _file_check(
    asset: dg.AssetsDefinition,
    *,
    blocking: bool = False,
    **options: Any,  # noqa: ANN401 - passed to the decorator
) -> Callable[[Callable[..., dg.AssetCheckResult]], dg.AssetChecksDefinition]:
    """Define a check of the files in its run. Without partitions, the check would get every file that ever landed."""

    def decorate(function: Callable[..., dg.AssetCheckResult]) -> dg.AssetChecksDefinition:
        with warnings.catch_warnings():
            # Partitions of checks are a preview in Dagster 1.13.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            decorator = dg.asset_check(asset=asset, blocking=blocking, partitions_def=asset.partitions_def, **options)
            return decorator(without_values(function))

    return decorate


def make_no_stuck_files(feed: Feed, landing_zone: dg.AssetSpec, minutes: int) -> dg.AssetChecksDefinition:
    """Return the check that every file that landed more than `minutes` ago is in every store."""

    @dg.asset_check(asset=landing_zone.key)
    @without_values
    def no_stuck_files(
        context: dg.AssetCheckExecutionContext, services: dg.ResourceParam[AllServices]
    ) -> dg.AssetCheckResult:
        """Check that files that landed a while ago can be loaded and are in all three stores."""
        own = services.of(feed)
        now = dt.datetime.now(dt.UTC)
        tally = Tally.of(feed, now)
        objects = {version: left_alone(version) for version in tally.count(own.landing.versions())}
        ages = {version: now - landed_at(version.generation) for version in objects}
        landed = [version for version, reason in objects.items() if reason is None]
        ignored = [
            reason
            for version, reason in objects.items()
            if reason and not reason.is_meant and ages[version] > dt.timedelta(minutes=minutes)
        ]
        ledgers = read_ledgers(own)
        not_loaded = {version: labels for version in landed if (labels := ledgers.missing_in(version))}
        oldest_one = max(not_loaded, key=ages.__getitem__, default=None)
        context.instance.report_runless_asset_event(observe(feed, tally, oldest_not_loaded=str(oldest_one or "none")))
        missing = {v: labels for v, labels in not_loaded.items() if ages[v] > dt.timedelta(minutes=minutes)}
        files = sorted(missing, key=ages.__getitem__)
        oldest = round(max((ages[version] for version in files), default=dt.timedelta()).total_seconds() / 60)
        stuck_files = f"{len(files)} files are stuck, the oldest for {oldest} minutes." if files else ""
        return dg.AssetCheckResult(
            passed=not files and not ignored,
            severity=WARN,
            description=f"{stuck_files} {list_left_alone(ignored, shown=SHOWN_FILES)}".strip() or None,
            metadata={
                "stuck_files": len(files),
                "oldest_minutes": oldest,
                "missing_in": dg.MetadataValue.json(
                    {label: sum(label in labels for labels in missing.values()) for label in ledgers.versions}
                ),
                "oldest_files": dg.MetadataValue.json([str(version) for version in files[: -SHOWN_FILES - 1 : -1]]),
                "landed_files": len(landed),
                "left_alone": dg.MetadataValue.json({one.version.name: one.why for one in ignored[:SHOWN_FILES]}),
            },
        )

    return no_stuck_files


def make_under_current_key(feed: Feed, landing_zone: dg.AssetSpec) -> dg.AssetChecksDefinition:
    """Return the check that no store holds files that are hashed with another key than the current one."""

    @dg.asset_check(asset=landing_zone.key)
    @without_values
    def under_current_key(services: dg.ResourceParam[AllServices]) -> dg.AssetCheckResult:
        """Check that no file is still under an old key: its hashes do not join with those of the current key."""
        own = services.of(feed)
        landed = (version for version in own.landing.versions() if left_alone(version) is None)
        rotation = find_rotation(landed, read_ledgers(own), current=own.run_files.hasher.key_id)
        return dg.AssetCheckResult(
            passed=not rotation.old_files,
            severity=WARN,
            description=rotation.sentence() or None,
            metadata={
                "files_under_old_keys": rotation.old_files,
                "to_load_again": len(rotation.reloadable),
                "no_longer_landed": len(rotation.gone),
                "files_by_key": dg.MetadataValue.json(
                    {label: {key: use.files for key, use in uses.items()} for label, uses in rotation.stores.items()}
                ),
                "oldest_files": dg.MetadataValue.json([str(one) for one in rotation.reloadable[:SHOWN_FILES]]),
            },
        )

    return under_current_key


def _make_file_expected(feed: Feed, landing_zone: dg.AssetSpec) -> dg.AssetChecksDefinition:
    assert feed.expected is not None

    @dg.asset_check(
        asset=landing_zone.key, name=FILE_EXPECTED, description=f"Check that files land: {feed.expected.in_words()}."
    )
    @without_values
    def file_expected(services: dg.ResourceParam[AllServices]) -> dg.AssetCheckResult:
        now = dt.datetime.now(dt.UTC)
        return dg.AssetCheckResult(**judge(feed, count_expected(feed, services.of(feed).landing, now)))

    return file_expected


def _make_reconciliation(feed: Feed, assets: FeedAssets, entry: StoreEntry) -> dg.AssetChecksDefinition:
    @_file_check(
        assets.sinks[entry.key],
        # Nothing runs after this check, so blocking only makes the run fail.
        blocking=True,
        name=f"matches_hashed_{feed.name}",
        additional_ins={"hashed": dg.AssetIn(assets.hashed.key)},
        description="The totals that the store computed over every column of every row equal those of the hashed file.",
    )
    def reconciles(
        context: dg.AssetCheckExecutionContext,
        hashed: HashedFiles,
        services: dg.ResourceParam[AllServices],
    ) -> dg.AssetCheckResult:
        try:
            return reconcile(entry, services.of(feed), hashed, context.run.run_id)
        except StoreError as error:
            raise as_failure(error) from error

    return reconciles


def reconcile(entry: StoreEntry, services: Services, files: HashedFiles, run_id: str) -> dg.AssetCheckResult:
    """Compare the contents of a store with `files`, and report files that failed earlier.

    Skip a file if the store holds a generation that replaces this one. See `Store.holdings` for how it
    uses `run_id`.

    Raises:
        StoreError: the store cannot be read.
    """
    store = services.stores[entry.key]
    inexact = store.retry_transient(store.inexact_columns)
    wrong = {one.name: f"not loaded: {one.why}" for one in files.failed}
    held = store.retry_transient(lambda: store.holdings(files.files, run_id))
    for name, file in files.by_name.items():
        generation = held[name].generation
        if generation != file.version.generation:
            live = store.live_generation(file.version, generation)
            if not supersedes(file.version.generation, generation, live=live):
                continue
            wrong[name] = f"{entry.label} has not loaded generation {file.version.generation}"
            continue
        expected = store.as_held(file, inexact=inexact).totals
        differences = expected.differences(held[name].totals, inexact=inexact)
        if differences:
            wrong[name] = f"{entry.label} holds different values: {describe(differences)}"
    rows = sum(holding.totals.rows for holding in held.values())
    return result(wrong, severity=ERROR, metadata={"rows_read_back": rows})


def _make_loaded_under_one_name(feed: Feed, assets: FeedAssets) -> dg.AssetChecksDefinition:
    @_file_check(assets.sinks["postgres"], additional_ins={"hashed": dg.AssetIn(assets.hashed.key)})
    def loaded_under_one_name(hashed: HashedFiles, services: dg.ResourceParam[AllServices]) -> dg.AssetCheckResult:
        """Check that a file, or more than `max_shared_ids` of its ids, is not loaded under another name too."""
        store = cast("PostgresStore", services.of(feed).stores["postgres"])
        try:
            twins = store.retry_transient(lambda: store.twins([file.version for file in hashed]))
            shared = store.retry_transient(lambda: store.shared_ids(hashed.files))
        except StoreError as error:
            raise as_failure(error) from error
        found = {
            name: f"{one.count:,} of {one.ids:,} ids are also in {_list_names(one.names)}"
            for name, one in shared.items()
            if Decimal(one.count) / one.ids > feed.max_shared_ids
        }
        found |= {name: f"the same bytes are loaded as {_list_names(names)}" for name, names in twins.items()}
        return result(found, severity=WARN)

    return loaded_under_one_name


def _list_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_FILES} more" if len(names) > SHOWN_FILES else ""
    return f"{', '.join(names[:SHOWN_FILES])}{more}"


def _make_change_within_limit(feed: Feed, assets: FeedAssets, limit: Decimal) -> dg.AssetChecksDefinition:
    @_file_check(assets.sinks["bigquery"], additional_ins={"hashed": dg.AssetIn(assets.hashed.key)})
    def change_within_limit(hashed: HashedFiles, services: dg.ResourceParam[AllServices]) -> dg.AssetCheckResult:
        """Check that a new version adds, removes or changes at most `max_change_ratio` of the rows that it replaced."""
        store = services.of(feed).stores["bigquery"]
        wrong = {}
        for file in hashed:
            try:
                record = store.retry_transient(partial(store.held, file.version.name))
            except StoreError as error:
                raise as_failure(error) from error
            ratio = record.change_ratio if record and record.file == file.version else None
            if record and ratio is not None and ratio > limit:
                wrong[file.version.name] = f"{record.changes}: {ratio:.1%} of the rows that it replaced"
        return result(wrong, severity=ERROR, metadata={"limit": str(limit)})

    return change_within_limit
