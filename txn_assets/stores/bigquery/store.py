"""The BigQuery store: one table with exactly the rows of the newest loaded version of each file.

A load job fills a load table, and one transaction replaces the files from it. `sql.py` has the SQL,
`plan.py` says what a transaction writes, `reader.py` reads, `tables.py` defines the tables, and `jobs.py` runs
the jobs. `ledger.decide` chooses between load, keep and stand back. See docs/reliability.md.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import bigquery

from txn_assets.config import PipelineConfig
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.feed import Feed
from txn_assets.files import progress
from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledger import (
    NOTHING,
    Action,
    FileVersion,
    Holding,
    LoadRecord,
    Replacement,
    decide,
)
from txn_assets.files.ledgers import HeldVersion
from txn_assets.files.values import HashedFile
from txn_assets.rows.rejects import read_rejects
from txn_assets.stores import google_errors
from txn_assets.stores.bigquery import failures
from txn_assets.stores.bigquery import sql as statements
from txn_assets.stores.bigquery import tables as bigquery_tables
from txn_assets.stores.bigquery import view as bigquery_view
from txn_assets.stores.bigquery.erasure import Erasure, has_data, read_finished
from txn_assets.stores.bigquery.jobs import LABELS, TURNS, Costs, Jobs
from txn_assets.stores.bigquery.plan import Plan, make_plan, reject_structs
from txn_assets.stores.bigquery.reader import Reader, by_name, names_parameter
from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.bigquery.turns import turn
from txn_assets.stores.clients import Clients
from txn_assets.stores.run_files import RunFiles
from txn_assets.stores.store import Store

MAX_BOUND_REJECTS = 500
"""Maximum number of reasons that the transaction gets as a parameter. A request may have 10 MB
(https://cloud.google.com/bigquery/quotas#query_jobs), and a reason takes at most a few hundred bytes, most of them the
name of the file."""

LOAD_TABLE_LIFETIME = dt.timedelta(hours=6)
"""Age at which BigQuery deletes a load table that a dead run left behind."""


@dataclass(kw_only=True)
class BigQueryStore(Store):
    """One table for all files of a feed, its ledger `<table>_loads`, and why rows were rejected, `<table>_rejects`.

    Attributes:
        neighbors: the tables of all feeds, for the view `file_status`.
        partition_by: how a new table is partitioned, if the feed has a partition key.
        maximum_bytes_billed: maximum bytes that a query may bill; None for the project's limit.
    """

    tables: Tables
    neighbors: tuple[Tables, ...]
    partition_by: bigquery_tables.PartitionBy
    maximum_bytes_billed: int | None = None

    _costs: Costs = field(default_factory=Costs, init=False)
    _seen: bigquery.Table | None = field(default=None, init=False)
    """The data table as this store last saw it. Each load looks at it again."""

    def load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
        """Replace all files in one transaction; look again what to load if another load was faster."""
        end = time.monotonic() + TURNS.seconds
        while True:
            try:
                return self._load(files, run_id)
            except GoogleAPICallError as error:
                # Not an error to count against the retries: each time, another load has committed.
                if failures.LEDGER_CHANGED not in str(error) or time.monotonic() > end:
                    raise

    def _load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
        started = time.monotonic()
        with self._jobs() as jobs:
            reader = self._prepare(jobs)
            known = self.refuse_erased(files)
            files = [self.as_held(file, inexact=reader.inexact) for file in files]
            incoming = {file.version.name: file.load_record(run_id) for file in files}
            held, lock = reader.ledger(list(incoming))
            view = self._keep_view(jobs, lock.rules_id)
            same = [held[name] for name in held if held[name].same_content(incoming[name])]
            in_store = reader.totals([record.file.name for record in same], same)
            live = {
                name: self.live_generation(record.file, held[name].file.generation if name in held else None)
                for name, record in incoming.items()
            }
            actions = {
                name: decide(record, held.get(name), in_store.get(name, NOTHING.totals), live=live[name])
                for name, record in incoming.items()
            }
            self._commit(reader, make_plan(files, incoming, actions, held), started, known=known, view=view)
            return actions

    def _keep_view(self, jobs: Jobs, noted: str) -> str:
        """Keep the view `file_status`, unless the lock row says by `noted` that a load did so today.

        Return what the lock row is to say.
        """
        mark = bigquery_view.mark(self.tables, self.neighbors, dt.datetime.now(dt.UTC).date())
        if noted == mark:
            return mark
        is_kept, notice = bigquery_view.keep(jobs, self.tables, self.neighbors)
        self.notices |= {notice} if notice else set()
        return mark if is_kept else ""

    @contextmanager
    def _jobs(self) -> Iterator[Jobs]:
        jobs = Jobs(self.clients.bigquery, self.clients.no_retry, self.maximum_bytes_billed)
        try:
            yield jobs
        finally:
            self._costs += jobs.costs

    def _commit(self, reader: Reader, plan: Plan, started: float, *, known: int, view: str) -> None:
        if not plan.records:
            return
        jobs, types = reader.jobs, reader.types
        work_id = plan.work_id(self.tables)
        load_table = self._fill_load_table(jobs, work_id, [file.uri for file in plan.loads], self.tables.load_columns)
        rejects_table, rejects, bound = None, None, []
        if plan.rejects:
            if plan.reasons <= MAX_BOUND_REJECTS:
                rejects, bound = statements.BOUND_REJECTS, self._bind_rejects(plan)
            else:
                uris = [file.rejects_uri for file in plan.rejects]
                rejects_table = self._fill_load_table(jobs, f"{work_id}_rejects", uris, statements.STAGED_REJECTS)
                rejects = self.tables.quoted(str(rejects_table))
        progress.say("replacing the rows in a transaction")
        replaced = [file.version.name for file in plan.loads]
        touched = [record for record in (*plan.records, *plan.held.values()) if record.file.name in replaced]
        compared = plan.compared
        try:
            with turn(self.clients.access, self.tables.data_id):
                job_id = jobs.run_script(
                    f"txn_commit_{work_id}",
                    statements.replace_script(self.tables, load_table, types, compares=bool(compared), rejects=rejects),
                    bigquery.ArrayQueryParameter("incoming", "STRUCT", plan.structs(self.tables)),
                    bigquery.ScalarQueryParameter("known", "INT64", known),
                    bigquery.ScalarQueryParameter("view", "STRING", view),
                    bigquery.ScalarQueryParameter("load_seconds", "FLOAT64", round(time.monotonic() - started, 3)),
                    bigquery.ArrayQueryParameter("replaced", "STRING", replaced),
                    *([bigquery.ArrayQueryParameter("compared", "STRING", compared)] if compared else []),
                    *(
                        [bigquery.ScalarQueryParameter("run_id", "STRING", plan.records[0].run_id)]
                        if plan.rejects
                        else []
                    ),
                    *bound,
                    *reader.bounds(touched),
                )
        except GoogleAPICallError as error:
            if failures.LEDGER_CHANGED in str(error):
                # The next attempt looks again what to load: perhaps nothing, because a person was erased.
                self._drop(jobs, load_table, rejects_table)
            if plan.rejects and failures.is_lost_table(self.tables.rejects_name, str(error)):
                wanted = bigquery_tables.rejects_table(self.tables)
                bigquery_tables.get_or_create(jobs.client, wanted, self.clients.no_retry)
            raise
        self.job_ids |= dict.fromkeys((record.file.name for record in plan.records), job_id)
        if compared:
            self._note_replacements(reader, plan)
        self._drop(jobs, load_table, rejects_table)

    def _drop(self, jobs: Jobs, *load_tables: str | None) -> None:
        for table in filter(None, load_tables):
            jobs.client.delete_table(self.tables.id_of(table), not_found_ok=True, **self.clients.no_retry)

    def _bind_rejects(self, plan: Plan) -> list[bigquery.ArrayQueryParameter]:
        paths = filter(None, map(self.run_files.rejects, plan.rejects))
        rows = (row for path in paths for batch in read_rejects(path, "") for row in batch.to_pylist())
        return [bigquery.ArrayQueryParameter("rejects", "STRUCT", reject_structs(rows))]

    def _note_replacements(self, reader: Reader, plan: Plan) -> None:
        noted, _ = reader.ledger(plan.compared)
        for record in plan.records:
            after = noted.get(record.file.name)
            # By now, another run may have loaded another version.
            if after and (after.file, after.run_id) == (record.file, record.run_id):
                self.replacements[record.file.name] = Replacement(plan.held[record.file.name], after)

    def _fill_load_table(self, jobs: Jobs, work_id: str, uris: Sequence[str], columns: Mapping[str, str]) -> str | None:
        """Load the Parquet objects at `uris` into a load table with `columns`, and return its name; None if none."""
        if not uris:
            return None
        progress.say("waiting for the load job")
        name = f"{failures.LOAD_TABLE_PREFIX}{work_id}"
        client, no_retry = jobs.client, self.clients.no_retry
        expires = dt.datetime.now(dt.UTC) + LOAD_TABLE_LIFETIME
        table = bigquery_tables.load_table(self.tables.id_of(name), columns, expires)
        existed = client.create_table(table, exists_ok=True, **no_retry).num_rows
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=bigquery_tables.make_schema(columns),
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            labels=LABELS,
        )
        jobs.run(
            f"txn_load_{work_id}",
            lambda job_id: client.load_table_from_uri(uris, table, job_id=job_id, job_config=config, **no_retry),
            # A finished job does not count if its load table has since been deleted and recreated.
            is_done=lambda _: bool(existed or client.get_table(table, **no_retry).num_rows),
        )
        return name

    def holdings(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Holding]:
        """Return the generation in the ledger and the totals in the table, by file name."""
        records = [file.load_record("") for file in files]
        # A load of this run compared the fingerprint in its transaction.
        is_proven = self.job_ids.keys() >= {record.file.name for record in records}
        with self._jobs() as jobs:
            return self._reader(jobs).holdings(records, run_id, is_proven=is_proven)

    def held(self, name: str) -> LoadRecord | None:
        """Return the newest ledger row of the file `name`, or None before its first load."""
        with self._jobs() as jobs:
            held, _ = self._prepare(jobs).ledger([name])
            return held.get(name)

    def newest_loads(self, names: Collection[str]) -> dict[str, LoadRecord]:
        """Return the newest ledger row of each file; empty before the first load, which creates the ledger."""
        columns = self._ledger_columns()
        if not columns:
            return {}
        with self._jobs() as jobs:
            return by_name(jobs.query(statements.held_query(self.tables, columns), names_parameter(list(names))))

    def recent_loads(self, limit: int) -> list[LoadRecord]:
        """Return the last `limit` ledger rows, newest first; empty before the first load."""
        columns = self._ledger_columns()
        if not columns:
            return []
        with self._jobs() as jobs:
            most = bigquery.ScalarQueryParameter("limit", "INT64", limit)
            return [LoadRecord.from_row(row) for row in jobs.query(statements.recent_query(self.tables, columns), most)]

    def _ledger_columns(self) -> list[str]:
        """Return the columns of the ledger that are there; none before the first load. Readers may not add them."""
        try:
            ledger = self.clients.bigquery.get_table(self.tables.ledger_id, **self.clients.no_retry)
        except NotFound:
            return []
        there = bigquery_tables.column_types(ledger)
        return [name for name in self.tables.ledger_columns if name in there]

    def held_versions(self) -> dict[str, HeldVersion]:
        """Return the versions in the ledger; empty before the first load."""
        with self._jobs() as jobs:
            self._prepare(jobs)
            rows = [row.values() for row in jobs.query(statements.versions_query(self.tables))]
        return {name: HeldVersion(*version) for name, *version in rows}

    def inexact_columns(self) -> list[str]:
        """Return the columns of decimals that the table stores as binary floating-point numbers."""
        with self._jobs() as jobs:
            return self._reader(jobs).inexact

    def read_rows(self, names: Sequence[str]) -> pa.Table:
        """Return the rows of the files in `names`."""
        with self._jobs() as jobs:
            reader = self._reader(jobs)
            held, _ = reader.ledger(names)
            # The days of a file that is not in the ledger are unknown, so query all of them.
            everything = reader.keys(dt.date.min, dt.date.max)
            bounds = reader.bounds(held.values()) if set(names) <= held.keys() else everything
            rows = jobs.query(statements.rows_query(self.tables), names_parameter(names), *bounds)
            return rows.to_arrow(create_bqstorage_client=False)

    def erase(self, request: ErasureRequest) -> int:
        """Delete the rows of the person in `request`, in one transaction with the ledger rows of their files."""
        with self._jobs() as jobs:
            erasure = Erasure(jobs, self.tables, request, self.clients.no_retry)
            # Even before the first load, so that a run that is about to load finds the request.
            reader = self._prepare(jobs)
            # The lock row of the ledger has to be there.
            reader.ledger([])
            erasure.begin()
            removed = 0
            # A load that was about to commit may have added rows since they were looked for, but only once.
            while found := erasure.find():
                held, _ = reader.ledger([one.name for one in found if one.name])
                bounds = reader.bounds(held.values(), [key for one in found for key in (one.first, one.last) if key])
                erasure.erase_from(found, list(held.values()), reader.types, bounds)
                removed += sum(one.rows for one in found)
            erasure.finish()
            return removed

    def count_erased_rows(self, request: ErasureRequest) -> int:
        """Return how many rows of the person in `request` the table and the load tables of killed runs have."""
        with self._jobs() as jobs:
            return Erasure(jobs, self.tables, request, self.clients.no_retry).count()

    def finished_erasures(self) -> frozenset[int] | None:
        """Return the numbers of the requests that the table of erasures has as finished."""
        with self._jobs() as jobs:
            return read_finished(jobs, self.tables) if has_data(jobs, self.tables, self.clients.no_retry) else None

    def costs(self) -> dict[str, int]:
        """Return the bytes billed and the slot milliseconds of the queries so far."""
        return {"bytes_billed": self._costs.bytes_billed, "slot_milliseconds": self._costs.slot_milliseconds}

    def address(self, version: FileVersion) -> str:  # noqa: ARG002 - GCS has one object per file
        """Return the full name of the table."""
        return self.tables.data_id

    def is_transient(self, error: Exception) -> bool:
        """Return whether the connection was lost, the server failed or throttled, or another load interfered."""
        # 412: another run changed the table between our GET and our PATCH.
        return (
            google_errors.is_transient(error)
            or google_errors.is_precondition_failure(error)
            or failures.is_conflict(str(error))
            or failures.is_lost_load_table(str(error))
            # The load that finds it missing creates it.
            or failures.is_lost_table(self.tables.rejects_name, str(error))
        )

    def explain(self, error: Exception) -> str:
        """Return what is wrong and what to do."""
        store = f"BigQuery table {self.tables.data_id}"
        if name := failures.wrong_file(str(error)):
            return (
                f"{store} would not hold the rows of {name} unchanged, so nothing was loaded. Give the table the "
                "columns that docs/reliability.md lists, and load the file again."
            )
        return google_errors.explain(error, store)

    def _prepare(self, jobs: Jobs) -> Reader:
        self._seen = bigquery_tables.prepare(
            jobs.client,
            self.tables,
            self.partition_by,
            no_retry=self.clients.no_retry,
        )
        return Reader(jobs, self.tables, self._seen)

    def _reader(self, jobs: Jobs) -> Reader:
        if self._seen is None:
            self._seen = jobs.client.get_table(self.tables.data_id, **self.clients.no_retry)
        return Reader(jobs, self.tables, self._seen)


def make_store(config: PipelineConfig, feed: Feed, clients: Clients, run_files: RunFiles) -> BigQueryStore:
    """Return the BigQuery table of `feed`."""
    warehouse = config.data_warehouse
    tables = {one: Tables(warehouse.project_id, warehouse.dataset, one) for one in (*feeds_of(config), feed)}
    return BigQueryStore(
        clients=clients,
        run_files=run_files,
        tables=tables[feed],
        neighbors=tuple(tables.values()),
        partition_by=warehouse.partition_by,
        maximum_bytes_billed=warehouse.maximum_bytes_billed,
    )
