"""The checks that an asset decides itself, from what it counted in the files of its run.

Each is a check spec of the asset, without a step of its own: of a run of five rows, eight steps would take a tenth.
`checks.py` has the checks that read a store or the landing zone.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from txn_assets.defs.partitions import landed_files_of
from txn_assets.environment import txn_target
from txn_assets.feeds.feed import Feed
from txn_assets.files.report import ValidationReport
from txn_assets.files.shown import printable
from txn_assets.files.values import HashedFiles, ValidatedFiles

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass(frozen=True, kw_only=True)
class FileCheck[FilesT]:
    """A check of an asset whose value is `FilesT`.

    Attributes:
        judge: returns the result; its docstring is the check's description.
        name: the name of the check, if it is not the name of `judge`.
        is_blocking: whether a failure of severity ERROR fails the run before anything is loaded.
    """

    judge: Callable[[FilesT], dg.AssetCheckResult]
    name: str = ""
    is_blocking: bool = False

    def spec(self, asset: dg.AssetKey, feed: Feed) -> dg.AssetCheckSpec:
        """Return the definition of the check for the asset `asset` of `feed`."""
        with warnings.catch_warnings():
            # Partitions of checks are a preview in Dagster 1.13.
            warnings.simplefilter("ignore", dg.PreviewWarning)
            return dg.AssetCheckSpec(
                self.name or self.judge.__name__,
                asset=asset,
                description=self.judge.__doc__,
                blocking=self.is_blocking,
                partitions_def=landed_files_of(feed),
            )

    def of(self, files: FilesT) -> dg.AssetCheckResult:
        """Return the result for `files`."""
        result = self.judge(files)
        return dg.AssetCheckResult(
            check_name=self.name or self.judge.__name__,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )


def checks_of_valid_rows(feed: Feed) -> tuple[FileCheck[ValidatedFiles], ...]:
    """Return the checks of the valid rows of `feed`."""

    def rejected_share_within_limit(files: ValidatedFiles) -> dg.AssetCheckResult:
        """Check that at most `max_invalid_ratio` of the rows are rejected."""
        limit, key = feed.max_invalid_ratio, feed.key("max_invalid_ratio")
        wrong = _wrong(files, lambda report: report.over_limit(limit, key))
        # ERROR stops the whole run. If only some files fail, warn: the asset of hashed rows leaves them out.
        severity = ERROR if len(wrong) == len(files) else WARN
        return result(wrong, severity=severity, metadata={"limit": str(limit)})

    ids = (FileCheck(judge=ids_unique, name=feed.ids_check),) if feed.contract.row_id else ()
    return (
        FileCheck(judge=every_row_accounted_for, is_blocking=True),
        FileCheck(judge=rejected_share_within_limit, is_blocking=True),
        FileCheck(judge=no_rejected_rows),
        *ids,
        FileCheck(judge=header_as_expected),
        FileCheck(judge=no_stray_quotes),
    )


def checks_of_hashed_rows() -> tuple[FileCheck[HashedFiles], ...]:
    """Return the checks of the hashed rows of a feed."""
    return FileCheck(judge=pii_is_hashed, is_blocking=True), FileCheck(judge=hash_is_keyed)


def every_row_accounted_for(files: ValidatedFiles) -> dg.AssetCheckResult:
    """Check that rows in = valid + rejected + erased."""
    wrong = _wrong(files, ValidationReport.unaccounted)
    return result(wrong, severity=ERROR, metadata={"records": sum(file.report.records for file in files)})


def no_rejected_rows(files: ValidatedFiles) -> dg.AssetCheckResult:
    """Check that every row is valid; report the count of each reason and the first rejected rows without values."""
    rejected = [file for file in files if file.report.rejected]
    metadata = {
        "reasons": dg.MetadataValue.json({file.version.name: dict(file.report.reasons) for file in rejected}),
        "sample": dg.MetadataValue.json(
            {
                file.version.name: [
                    {"source_row": row.source_row, "reasons": [f"{r.field}: {r.code}" for r in row.reasons]}
                    for row in file.report.sample
                ]
                for file in rejected
            }
        ),
    }
    return result(_wrong(files, ValidationReport.rejections), severity=WARN, metadata=metadata)


def ids_unique(files: ValidatedFiles) -> dg.AssetCheckResult:
    """Check that no two valid rows of a file have the same id."""
    return result(_wrong(files, ValidationReport.repeats), severity=WARN)


def header_as_expected(files: ValidatedFiles) -> dg.AssetCheckResult:
    """Check that the header has the columns of the feed and no others."""
    return result(_wrong(files, ValidationReport.unknown_columns), severity=WARN)


def no_stray_quotes(files: ValidatedFiles) -> dg.AssetCheckResult:
    """Check that no unquoted field contains a quote. Such a quote is loaded as text, since it may be an inch sign."""
    return result(_wrong(files, ValidationReport.stray_quotes), severity=WARN)


def pii_is_hashed(files: HashedFiles) -> dg.AssetCheckResult:
    """Check that every PII value is null or 64 hex digits."""
    wrong = {
        file.version.name: f"{file.malformed_digests} values are not SHA-256 digests"
        for file in files
        if file.malformed_digests
    }
    return result(wrong, severity=ERROR)


def hash_is_keyed(files: HashedFiles) -> dg.AssetCheckResult:
    """Check that the hash is keyed on the gcp target: a plain hash of a short id can be reversed by enumeration."""
    plain = {file.version.name: file.key_id for file in files if file.key_id == "sha256"}
    if txn_target() != "gcp":
        plain = {}
    wrong = dict.fromkeys(plain, "hashed without a key: set security.hash.algorithm to hmac-sha256 and TXN_HASH_KEY")
    return result(wrong, severity=WARN)


def _wrong(files: ValidatedFiles, fault: Callable[[ValidationReport], str | None]) -> dict[str, str]:
    """Return what `fault` says about the reports of `files`, without those about which it says nothing."""
    sentences = {file.version.name: fault(file.report) for file in files}
    return {name: sentence for name, sentence in sentences.items() if sentence}


def result(
    wrong: Mapping[str, str], *, severity: dg.AssetCheckSeverity, metadata: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    """Return a result that passes if `wrong`, which has one sentence per failing file, is empty."""
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=severity,
        description="; ".join(f"{printable(name)}: {sentence}" for name, sentence in wrong.items()) or None,
        metadata={**(metadata or {}), "files": dg.MetadataValue.json(wrong)},
    )
