"""Base class of the three sinks: load files, retry transient errors, record metadata and read rows back.

Keep it independent of the store; replacing a file is up to each subclass. See docs/reliability.md.
"""

import functools
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from txn_assets.defs.events import StageLog, processed
from txn_assets.defs.io_managers.values import as_kind
from txn_assets.defs.partitions import materialize_only
from txn_assets.defs.resources import Clients, RunFiles
from txn_assets.files.ledger import Action, FileVersion, Holding
from txn_assets.files.values import FailedFile, HashedFile, HashedFiles, list_failures
from txn_assets.stores.retries import Budget, StoreError, StoreUnavailableError, retry_transient

if TYPE_CHECKING:
    import pyarrow as pa


class SinkIOManager(dg.ConfigurableIOManager):
    """I/O manager that loads files into a store, replacing their earlier versions.

    After `handle_output`, the store holds exactly the rows of each file; if it raised, exactly what it held before.
    """

    clients: dg.ResourceDependency[Clients]
    run_files: dg.ResourceDependency[RunFiles]
    pii_fields: list[str] = Field(description="The hashed columns.")
    store: str = Field(description="The name of the store in messages.")
    retry_seconds: float = Field(default=120.0, description="How long passing faults are ridden out.")

    @abstractmethod
    def load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
        """Load `files` and return the action taken for each, by name. Must be idempotent, since errors are retried."""

    @abstractmethod
    def holdings(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Holding]:
        """Return the ledger generation and the totals computed by the store for each of `files`, by name.

        The fingerprint of a file that the run `run_id` loaded is the one from its ledger row, because the store
        computed it inside the transaction that wrote the row.
        """

    @abstractmethod
    def held_generations(self) -> dict[str, int]:
        """Return the newest generation in the ledger for each file, by name."""

    @abstractmethod
    def read_rows(self, names: Sequence[str]) -> "pa.Table":
        """Return the rows that the store holds for the files in `names`."""

    @abstractmethod
    def inexact_columns(self) -> list[str]:
        """Return the money columns that the store keeps as binary floating-point numbers."""

    @abstractmethod
    def address(self, file: HashedFile) -> str:
        """Return the place to find the rows, as shown to people."""

    @abstractmethod
    def is_transient(self, error: Exception) -> bool:
        """Return whether a retry may succeed."""

    @abstractmethod
    def explain(self, error: Exception) -> str:
        """Return the message for `error`: store, cause and remedy."""

    def as_held(self, file: HashedFile, *, is_exact: bool) -> HashedFile:
        """Return `file` with the totals that the store reads back once it holds it.

        `is_exact` is false if the table keeps prices as binary floating-point numbers.
        """
        if is_exact:
            return file
        from txn_assets.rows.hashed_rows import inexact_totals  # noqa: PLC0415 - Arrow loads with the first file

        return replace(file, totals=inexact_totals(self.run_files.hashed_rows(file)))

    def live_generation(self, version: FileVersion, held: int | None) -> int | None:
        """Return the live generation in the landing zone; look it up only if the store holds a different one.

        Raises:
            StoreUnavailableError: the landing zone does not respond.
        """
        if held in (None, version.generation):
            return None
        try:
            live = self.run_files.landing.latest(version.name)
        except Exception as error:
            from txn_assets.stores.google_errors import explain, is_out_of_reach  # noqa: PLC0415 - see defs/resources.py

            if not is_out_of_reach(error):
                raise
            raise StoreUnavailableError(explain(error, f"Landing zone {self.run_files.landing.address}")) from error
        return live.generation if live else None

    def handle_output(self, context: dg.OutputContext, obj: HashedFiles) -> None:
        """Load `obj`; leave out files that cannot be loaded, without recording them as materialized.

        Raises:
            Failure: nothing was loaded; the message says what is wrong and what to do.
        """
        started = time.monotonic()
        actions, failed = self._load_each(obj.files, context.run_id)
        for one in failed:
            context.log.error(str(one))
        if not actions:
            raise dg.Failure(list_failures(failed), allow_retries=False)
        obj = obj.of(actions)
        materialize_only(context, obj.by_name)
        seconds = time.monotonic() - started
        stage = context.asset_key.to_python_identifier()
        inexact = self.retry_transient(self.inexact_columns)
        metadata: dict[str, Any] = {"seconds": round(seconds, 3)}
        if inexact:
            metadata["not exact"] = f"{', '.join(inexact)}: a binary floating-point column of an older table"
            context.log.warning(f"{self.store} keeps {', '.join(inexact)} as binary floating-point numbers: not exact.")
        log = StageLog(context.log, context.run_id, files=len(context.asset_partition_keys))
        log.done(len(obj), seconds)
        for file in obj:
            action = actions[file.version.name]
            details = {"action": action.value, "generation": file.version.generation}
            event = processed(stage, file.version.name, file.totals.rows, seconds, **details)
            log.emit(event)
            if action is Action.STAND_BACK:
                context.log.warning(f"{file.version} is older than what {self.store} holds: nothing was changed.")
        if len(obj) == 1:
            (file,) = obj
            metadata |= {
                "dagster/partition_row_count": file.totals.rows,
                "action": actions[file.version.name].value,
                "generation": str(file.version.generation),
                "address": self.address(file),
            }
        context.add_output_metadata(metadata)

    def _load_each(self, files: Sequence[HashedFile], run_id: str) -> tuple[dict[str, Action], tuple[FailedFile, ...]]:
        """Load `files` together or, if one of them fails, one by one; stop when the store is unavailable."""
        try:
            return self._retry_transient(lambda: self.load(files, run_id)), ()
        except StoreUnavailableError as error:
            raise _as_failure(error) from error.__cause__
        except StoreError as error:
            if len(files) == 1:
                raise _as_failure(error) from error.__cause__
        actions: dict[str, Action] = {}
        failed: list[FailedFile] = []
        for place, file in enumerate(files):
            try:
                actions |= self._retry_transient(functools.partial(self.load, [file], run_id))
            except StoreUnavailableError as error:
                # Every remaining file would wait just as long. With a full batch, that blocks the pool for hours.
                failed += [FailedFile(left.version.name, str(error)) for left in files[place:]]
                break
            except StoreError as error:
                failed.append(FailedFile(file.version.name, str(error)))
        return actions, tuple(failed)

    def load_input(self, context: dg.InputContext) -> Any:  # noqa: ANN401 - depends on the annotation of the input
        """Return the rows of the partitions in the type that the input is annotated with; see `values.as_kind`."""
        rows = self.retry_transient(lambda: self.read_rows(context.asset_partition_keys))
        return as_kind(rows.to_reader(), context.dagster_type.typing_type)

    def retry_transient[T](self, attempt: Callable[[], T]) -> T:
        """Return the result of `attempt`, retrying transient store errors.

        Raises:
            Failure: the store error, as a message; Dagster does not retry it, because it has been retried here.
        """
        try:
            return self._retry_transient(attempt)
        except StoreError as error:
            raise _as_failure(error) from error.__cause__

    def _retry_transient[T](self, attempt: Callable[[], T]) -> T:
        return retry_transient(
            attempt, is_transient=self.is_transient, explain=self.explain, budget=Budget(seconds=self.retry_seconds)
        )


def _as_failure(error: StoreError) -> dg.Failure:
    return dg.Failure(str(error), allow_retries=False)
