"""The six assets that take a landed file into the three stores.

Rows are validated and hashed in `rows/processing.py`; each store loads files in its I/O manager. The README has the
graph.

Every asset takes one landed file or several, since a backfill puts many small files into one run. A file that fails is
left out of the rest of the run and not recorded as materialized. The other files continue, and the checks of the sinks
fail the run at the end.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from txn_assets.defs.events import StageLog, pinned, processed
from txn_assets.defs.partitions import LANDED_FILES, landed_files
from txn_assets.defs.resources import LandedFileError, LandingZone, Quarantine, RunFiles
from txn_assets.environment import ConfigError
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
from txn_assets.stores.landed_names import too_long

if TYPE_CHECKING:
    from txn_assets.files.ledger import FileVersion


MAX_PARTITIONS = 4000
"""Maximum number of partitions per BigQuery job: https://cloud.google.com/bigquery/quotas#partitioned_tables"""

LANDING_ZONE = dg.AssetSpec(
    "landing_zone", group_name="ingestion", kinds={"gcs"}, description="Where upstream systems drop transaction files."
)


def _landed_file_asset(
    *, io_manager_key: str, group_name: str, kinds: set[str], pool: str | None = None, deps: Sequence[dg.AssetSpec] = ()
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    with warnings.catch_warnings():
        # Backfill policies are in beta, but they are the way to put many files into one run.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.asset(
            partitions_def=landed_files,
            backfill_policy=dg.BackfillPolicy.single_run(),
            io_manager_key=io_manager_key,
            group_name=group_name,
            kinds=kinds,
            pool=pool,
            deps=deps,
        )


@_landed_file_asset(io_manager_key="staging", group_name="ingestion", kinds={"gcs", "csv"}, deps=[LANDING_ZONE])
def raw_csv(context: dg.AssetExecutionContext, landing: LandingZone, run_files: RunFiles) -> RawFiles:
    """A landed CSV file with a checked header, pinned to the generation that this run loads."""
    names = {name: name for name in context.partition_keys}
    files, failed = _each(context, names, lambda name, log: _pin(context, landing, run_files, name, log))
    context.instance.add_dynamic_partitions(LANDED_FILES, [file.version.name for file in files])
    return RawFiles(files, failed)


def _pin(
    context: dg.AssetExecutionContext, landing: LandingZone, run_files: RunFiles, name: str, log: StageLog
) -> RawFile:
    from txn_assets.rows.csv_header import NotATransactionFileError  # noqa: PLC0415 - Arrow loads with the first file
    from txn_assets.rows.processing import read_header  # noqa: PLC0415 - Arrow loads with the first file

    started = time.monotonic()
    if refusal := too_long(name, landing.max_name_bytes):
        raise dg.Failure(refusal, allow_retries=False)
    version = landing.latest(name)
    if version is None:
        raise dg.Failure(landing.not_landed(name), allow_retries=False)
    try:
        with landing.open(version) as stream:
            columns = read_header(stream, run_files.settings)
    except NotATransactionFileError as error:
        raise _unusable(version, error) from error
    except LandedFileError as error:
        raise dg.Failure(str(error)) from error
    metadata = {
        "generation": str(version.generation),
        "crc32c": version.crc32c,
        "size": dg.MetadataValue.int(version.size),
        "columns": ", ".join(columns),
    }
    context.add_asset_metadata(metadata, partition_key=name)
    event = pinned("raw_csv", version, time.monotonic() - started)
    log.emit(event)
    return RawFile(version)


@_landed_file_asset(io_manager_key="staging", group_name="ingestion", kinds={"pydantic", "arrow"})
def validated_transactions(
    context: dg.AssetExecutionContext, raw_csv: RawFiles, run_files: RunFiles, quarantine: Quarantine
) -> ValidatedFiles:
    """The valid rows of the file; the rejected rows go to the quarantine with their reasons."""

    def validate(file: RawFile, log: StageLog) -> ValidatedFile:
        return _validate(context, run_files, quarantine, file.version, log)

    return ValidatedFiles(*_each(context, raw_csv.by_name, validate, raw_csv.failed))


def _validate(
    context: dg.AssetExecutionContext,
    run_files: RunFiles,
    quarantine: Quarantine,
    version: "FileVersion",
    log: StageLog,
) -> ValidatedFile:
    from txn_assets.rows.csv_header import NotATransactionFileError  # noqa: PLC0415 - Arrow loads with the first file
    from txn_assets.rows.processing import rules_id  # noqa: PLC0415 - Arrow loads with the first file

    started = time.monotonic()
    try:
        report = run_files.validate_file(version)
    except NotATransactionFileError as error:
        raise _unusable(version, error) from error
    except LandedFileError as error:
        raise dg.Failure(str(error)) from error
    rejected = run_files.folder(version) / "rejected.csv"
    place = quarantine.store(version, rejected if report.rejected else None)
    log.emit_rejections("validated_transactions", version.name, report)
    context.add_asset_metadata(
        {
            "records": report.records,
            "dagster/partition_row_count": report.valid,
            "rejected": report.rejected,
            "reasons": dg.MetadataValue.json(dict(report.reasons)),
            "quarantine": place or "empty",
            "extra_columns": ", ".join(report.extra_columns),
            "repeated_ids": report.repeated_ids,
        },
        partition_key=version.name,
    )
    seconds = time.monotonic() - started
    counts = {"valid": report.valid, "rejected": report.rejected}
    log.emit(processed("validated_transactions", version.name, report.records, seconds, **counts))
    if not report.valid:
        where = f" {report.rejected} rejected rows with their reasons are in {place}." if place else " It has no rows."
        message = f"No valid transactions in {version.name}.{where} The stores keep what they had."
        raise dg.Failure(message, allow_retries=False)
    rules = rules_id(run_files.settings.validation, run_files.hasher().pii_fields)
    return ValidatedFile(version, rules, report)


@_landed_file_asset(io_manager_key="staging", group_name="ingestion", kinds={"duckdb", "parquet"})
def hashed_transactions(
    context: dg.AssetExecutionContext, validated_transactions: ValidatedFiles, run_files: RunFiles
) -> HashedFiles:
    """The valid rows with PII as SHA-256: the input of every sink, and the first value without clear text."""
    files, failed = validated_transactions.by_name, validated_transactions.failed
    return HashedFiles(*_each(context, files, lambda file, log: _hash(context, run_files, file, log), failed))


def _hash(context: dg.AssetExecutionContext, run_files: RunFiles, file: ValidatedFile, log: StageLog) -> HashedFile:
    from txn_assets.rows import hashed_rows  # noqa: PLC0415 - Arrow loads with the first file
    from txn_assets.rows.processing import hash_file  # noqa: PLC0415 - Arrow loads with the first file

    started = time.monotonic()
    if refusal := file.report.over_limit(run_files.settings.max_invalid_ratio):
        message = f"{file.version.name}: {refusal}"
        raise dg.Failure(message, allow_retries=False)
    hasher = run_files.hasher()
    path: Path = run_files.folder(file.version) / "hashed.parquet"
    hash_file(run_files.valid_rows(file), path, file=file.version, hasher=hasher)
    totals, lake_fingerprint = hashed_rows.totals(path)
    partitions = hashed_rows.count_partitions(path, partition_by=run_files.partition_by)
    if partitions > MAX_PARTITIONS:
        message = (
            f"{file.version.name} has rows in {partitions:,} {run_files.partition_by}s, and BigQuery writes at most "
            f"{MAX_PARTITIONS:,} partitions in one job: check its dates, split it by date, or let "
            "data_warehouse.partition_by be month. No store was changed."
        )
        raise dg.Failure(message, allow_retries=False)
    context.add_asset_metadata(
        {
            "dagster/partition_row_count": totals.rows,
            "sum_price": str(totals.price),
            "sum_quantity": totals.quantity,
            "dates": f"{totals.min_date} to {totals.max_date}",
            "fingerprint": f"{totals.fingerprint:015x}",
            "key_id": hasher.key_id,
        },
        partition_key=file.version.name,
    )
    seconds = time.monotonic() - started
    log.emit(processed("hashed_transactions", file.version.name, totals.rows, seconds))
    return HashedFile(
        version=file.version,
        rules_id=file.rules_id,
        key_id=hasher.key_id,
        totals=totals,
        lake_fingerprint=lake_fingerprint,
        malformed_digests=hashed_rows.malformed_digests(path, pii_fields=hasher.pii_fields),
    )


@_landed_file_asset(io_manager_key="gcs", group_name="sinks", kinds={"gcs"}, pool="gcs")
def gcs_raw(hashed_transactions: HashedFiles) -> HashedFiles:
    """The data lake: one object with the file's five columns."""
    return hashed_transactions


@_landed_file_asset(io_manager_key="bigquery", group_name="sinks", kinds={"bigquery"}, pool="bigquery")
def bigquery_raw_transactions(hashed_transactions: HashedFiles) -> HashedFiles:
    """The warehouse table: the file's rows, with source_file and source_row."""
    return hashed_transactions


@_landed_file_asset(io_manager_key="postgres", group_name="sinks", kinds={"postgres"}, pool="postgres")
def postgres_transactions(hashed_transactions: HashedFiles) -> HashedFiles:
    """The PostgreSQL table: the file's rows, with source_file and source_row."""
    return hashed_transactions


def _each[ItemT, FileT](
    context: dg.AssetExecutionContext,
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
            # Any other error concerns one file. Raising it would keep the rest of the batch from loading, tonight and
            # again in the next nightly run, which has the same batch.
            if len(items) == 1 and not failed:
                raise
            from txn_assets.stores.google_errors import is_out_of_reach  # noqa: PLC0415 - see defs/resources.py

            of_storage = is_out_of_reach(error)
            why = _why(context, error, of_storage=of_storage)
            # The client has already waited for the storage; every remaining file would wait just as long.
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
    remedy = "load it again when the storage answers" if of_storage else "materialise it alone for the whole error"
    return f"{context.asset_key.to_python_identifier()} failed with {type(error).__name__}: {remedy}."


def _unusable(version: "FileVersion", error: Exception) -> dg.Failure:
    return dg.Failure(f"{version.name} is not a transaction file: {error}.", allow_retries=False)


ASSETS = (
    raw_csv,
    validated_transactions,
    hashed_transactions,
    gcs_raw,
    bigquery_raw_transactions,
    postgres_transactions,
)
