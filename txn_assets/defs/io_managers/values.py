"""Staging: pass values between the assets of a run, and to a run that continues it.

Staging holds manifests, which list the files of a value, and hashed rows. Never store clear text there: it stays in the
local `RunFiles` of the run. See docs/architecture.md.

Each run writes below `<staging>/<run id>/`, so two runs of the same partition never read each other's values.
"""

import contextlib
import datetime as dt
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from txn_assets.defs.partitions import materialize_only
from txn_assets.defs.resources import Clients, RunFiles
from txn_assets.files.values import (
    FailedFile,
    FileValues,
    HashedFile,
    HashedFiles,
    RawFiles,
    ValidatedFiles,
    from_json,
    list_failures,
    to_json,
)

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest"
"""Metadata key of an asset for the name of its manifest."""


class ValuesIOManager(dg.ConfigurableIOManager):
    """Store and load the values of `raw_csv`, `validated_transactions` and `hashed_transactions`.

    The annotation of an input decides what it gets: the value itself, or its rows as `pandas.DataFrame`,
    `pyarrow.Table` or, without holding all rows in memory, `pyarrow.RecordBatchReader`.
    """

    clients: dg.ResourceDependency[Clients]
    run_files: dg.ResourceDependency[RunFiles]
    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field(description="Manifests and hashed rows are stored below this prefix.")

    _written: dict[str, FileValues] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: dg.OutputContext, obj: FileValues) -> None:
        """Store `obj`; once hashed rows are stored, remove the clear text."""
        asset = context.asset_key.to_python_identifier()
        folder = f"{self.prefix}/{context.run_id}"
        bucket = self.clients.storage().bucket(self.bucket)
        if isinstance(obj, HashedFiles):
            started = time.monotonic()
            obj = obj.map(lambda file: self._upload(file, folder))
            context.add_output_metadata({"upload_seconds": round(time.monotonic() - started, 3)})
        if obj.failed:
            materialize_only(context, obj.by_name)
        name = _manifest_name(folder, asset)
        bucket.blob(name).upload_from_string(to_json(obj), content_type="application/json", checksum="crc32c")
        self._written[asset] = obj
        context.add_output_metadata({MANIFEST: name})

    def _upload(self, file: HashedFile, folder: str) -> HashedFile:
        path = self.run_files.hashed_rows(file)
        uri = f"gs://{self.bucket}/{folder}/{path.parent.name}.parquet"
        stored = file.at(uri)
        blob = self.clients.storage().bucket(self.bucket).blob(stored.object_name)
        blob.upload_from_filename(str(path), content_type="application/vnd.apache.parquet", checksum="crc32c")
        self.run_files.drop_clear_text(file.version)
        return stored

    def written(self) -> Iterator[tuple[str, dt.datetime]]:
        """Yield the name of each staged object and the time it was written."""
        blobs = self.clients.storage().list_blobs(
            self.bucket, prefix=f"{self.prefix}/", fields="items(name,timeCreated),nextPageToken"
        )
        return ((blob.name, blob.time_created) for blob in blobs)

    def remove(self, names: Iterable[str]) -> int:
        """Remove staged objects and return how many; objects that are already gone do not count."""
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - see defs/resources.py

        bucket = self.clients.storage().bucket(self.bucket)
        removed = 0
        for name in names:
            with contextlib.suppress(NotFound):
                bucket.blob(name).delete()
                removed += 1
        return removed

    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401 - depends on the annotation of the input
        """Return the value or its rows, in the type that the input is annotated with."""
        value = self._value(context)
        kind = context.dagster_type.typing_type
        if kind in (RawFiles, ValidatedFiles, HashedFiles, Any):
            return value
        if isinstance(value, RawFiles):
            message = f"raw_csv has no rows yet: annotate its input with RawFiles, not {kind.__name__}."
            raise dg.DagsterInvalidDefinitionError(message)
        if value.failed:
            # Rows do not show that others are missing: a part would be mistaken for all of them.
            raise dg.Failure(list_failures(value.failed), allow_retries=False)
        return as_kind(self._rows(value), kind)

    def _value(self, context: dg.InputContext) -> FileValues:
        asset = context.asset_key.to_python_identifier()
        names = set(context.asset_partition_keys)
        for value in self._of_lineage(context.instance, asset):
            if value.knows(names):
                return value.of(names)
        return self._latest(context)

    def _of_lineage(self, instance: dg.DagsterInstance, asset: str) -> Iterator[FileValues]:
        """Yield the value from this run, then from the run that it continues, and so on."""
        if asset in self._written:
            yield self._written[asset]
        for run_id in _lineage(instance, self.run_files.run_id):
            value = self._read(_manifest_name(f"{self.prefix}/{run_id}", asset))
            if value is not None:
                yield value

    def _latest(self, context: dg.InputContext) -> FileValues:
        """Return the latest value of each partition; list those without one as failed, and fail if none has one."""
        values: dict[str, FileValues | None] = {}
        files: list[Any] = []
        failed: list[FailedFile] = []
        kind: type[Any] = HashedFiles
        asset = context.asset_key.to_user_string()
        for partition in context.asset_partition_keys:
            records = context.instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=[partition]), limit=1
            ).records
            manifest = _manifest_of(records[0].asset_materialization) if records else ""
            if manifest not in values:
                values[manifest] = self._read(manifest) if manifest else None
            value = values[manifest]
            if value is None:
                gone = "is no longer in staging" if manifest else "has not been materialized"
                failed.append(FailedFile(partition, f"{asset} {gone} for {partition}: materialize it first."))
                continue
            kind = type(value)
            files += value.of({partition}).files
        if not files:
            raise dg.Failure(list_failures(failed), allow_retries=False)
        return kind(tuple(files), tuple(failed))  # type: ignore[no-any-return]  # one of the three value types

    def _read(self, manifest: str) -> FileValues | None:
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - see defs/resources.py

        try:
            data = self.clients.storage().bucket(self.bucket).blob(manifest).download_as_bytes()
        except NotFound:
            return None
        return from_json(bytes(data))

    def _rows(self, value: ValidatedFiles | HashedFiles) -> "pa.RecordBatchReader":
        from txn_assets.rows import hashed_rows  # noqa: PLC0415 - Arrow loads with the first file

        if isinstance(value, HashedFiles):
            return hashed_rows.read([self.run_files.hashed_rows(file) for file in value])
        return hashed_rows.read_valid([self.run_files.valid_rows(file) for file in value])


def as_kind(rows: "pa.RecordBatchReader", kind: type[Any]) -> Any:  # noqa: ANN401 - an instance of `kind`
    """Return `rows` as a `pyarrow.RecordBatchReader`, a `pyarrow.Table` or a `pandas.DataFrame`.

    In a DataFrame, money is `decimal.Decimal` and dates are `datetime.date`.

    Raises:
        DagsterInvalidDefinitionError: `kind` is a different type.
    """
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    if name == "pyarrow.RecordBatchReader":
        return rows
    if name == "pyarrow.Table":
        return rows.read_all()
    if name == "pandas.DataFrame":
        return rows.read_all().to_pandas(date_as_object=True)
    message = (
        f"An input cannot be loaded as {name}: annotate it with pandas.DataFrame, pyarrow.Table or "
        f"pyarrow.RecordBatchReader (the rows, one batch at a time)."
    )
    raise dg.DagsterInvalidDefinitionError(message)


def _manifest_of(materialization: dg.AssetMaterialization | None) -> str:
    """Return the name of the manifest, or '' if a person reported the materialization, since it has no value then."""
    name = materialization.metadata.get(MANIFEST) if materialization else None
    return str(name.value) if name else ""


def _manifest_name(folder: str, asset: str) -> str:
    return f"{folder}/{asset}.json"


def _lineage(instance: dg.DagsterInstance, run_id: str | None) -> Iterator[str]:
    """Yield `run_id`, then the run that it continues, and so on."""
    while run_id:
        yield run_id
        run = instance.get_run_by_id(run_id)
        run_id = run.parent_run_id if run else None
