"""I/O manager of a sink: load files into a store, and record the result for each.

The modules in `stores/` do the loading. `registry.STORES` has one entry per I/O manager.
"""

import functools
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import dagster as dg

from txn_assets.defs.events import StageLog, processed
from txn_assets.defs.failures import without_values
from txn_assets.defs.file_metadata import job_link, object_link, speed
from txn_assets.defs.io_managers.values import as_kind
from txn_assets.defs.partitions import materialize_only
from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import Action, Replacement
from txn_assets.files.progress import Stage
from txn_assets.files.values import FailedFile, HashedFile, HashedFiles, list_failures
from txn_assets.stores.errors import StoreError, StoreUnavailableError
from txn_assets.stores.registry import StoreEntry

CHANGE_OF = "change_of_"
"""What the metadata keys begin with that have the changes of sums."""

if TYPE_CHECKING:
    from txn_assets.stores.run_files import RunFiles
    from txn_assets.stores.store import Store


def make_sink_io_manager(feed: Feed, entry: StoreEntry) -> dg.IOManagerDefinition:
    """Return the I/O manager of the store `entry` for `feed`."""

    @dg.io_manager(required_resource_keys={"services"}, description=f"Loads files into {entry.label}.")
    def sink(context: dg.InitResourceContext) -> SinkIOManager:
        services = context.resources.services.of(feed)
        return SinkIOManager(entry, services.stores[entry.key], services.run_files)

    return sink


class SinkIOManager(dg.IOManager):
    """Loads files into a store, replacing their earlier versions, and reads their rows back."""

    def __init__(self, entry: StoreEntry, store: "Store", run_files: "RunFiles") -> None:
        self._label = entry.label
        self._store = store
        self._run_files = run_files

    @without_values
    def handle_output(self, context: dg.OutputContext, obj: HashedFiles) -> None:
        """Load `obj`; leave out files that cannot be loaded, without recording them as materialized.

        Raises:
            Failure: nothing was loaded; the message says what is wrong and what to do.
        """
        started = time.monotonic()
        before = self._store.costs()
        forgotten = self._under_forgotten_keys(obj.files)
        usable = [file for file in obj.files if file.version.name not in {one.name for one in forgotten}]
        with self._following(context, obj) as stage:
            actions, failed = self._load_each(usable, context.run_id) if usable else ({}, ())
        failed = (*forgotten, *failed)
        for one in failed:
            context.log.error(str(one))
        if not actions:
            raise dg.Failure(list_failures(failed), allow_retries=False)
        obj = obj.of(actions)
        materialize_only(context, obj.by_name)
        seconds = time.monotonic() - started
        self._log(context, obj, actions, seconds)
        for notice in self._store.notices:
            context.log.warning(notice)
        metadata = speed(sum(file.totals.rows for file in obj), seconds)
        metadata["seconds_spent_on"] = {doing: round(spent, 3) for doing, spent in stage.spent.items()}
        metadata |= {key: value - before[key] for key, value in self._store.costs().items()}
        if inexact := self._inexact_columns():
            metadata["not exact"] = f"{inexact}: a binary floating-point column of an older table"
            context.log.warning(f"{self._label} keeps {inexact} as binary floating-point numbers, which are not exact.")
        self._record(context, obj, actions, metadata)

    def _under_forgotten_keys(self, files: Sequence[HashedFile]) -> tuple[FailedFile, ...]:
        """Return the files that were staged before a rotation whose old key is gone: nobody could be found in them."""
        alive = {hasher.key_id for hasher in self._run_files.hashers}
        return tuple(
            FailedFile(
                file.version.name,
                f"{file.version.name} was hashed with the key {file.key_id}, which is no longer configured: "
                "materialize hashed_transactions again.",
            )
            for file in files
            if file.key_id not in alive
        )

    def _following(self, context: dg.OutputContext, files: HashedFiles) -> AbstractContextManager[Stage]:
        log = StageLog(context.log, context.run_id, files=len(context.asset_partition_keys))
        names = list(files.by_name)
        what = names[0] if len(names) == 1 else f"{len(names)} files"
        stage = context.asset_key.to_python_identifier()
        return log.following(stage, what, rows=sum(file.totals.rows for file in files))

    def _load_each(self, files: Sequence[HashedFile], run_id: str) -> tuple[dict[str, Action], tuple[FailedFile, ...]]:
        """Load `files` together or, if one of them fails, one by one; stop when the store is unavailable."""
        load = functools.partial(self._store.load, run_id=run_id)
        try:
            return self._store.retry_transient(lambda: load(files)), ()
        except StoreUnavailableError as error:
            raise as_failure(error) from error
        except StoreError as error:
            if len(files) == 1:
                raise as_failure(error) from error
        actions: dict[str, Action] = {}
        failed: list[FailedFile] = []
        for place, file in enumerate(files):
            try:
                actions |= self._store.retry_transient(functools.partial(load, [file]))
            except StoreUnavailableError as error:
                # Every remaining file would wait just as long, with a full batch for hours.
                failed += [FailedFile(left.version.name, str(error)) for left in files[place:]]
                break
            except StoreError as error:
                failed.append(FailedFile(file.version.name, str(error)))
        return actions, tuple(failed)

    def _inexact_columns(self) -> str:
        try:
            return ", ".join(self._store.retry_transient(self._store.inexact_columns))
        except StoreError as error:
            raise as_failure(error) from error

    def _log(self, context: dg.OutputContext, files: HashedFiles, actions: dict[str, Action], seconds: float) -> None:
        log = StageLog(context.log, context.run_id, files=len(context.asset_partition_keys))
        log.done(len(files), seconds)
        stage = context.asset_key.to_python_identifier()
        for file in files:
            action, version = actions[file.version.name], file.version
            details = {"action": action.value, "generation": version.generation}
            log.emit(processed(stage, version.name, file.totals.rows, seconds, **details))
            if action is Action.STAND_BACK:
                context.log.warning(f"{version} is older than what {self._label} holds: nothing was changed.")

    def _record(
        self, context: dg.OutputContext, files: HashedFiles, actions: dict[str, Action], metadata: dict[str, Any]
    ) -> None:
        """Record `metadata` of the load, and rows, action, generation and address of each file."""
        each = {
            file.version.name: {
                "dagster/partition_row_count": file.totals.rows,
                "action": actions[file.version.name].value,
                "generation": str(file.version.generation),
                "bytes": dg.MetadataValue.int(file.version.size),
                **self._links(file),
                **_describe(self._store.replacements.get(file.version.name)),
            }
            for file in files
        }
        if len(each) == 1:
            (only,) = each.values()
            metadata |= only
        else:
            # The metadata of an output is shared by all its partitions, so give each partition an observation as well.
            for name, one in each.items():
                context.log_event(dg.AssetObservation(context.asset_key, partition=name, metadata=one))
        context.add_output_metadata(metadata)

    def _links(self, file: HashedFile) -> dict[str, Any]:
        """Return where the rows of `file` are, and the job that brought them there."""
        access, address = self._store.clients.access, self._store.address(file.version)
        link = {"link": object_link(access, address)} if address.startswith("gs://") else {}
        return {"address": address, **link, **job_link(access, self._store.job_ids.get(file.version.name, ""))}

    @without_values
    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401 - depends on the annotation of the input
        """Return the rows of the partitions in the type that the input is annotated with; see `values.as_kind`."""
        try:
            rows = self._store.retry_transient(lambda: self._store.read_rows(context.asset_partition_keys))
        except StoreError as error:
            raise as_failure(error) from error
        return as_kind(rows.to_reader(), context.dagster_type.typing_type)


def _describe(replacement: Replacement | None) -> dict[str, Any]:
    """Return the metadata of what a new version changed: rows, and the sum of each column."""
    if replacement is None or replacement.after.changes is None:
        return {}
    changes = replacement.after.changes
    sums = {f"{CHANGE_OF}{name}": f"{change.normalize():+f}" for name, change in replacement.sums.items()}
    return {
        "replaces": replacement.before.in_words(),
        "rows_added": changes.added,
        "rows_gone": changes.gone,
        "rows_changed": changes.changed,
        **sums,
    }


def as_failure(error: StoreError) -> dg.Failure:
    """Return `error` as a step failure that Dagster does not retry, because the store has already retried."""
    return dg.Failure(str(error), allow_retries=False)
