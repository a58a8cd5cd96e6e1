"""The six assets that load a landed file into the three stores.

`rows/processing.py` validates and hashes rows, and `stores/` loads files into each store. The README shows the graph.

Every asset processes one or more landed files, because a backfill puts many small files into one run. If a file fails,
the rest of the run skips it and does not record it as materialized. The other files go on, and the checks of the sinks
fail the run at the end.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from txn_assets.defs.events import StageLog, pinned, processed, rejections
from txn_assets.defs.partitions import LANDED_FILES, landed_files
from txn_assets.environment import ConfigError
from txn_assets.feeds.compat import STAGED_COLUMNS, VALID_COLUMNS
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.ledger import FileVersion
from txn_assets.files.values import (
    FailedFile,
    HashedFile,
    HashedFiles,
    RawFile,
    RawFiles,
    ValidatedFile,
    ValidatedFiles,
    list_failures,
)
from txn_assets.rows.csv_header import NotATransactionFileError
from txn_assets.stores.errors import LandedFileError, UnusableFileError
from txn_assets.stores.landed_names import too_long
from txn_assets.stores.registry import STORES, StoreEntry
from txn_assets.stores.services import Services

LANDING_ZONE = dg.AssetSpec(
    "landing_zone", group_name="ingestion", kinds={"gcs"}, description="Where upstream systems drop transaction files."
)


def _landed_file_asset(**options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:  # noqa: ANN401 - passed to the decorator
    with warnings.catch_warnings():
        # Backfill policies are in beta, but nothing else puts many files into one run.
        warnings.simplefilter("ignore", dg.BetaWarning)
        decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
            partitions_def=landed_files,
            backfill_policy=dg.BackfillPolicy.single_run(),
            **options,
        )
    return decorate


def _column_schema(columns: Mapping[str, str]) -> dict[str, dg.TableSchema]:
    """Return the metadata that shows `columns`, with their types, in the catalog."""
    return {"dagster/column_schema": dg.TableSchema([dg.TableColumn(*column) for column in columns.items()])}


@_landed_file_asset(io_manager_key="values", group_name="ingestion", kinds={"gcs", "csv"}, deps=[LANDING_ZONE])
def raw_csv(context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]) -> RawFiles:
    """A landed CSV file with a checked header, pinned to the generation that this run loads."""
    names = {name: name for name in context.partition_keys}
    files, failed = _each(context, services, names, lambda name, log: _pin(context, services, name, log))
    context.instance.add_dynamic_partitions(LANDED_FILES, [file.version.name for file in files])
    return RawFiles(files, failed)


def _pin(context: dg.AssetExecutionContext, services: Services, name: str, log: StageLog) -> RawFile:
    started = time.monotonic()
    landing = services.landing
    if refusal := too_long(name, landing.max_name_bytes):
        raise dg.Failure(refusal, allow_retries=False)
    version = landing.latest(name)
    if version is None:
        raise dg.Failure(landing.not_landed(name), allow_retries=False)
    with _failures_of(version):
        columns = services.run_files.read_header(version)
    metadata = {
        "generation": str(version.generation),
        "crc32c": version.crc32c,
        "size": dg.MetadataValue.int(version.size),
        "columns": ", ".join(columns),
    }
    seconds = time.monotonic() - started
    context.add_asset_metadata(metadata | {"seconds": round(seconds, 3)}, partition_key=name)
    log.emit(pinned("raw_csv", version, seconds))
    return RawFile(version)


@_landed_file_asset(
    io_manager_key="values",
    group_name="ingestion",
    kinds={"pydantic", "arrow"},
    metadata=_column_schema({name: kind.duckdb for name, kind in VALID_COLUMNS.items()}),
)
def validated_transactions(
    context: dg.AssetExecutionContext, raw_csv: RawFiles, services: dg.ResourceParam[Services]
) -> ValidatedFiles:
    """The valid rows of the file; the rejected rows go to the quarantine with their reasons."""

    def validate(file: RawFile, log: StageLog) -> ValidatedFile:
        return _validate(context, services, file.version, log)

    return ValidatedFiles(*_each(context, services, raw_csv.by_name, validate, raw_csv.failed))


def _validate(
    context: dg.AssetExecutionContext, services: Services, version: FileVersion, log: StageLog
) -> ValidatedFile:
    started = time.monotonic()
    run_files = services.run_files
    with _failures_of(version):
        report = run_files.validate_file(version)
    place = services.quarantine.store(version, run_files.folder(version).rejected if report.rejected else None)
    log.emit_rejections("validated_transactions", version.name, report)
    seconds = time.monotonic() - started
    metadata: dict[str, Any] = {
        "records": report.records,
        "dagster/partition_row_count": report.valid,
        "rejected": report.rejected,
        "reasons": dg.MetadataValue.json(dict(report.reasons)),
        "rejected_rows": dg.MetadataValue.json(
            [event.message for event in rejections("validated_transactions", version.name, report)]
        ),
        "quarantine": place or "empty",
        "extra_columns": ", ".join(report.extra_columns),
        "repeated_ids": report.repeated_ids,
        "seconds": round(seconds, 3),
    }
    context.add_asset_metadata(metadata, partition_key=version.name)
    counts = {"valid": report.valid, "rejected": report.rejected}
    log.emit(processed("validated_transactions", version.name, report.records, seconds, **counts))
    if not report.valid:
        where = f" {report.rejected} rejected rows with their reasons are in {place}." if place else " It has no rows."
        message = f"No valid transactions in {version.name}.{where} The stores keep what they had."
        raise dg.Failure(message, metadata=metadata, allow_retries=False)
    return ValidatedFile(version, services.feed.rules_id, report)


@_landed_file_asset(
    io_manager_key="values",
    group_name="ingestion",
    kinds={"duckdb", "parquet"},
    metadata=_column_schema({name: kind.duckdb for name, kind in STAGED_COLUMNS.items()}),
)
def hashed_transactions(
    context: dg.AssetExecutionContext, validated_transactions: ValidatedFiles, services: dg.ResourceParam[Services]
) -> HashedFiles:
    """The valid rows with PII hashed: the input of every sink, and the first value without clear-text PII."""

    def hash_rows(file: ValidatedFile, log: StageLog) -> HashedFile:
        return _hash(context, services, file, log)

    files, failed = validated_transactions.by_name, validated_transactions.failed
    return HashedFiles(*_each(context, services, files, hash_rows, failed))


def _hash(context: dg.AssetExecutionContext, services: Services, file: ValidatedFile, log: StageLog) -> HashedFile:
    started = time.monotonic()
    if refusal := file.report.over_limit(services.config.ingestion.max_invalid_ratio):
        message = f"{file.version.name}: {refusal}"
        raise dg.Failure(message, allow_retries=False)
    with _failures_of(file.version):
        hashed = services.run_files.hash_file(file)
    totals = hashed.totals
    seconds = time.monotonic() - started
    context.add_asset_metadata(
        {
            "dagster/partition_row_count": totals.rows,
            "sum_price": str(totals.sums["price"]),
            "sum_quantity": int(totals.sums["quantity"]),
            "dates": f"{totals.min_date} to {totals.max_date}",
            "fingerprint": f"{totals.fingerprint:015x}",
            "key_id": hashed.key_id,
            "seconds": round(seconds, 3),
        },
        partition_key=file.version.name,
    )
    log.emit(processed("hashed_transactions", file.version.name, totals.rows, seconds))
    return hashed


def _make_sink(entry: StoreEntry) -> dg.AssetsDefinition:
    @_landed_file_asset(
        name=entry.asset_name.format(feed=FIRST_FEED),
        description=entry.description,
        io_manager_key=entry.key,
        group_name="sinks",
        kinds={entry.key},
        metadata=_column_schema(entry.columns_of(CONTRACT)),
        pool=entry.key,
    )
    def sink(hashed_transactions: HashedFiles) -> HashedFiles:
        return hashed_transactions

    return sink


SINKS = {entry.key: _make_sink(entry) for entry in STORES}
"""The assets of the stores, by key."""


def _each[ItemT, FileT](
    context: dg.AssetExecutionContext,
    services: Services,
    items: Mapping[str, ItemT],
    work: Callable[[ItemT, StageLog], FileT],
    failed: tuple[FailedFile, ...] = (),
) -> tuple[tuple[FileT, ...], tuple[FailedFile, ...]]:
    """Apply `work` to each of `items`, keyed by file name; return the results and all failed files of the batch.

    Raises:
        Failure: no file is left.
        ConfigError: the configuration is wrong, so every file would fail.
    """
    started = time.monotonic()
    log = StageLog(context.log, context.run.run_id, files=len(items) + len(failed))
    done = []
    names = list(items)
    for place, name in enumerate(names):
        try:
            done.append(work(items[name], log))
        except ConfigError:
            raise
        except Exception as error:
            # Any other error concerns one file. Raising it would keep the rest of the batch from loading, now and in
            # the next nightly run, which has the same batch.
            if len(items) == 1 and not failed:
                raise
            of_storage = services.landing.is_out_of_reach(error)
            why = _why(context, error, of_storage=of_storage)
            # The client has already waited for the storage, and each remaining file would wait just as long.
            for one in (FailedFile(each, why) for each in (names[place:] if of_storage else [name])):
                context.log.error(str(one))  # noqa: TRY400 - the traceback would quote the error, see _why
                failed += (one,)
            if of_storage:
                break
    if not done:
        raise dg.Failure(list_failures(failed), allow_retries=False)
    log.done(len(done), time.monotonic() - started)
    return tuple(done), failed


def _why(context: dg.AssetExecutionContext, error: Exception, *, of_storage: bool) -> str:
    """Return the message for `error`; leave out the text of unexpected errors, because it may quote row values."""
    if isinstance(error, dg.Failure):
        return error.description or ""
    remedy = "load it again when the storage answers" if of_storage else "materialize it alone to see the whole error"
    return f"{context.asset_key.to_python_identifier()} failed with {type(error).__name__}: {remedy}."


@contextmanager
def _failures_of(version: FileVersion) -> Iterator[None]:
    """Turn the errors of a file into a step failure. Allow retries only if the file could not be read."""
    try:
        yield
    except NotATransactionFileError as error:
        message = f"{version.name} is not a transaction file: {error}."
        raise dg.Failure(message, allow_retries=False) from error
    except UnusableFileError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except LandedFileError as error:
        raise dg.Failure(str(error)) from error


ASSETS = (raw_csv, validated_transactions, hashed_transactions, *SINKS.values())
