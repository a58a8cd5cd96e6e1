"""I/O manager for the values that assets pass to each other, within a run and to re-executions of it.

A value is a manifest, which lists files; `stores/staging.py` stores it. See docs/architecture.md.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from txn_assets.defs.failures import without_values
from txn_assets.defs.partitions import materialize_only
from txn_assets.feeds.feed import Feed
from txn_assets.files.values import (
    FailedFile,
    FileValues,
    HashedFile,
    HashedFiles,
    RawFiles,
    ValidatedFiles,
    list_failures,
)
from txn_assets.stores.services import Services

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest"
"""Key of the asset metadata that holds the name of the manifest."""


def make_values_io_manager(feed: Feed) -> dg.IOManagerDefinition:
    """Return the I/O manager of the assets of `feed` upstream of the stores."""

    @dg.io_manager(required_resource_keys={"services"}, description="Stores the values that assets pass to each other.")
    def values(context: dg.InitResourceContext) -> ValuesIOManager:
        return ValuesIOManager(context.resources.services.of(feed), context.run.run_id if context.run else None)

    return values


class ValuesIOManager(dg.IOManager):
    """Stores and loads the values of a feed: its raw files, its valid rows and its hashed rows.

    The type annotation of an input decides what is loaded: the value itself, or its rows as `pandas.DataFrame`,
    `pyarrow.Table` or, without holding all rows in memory, `pyarrow.RecordBatchReader`.
    """

    def __init__(self, services: Services, run_id: str | None) -> None:
        self._staging = services.staging
        self._run_files = services.run_files
        self._run_id = run_id
        self._written: dict[str, FileValues] = {}

    @without_values
    def handle_output(self, context: dg.OutputContext, obj: FileValues) -> None:
        """Store `obj`; once hashed rows are stored, remove the clear text."""
        asset = context.asset_key.to_python_identifier()
        if isinstance(obj, HashedFiles):
            started = time.monotonic()
            obj = obj.map(lambda file: self._upload(file, context.run_id))
            context.add_output_metadata({"upload_seconds": round(time.monotonic() - started, 3)})
        if obj.failed:
            materialize_only(context, obj.by_name)
        manifest = self._staging.manifest(context.run_id, asset)
        self._staging.write(manifest, obj)
        self._written[asset] = obj
        context.add_output_metadata({MANIFEST: manifest})

    def _upload(self, file: HashedFile, run_id: str) -> HashedFile:
        stored = self._staging.upload(file, self._run_files.folder(file.version), run_id)
        self._run_files.drop_clear_text(file.version)
        return stored

    @without_values
    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401 - depends on the annotation of the input
        """Return the value or its rows, in the type that the input is annotated with."""
        value = self._value(context)
        kind = context.dagster_type.typing_type
        if kind in (RawFiles, ValidatedFiles, HashedFiles, Any):
            return value
        if isinstance(value, RawFiles):
            asset = context.asset_key.to_user_string()
            message = f"{asset} has no rows yet: annotate its input with RawFiles, not {kind.__name__}."
            raise dg.DagsterInvalidDefinitionError(message)
        if value.failed:
            # Do not return the other files' rows: the asset could not tell that some are missing.
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
        """Yield the value from this run, then from the run that it re-executes, and so on."""
        if asset in self._written:
            yield self._written[asset]
        for run_id in _lineage(instance, self._run_id):
            value = self._staging.read(self._staging.manifest(run_id, asset))
            if value is not None:
                yield value

    def _latest(self, context: dg.InputContext) -> FileValues:
        """Return the latest value of each partition. List those without a value as failed; raise if none has one."""
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
                values[manifest] = self._staging.read(manifest) if manifest else None
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

    def _rows(self, value: ValidatedFiles | HashedFiles) -> "pa.RecordBatchReader":
        if isinstance(value, HashedFiles):
            return self._run_files.read_hashed(value.files)
        return self._run_files.read_valid(value.files)


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
    """Return the name of the manifest, or '' for a materialization that a person reported, which has no value."""
    name = materialization.metadata.get(MANIFEST) if materialization else None
    return str(name.value) if name else ""


def _lineage(instance: dg.DagsterInstance, run_id: str | None) -> Iterator[str]:
    """Yield `run_id`, then the run that it re-executes, and so on."""
    while run_id:
        yield run_id
        run = instance.get_run_by_id(run_id)
        run_id = run.parent_run_id if run else None
