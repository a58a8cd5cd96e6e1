"""Staging: how values pass between the assets of a run, and on to a run that continues it.

Here belong the manifests, which name the files of a value, and the store of hashed rows. Clear text is never stored: it
stays in the run's workspace. Documented in docs/architecture.md.

A run writes below `<staging>/<run id>/`, so that two runs of one partition never read each other's values.
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
"""The key of an asset's metadata that holds the name of its manifest."""


class ValuesIOManager(dg.ConfigurableIOManager):
    """Stores and loads the values of `raw_csv`, `validated_transactions` and `hashed_transactions`.

    What an input gets depends on its annotation: the value itself, or its rows as `pandas.DataFrame`, `pyarrow.Table`
    or, without holding them in memory, `pyarrow.RecordBatchReader`.
    """

    clients: dg.ResourceDependency[Clients]
    run_files: dg.ResourceDependency[RunFiles]
    bucket: str = Field(description="Name of the bucket.")
    prefix: str = Field(description="Manifests and hashed rows are stored below this prefix.")

    _written: dict[str, FileValues] = PrivateAttr(default_factory=dict)

    def handle_output(self, context: dg.OutputContext, obj: FileValues) -> None:
        """Stores `obj`; its clear text is gone once hashed rows are stored."""
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
        """Every staged object, and when it was written."""
        blobs = self.clients.storage().list_blobs(
            self.bucket, prefix=f"{self.prefix}/", fields="items(name,timeCreated),nextPageToken"
        )
        return ((blob.name, blob.time_created) for blob in blobs)

    def remove(self, names: Iterable[str]) -> int:
        """Removes staged objects; how many. One that is gone already is none."""
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - see defs/resources.py

        bucket = self.clients.storage().bucket(self.bucket)
        removed = 0
        for name in names:
            with contextlib.suppress(NotFound):
                bucket.blob(name).delete()
                removed += 1
        return removed

    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401 - what the input is annotated with
        """The value, or its rows, as the input is annotated."""
        value = self._value(context)
        kind = context.dagster_type.typing_type
        if kind in (RawFiles, ValidatedFiles, HashedFiles, Any):
            return value
        if isinstance(value, RawFiles):
            message = f"raw_csv has no rows yet: annotate its input with RawFiles, not {kind.__name__}."
            raise dg.DagsterInvalidDefinitionError(message)
        if value.failed:
            # Rows carry no note of what is missing: a part of them would be taken for all.
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
        """What this run made, then what the run that it continues made, and so on."""
        if asset in self._written:
            yield self._written[asset]
        for run_id in _lineage(instance, self.run_files.run_id):
            value = self._read(_manifest_name(f"{self.prefix}/{run_id}", asset))
            if value is not None:
                yield value

    def _latest(self, context: dg.InputContext) -> FileValues:
        """Return what was materialized last for each partition; fail for one that was not, or is no longer kept."""
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
        return kind(tuple(files), tuple(failed))  # type: ignore[no-any-return]  # one of the three

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
    """`rows` as a `pyarrow.RecordBatchReader`, a `pyarrow.Table` or a `pandas.DataFrame`.

    Money is `decimal.Decimal` in a DataFrame and dates are `datetime.date`.

    Raises:
        DagsterInvalidDefinitionError: `kind` is none of them.
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
    """Return the name of its manifest; '' for one that a person reported, which comes with no value."""
    name = materialization.metadata.get(MANIFEST) if materialization else None
    return str(name.value) if name else ""


def _manifest_name(folder: str, asset: str) -> str:
    return f"{folder}/{asset}.json"


def _lineage(instance: dg.DagsterInstance, run_id: str | None) -> Iterator[str]:
    """`run_id`, then the run that it continues, and so on."""
    while run_id:
        yield run_id
        run = instance.get_run_by_id(run_id)
        run_id = run.parent_run_id if run else None
