"""The data lake: one object per file, with the columns of the file after hashing.

The object's metadata is the ledger of this store. `ledger.decide` chooses between load, keep and stand back. See
docs/reliability.md.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import requests
from google.cloud import storage

from txn_assets.config import PipelineConfig
from txn_assets.feeds.feed import Feed
from txn_assets.files import progress
from txn_assets.files.checksums import Checksum
from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledger import (
    NOTHING,
    Action,
    FileVersion,
    Holding,
    LoadRecord,
    Totals,
    decide,
    is_news,
)
from txn_assets.files.ledger_columns import DETAIL_COLUMNS, LedgerColumn
from txn_assets.files.ledgers import HeldVersion
from txn_assets.files.report import bounded_reasons
from txn_assets.files.values import HashedFile
from txn_assets.rows import hashed_rows, pipes
from txn_assets.rows.removing import Removed
from txn_assets.stores import google_errors
from txn_assets.stores.clients import REQUESTS_AT_ONCE, Clients
from txn_assets.stores.errors import StoreError, StoreUnavailableError
from txn_assets.stores.gcs.erasure import Objects
from txn_assets.stores.landed_names import is_lake_object, lake_format, object_name
from txn_assets.stores.ledger_columns import ledger_columns
from txn_assets.stores.resumable import ResumableUpload, SessionLostError
from txn_assets.stores.retries import Budget, retry_transient
from txn_assets.stores.run_files import RunFiles
from txn_assets.stores.store import Store

CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}

CHUNK_BYTES = 16 << 20
"""Bytes of an object per request. GCS answers each, so small chunks make an upload slow; a run holds two of them."""

REASONS_BYTES = 2048
"""Maximum size of the reasons in the metadata of an object, which has at most 8 KiB in all, sums and name included:
https://cloud.google.com/storage/quotas#objects"""


def metadata_of(record: LoadRecord, columns: Sequence[LedgerColumn]) -> dict[str, str]:
    """Return the ledger `columns` of `record` as custom metadata of the object.

    Details that are null are left out, and the rarest reasons are summed up if they do not fit.
    """
    row = record.to_row()
    if record.details:
        row["reasons"] = bounded_reasons(record.details.reasons, REASONS_BYTES)
    return {
        column.key: "" if row[column.name] is None else str(row[column.name])
        for column in columns
        if row[column.name] is not None or column.name not in DETAIL_COLUMNS
    }


def record_of(metadata: Mapping[str, str], columns: Sequence[LedgerColumn]) -> LoadRecord:
    """Return the record that `metadata_of` wrote, with zero for sums that were not written yet."""
    return LoadRecord.from_row({column.name: metadata.get(column.key) for column in columns})


@dataclass(kw_only=True)
class GcsStore(Store):
    """The data lake in a GCS bucket, with one object for each file.

    Attributes:
        path: objects are stored below this prefix.
        file_format: `csv` or `parquet`.
    """

    bucket: str
    path: str
    file_format: str

    def as_held(self, file: HashedFile, *, inexact: Collection[str]) -> HashedFile:  # noqa: ARG002 - decimals are text
        """Return `file` with the fingerprint of its rows without source_row, which objects in the lake do not have."""
        return replace(file, totals=replace(file.totals, fingerprint=file.lake_fingerprint))

    def load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
        """Replace the object of each file."""
        bucket = self.clients.storage.bucket(self.bucket)
        self.refuse_erased(files)
        actions = {file.version.name: self._replace(bucket, self.as_held(file, inexact=()), run_id) for file in files}
        self._undo_erased(files)
        return actions

    def _undo_erased(self, files: Sequence[HashedFile]) -> None:
        """Look again whether a person was erased: a precondition cannot compare the requests, which are an object too.

        Raises:
            StoreError: a file has rows of that person, which are removed from its object.
        """
        try:
            self.refuse_erased(files)
        except StoreError:
            for request in self.run_files.erasures.read().in_force:
                for file in files:
                    self._objects.erase_from(object_name(self.path, file.version.name, self.file_format), request)
            raise

    def _replace(self, bucket: storage.Bucket, file: HashedFile, run_id: str) -> Action:
        incoming = file.load_record(run_id)
        name = object_name(self.path, file.version.name, self.file_format)
        blob = bucket.get_blob(name, **self.clients.no_retry)
        held = self._held(blob, file)
        same = held is not None and held.same_content(incoming) and self._is_of(file, blob)
        live = self.live_generation(file.version, held.file.generation if held else None)
        action = decide(incoming, held, incoming.totals if same else None, live=live)
        if not is_news(incoming, held, action):
            return action
        replacement = bucket.blob(name)
        replacement.metadata = metadata_of(incoming.replacing(held), ledger_columns(self.contract))
        # The upload is atomic, and it fails if another run has written the object since it was read.
        self._upload(file, replacement, if_generation_match=blob.generation if blob is not None else 0)
        return action

    def _is_of(self, file: HashedFile, blob: storage.Blob | None) -> bool:
        """Return whether `blob` has exactly the bytes that a load of `file` writes."""
        if blob is None:
            return False
        progress.say("comparing the object")
        checksum = Checksum()
        with self._content(file) as content:
            while data := content.read(CHUNK_BYTES):
                checksum.update(data)
        return bool(blob.crc32c == checksum.base64())

    def _content(self, file: HashedFile) -> AbstractContextManager[pipes.Output]:
        """Return the bytes of the object of `file`, made while they are read, so that no disk has to hold them."""
        rows = self.run_files.hashed_rows(file)
        write = partial(hashed_rows.write_lake, rows, contract=self.contract, file_format=self.file_format)
        return pipes.output_of(write)

    def _upload(self, file: HashedFile, blob: storage.Blob, *, if_generation_match: int) -> None:
        """Write `blob`, whole or not at all: in one request if it is small, else in a session that ends with success.

        GCS compares the checksum of what was made here with that of what it got before the object appears.
        """
        progress.say("uploading the object")
        content_type = CONTENT_TYPES[self.file_format]
        with self._content(file) as content:
            data = content.read(CHUNK_BYTES)
            if len(data) < CHUNK_BYTES:
                blob.upload_from_string(
                    data,
                    content_type=content_type,
                    if_generation_match=if_generation_match,
                    checksum="crc32c",
                    **self.clients.no_retry,
                )
                return
            url = blob.create_resumable_upload_session(
                content_type=content_type,
                if_generation_match=if_generation_match,
                checksum=None,
                **self.clients.no_retry,
            )
            upload = ResumableUpload(self.clients, str(url), chunk_bytes=CHUNK_BYTES, retry=self._resumed)
            try:
                while data:
                    upload.write(data)
                    upload.send()
                    data = content.read(CHUNK_BYTES)
                upload.finish()
            except BaseException:
                upload.cancel()
                raise

    def _resumed(self, attempt: Callable[[], requests.Response]) -> requests.Response:
        """Return the result of `attempt` to send a chunk, which a transient error does not send back to the start.

        Raises:
            StoreUnavailableError: the error lasted longer than `retry_seconds`.
            Exception: any other error of the attempt. If it is a precondition that failed, the load decides again.
        """
        try:
            return retry_transient(
                attempt,
                is_transient=google_errors.is_transient,
                explain=self.explain,
                budget=Budget(seconds=self.retry_seconds),
            )
        except StoreUnavailableError:
            raise
        except StoreError as error:
            raise error.__cause__ or error from None

    def holdings(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Holding]:  # noqa: ARG002 - objects are always read back
        """Return generation and totals by file name."""
        return {file.version.name: self._holding(file) for file in files}

    def _holding(self, file: HashedFile) -> Holding:
        name = object_name(self.path, file.version.name, self.file_format)
        blob = self.clients.storage.bucket(self.bucket).get_blob(name, **self.clients.no_retry)
        held = self._record(blob)
        if blob is None or held is None or held.file.name != file.version.name:
            return NOTHING
        return Holding(held.file.generation, self._read_back(blob, self.run_files.folder(file.version).path))

    def _read_back(self, blob: storage.Blob, folder: Path) -> Totals:
        """Return the totals of the rows of `blob`, which is read as it arrives; `folder` is that of the run."""
        if self.file_format == "parquet":
            options = {"chunk_size": CHUNK_BYTES, "raw_download": True, **self.clients.no_retry}
            with blob.open("rb", **options) as file:
                return hashed_rows.parquet_totals(file, self.contract, folder=folder)
        fetch = partial(blob.download_to_file, raw_download=True, checksum="crc32c", **self.clients.no_retry)
        return pipes.read_input(fetch, partial(hashed_rows.csv_totals, contract=self.contract, folder=folder))

    def held(self, name: str) -> LoadRecord | None:
        """Return the load record of the file `name` from its object's metadata, or None before the first load."""
        blob = self.clients.storage.bucket(self.bucket).get_blob(
            object_name(self.path, name, self.file_format), **self.clients.no_retry
        )
        record = self._record(blob)
        if blob is None or record is None or record.file.name != name:
            return None
        return record.at(blob.updated)

    def newest_loads(self, names: Collection[str]) -> dict[str, LoadRecord]:
        """Return the load record of each file that has one."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            records = pool.map(self.held, names)
        return {record.file.name: record for record in records if record}

    def held_versions(self) -> dict[str, HeldVersion]:
        """Return the newest version of each file, from the metadata of objects in the configured format.

        Ignore objects in a format that the lake used before: they are no longer replaced. If they counted, a version
        that is already there in the new format would be loaded again every night.
        """
        blobs = self.clients.storage.list_blobs(
            self.bucket, prefix=f"{self.path}/", fields="items(name,metadata),nextPageToken", **self.clients.no_retry
        )
        held: dict[str, HeldVersion] = {}
        for blob in blobs:
            metadata = blob.metadata or {}
            if is_lake_object(blob.name, self.file_format) and "source_generation" in metadata:
                name, generation = metadata["source_file"], int(metadata["source_generation"])
                if name not in held or generation > held[name].generation:
                    rules_id, key_id = metadata.get("rules_id", ""), metadata.get("key_id", "")
                    held[name] = HeldVersion(generation, rules_id, key_id, int(metadata.get("rows", 0)))
        return held

    def read_rows(self, names: Sequence[str]) -> pa.Table:
        """Return the rows of the files in `names`."""
        bucket = self.clients.storage.bucket(self.bucket)
        tables = []
        for name in names:
            blob = bucket.blob(object_name(self.path, name, self.file_format))
            data = blob.download_as_bytes(**self.clients.no_retry)
            tables.append(hashed_rows.read_lake(data, self.contract, file_format=self.file_format))
        return pa.concat_tables(tables)

    def erase(self, request: ErasureRequest) -> int:
        """Write each object again without the rows of the person in `request`; delete old versions that have them."""
        return self._objects.erase(request)

    def count_erased_rows(self, request: ErasureRequest) -> int:
        """Return how many rows of the person in `request` the objects have, old versions included."""
        return self._objects.count(request)

    @property
    def _objects(self) -> Objects:
        return Objects(
            clients=self.clients,
            bucket=self.bucket,
            prefix=self.path,
            format_of=lake_format,
            correct=self._correct,
            folder=self.run_files.workspace(),
        )

    def _correct(self, blob: storage.Blob, left: Path, removed: Removed) -> dict[str, str]:
        """Return the metadata of `blob` without the rows that were removed."""
        before = dict(blob.metadata or {})
        if "source_generation" not in before:
            # Objects that the original pipeline wrote have no metadata about their source.
            return before
        totals = hashed_rows.lake_totals(left, self.contract, file_format=lake_format(blob.name) or "")
        columns = ledger_columns(self.contract)
        row = replace(record_of(before, columns), totals=totals).to_row()
        row["erased"] = int(before.get("erased", 0)) + removed.rows
        changed = [column for column in columns if column.is_total or column.name == "erased"]
        return before | {column.key: "" if row[column.name] is None else str(row[column.name]) for column in changed}

    def address(self, version: FileVersion) -> str:
        """Return the gs:// address of the object."""
        return f"gs://{self.bucket}/{object_name(self.path, version.name, self.file_format)}"

    def is_transient(self, error: Exception) -> bool:
        """Return whether the connection was lost, the server failed or throttled, or another run wrote the object."""
        return (
            google_errors.is_transient(error)
            or google_errors.is_precondition_failure(error)
            or isinstance(error, SessionLostError)
        )

    def explain(self, error: Exception) -> str:
        """Return what is wrong and what to do."""
        return google_errors.explain(error, f"GCS bucket {self.bucket}")

    def _record(self, blob: storage.Blob | None) -> LoadRecord | None:
        if blob is None or not blob.metadata or "source_generation" not in blob.metadata:
            # Objects that the original pipeline wrote have no metadata about their source.
            return None
        return record_of(blob.metadata, ledger_columns(self.contract))

    def _held(self, blob: storage.Blob | None, file: HashedFile) -> LoadRecord | None:
        held = self._record(blob)
        if blob is not None and held is not None and held.file.name != file.version.name:
            message = (
                f"gs://{blob.bucket.name}/{blob.name} already holds the landed file {held.file.name!r}, and "
                f"{file.version.name!r} would overwrite it: land one of them under another name."
            )
            raise StoreError(message)
        return held


def make_store(config: PipelineConfig, feed: Feed, clients: Clients, run_files: RunFiles) -> GcsStore:
    """Return the data lake of `feed`."""
    return GcsStore(
        clients=clients,
        run_files=run_files,
        bucket=config.data_lake.gcs_bucket,
        path=feed.path,
        file_format=feed.lake_format,
    )
