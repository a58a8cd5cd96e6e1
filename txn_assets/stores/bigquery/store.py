"""The BigQuery store: one table with exactly the rows of the newest loaded version of each file.

A load job fills a load table, and one transaction replaces the files from it. `sql.py` has the SQL,
`plan.py` says what a transaction writes, `tables.py` defines the tables, and `jobs.py` runs
the jobs. `ledger.decide` chooses between load, keep and stand back. See docs/reliability.md.
"""

import datetime as dt
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial

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
    Totals,
    decide,
    read_holdings,
)
from txn_assets.files.ledgers import HeldVersion
from txn_assets.files.values import HashedFile
from txn_assets.rows.rejects import read_rejects
from txn_assets.stores import google_errors
from txn_assets.stores.bigquery import sql as statements
from txn_assets.stores.bigquery import tables as bigquery_tables
from txn_assets.stores.bigquery import view as bigquery_view
from txn_assets.stores.bigquery.erasure import Erasure, has_data, read_finished
from txn_assets.stores.bigquery.jobs import LABELS, Costs, Jobs
from txn_assets.stores.bigquery.plan import Plan, make_plan, reject_structs
from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.clients import Clients
from txn_assets.stores.partition_keys import key_bounds
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

    def load(self, files: Sequence[HashedFile], run_id: str) -> dict[str, Action]:
        """Replace all files in one transaction."""
        started = time.monotonic()
        with self._jobs() as jobs:
            types = self._prepare(jobs)
            if notice := bigquery_view.keep(jobs, self.tables, self.neighbors):
                self.notices.add(notice)
            inexact = statements.inexact_columns(self.tables, types)
            known = self.refuse_erased(files)
            files = [self.as_held(file, inexact=inexact) for file in files]
            incoming = {file.version.name: file.load_record(run_id) for file in files}
            held = self._held(jobs, list(incoming))
            same = [held[name] for name in held if held[name].same_content(incoming[name])]
            in_store = self._totals(jobs, [record.file.name for record in same], records=same, is_exact=not inexact)
            live = {
                name: self.live_generation(record.file, held[name].file.generation if name in held else None)
                for name, record in incoming.items()
            }
            actions = {
                name: decide(record, held.get(name), in_store.get(name, NOTHING.totals), live=live[name])
                for name, record in incoming.items()
            }
            self._commit(jobs, make_plan(files, incoming, actions, held), types, started, known)
            return actions

    @contextmanager
    def _jobs(self) -> Iterator[Jobs]:
        jobs = Jobs(self.clients.bigquery, self.clients.no_retry, self.maximum_bytes_billed)
        try:
            yield jobs
        finally:
            self._costs += jobs.costs

    def _commit(self, jobs: Jobs, plan: Plan, types: dict[str, str], started: float, known: int) -> None:
        if not plan.records:
            return
        work_id = plan.work_id(self.tables)
        load_table = self._fill_load_table(jobs, work_id, [file.uri for file in plan.loads], self.tables.load_columns)
        rejects_table, rejects, bound = None, None, []
        if plan.rejects:
            bigquery_tables.get_or_create(
                jobs.client, bigquery_tables.rejects_table(self.tables), self.clients.no_retry
            )
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
            job_id = jobs.run_script(
                f"txn_commit_{work_id}",
                statements.replace_script(self.tables, load_table, types, compares=bool(compared), rejects=rejects),
                bigquery.ArrayQueryParameter("incoming", "STRUCT", plan.structs(self.tables)),
                bigquery.ScalarQueryParameter("known", "INT64", known),
                bigquery.ScalarQueryParameter("load_seconds", "FLOAT64", round(time.monotonic() - started, 3)),
                bigquery.ArrayQueryParameter("replaced", "STRING", replaced),
                *([bigquery.ArrayQueryParameter("compared", "STRING", compared)] if compared else []),
                *([bigquery.ScalarQueryParameter("run_id", "STRING", plan.records[0].run_id)] if plan.rejects else []),
                *bound,
                *self._bounds(touched),
            )
        except GoogleAPICallError as error:
            if statements.LEDGER_CHANGED in str(error):
                # The next attempt looks again what to load: perhaps nothing, because a person was erased.
                self._drop(jobs, load_table, rejects_table)
            raise
        self.job_ids |= dict.fromkeys((record.file.name for record in plan.records), job_id)
        if compared:
            self._note_replacements(jobs, plan)
        self._drop(jobs, load_table, rejects_table)

    def _drop(self, jobs: Jobs, *load_tables: str | None) -> None:
        for table in filter(None, load_tables):
            jobs.client.delete_table(self.tables.id_of(table), not_found_ok=True, **self.clients.no_retry)

    def _bind_rejects(self, plan: Plan) -> list[bigquery.ArrayQueryParameter]:
        paths = filter(None, map(self.run_files.rejects, plan.rejects))
        rows = (row for path in paths for batch in read_rejects(path, "") for row in batch.to_pylist())
        return [bigquery.ArrayQueryParameter("rejects", "STRUCT", reject_structs(rows))]

    def _note_replacements(self, jobs: Jobs, plan: Plan) -> None:
        noted = self._held(jobs, plan.compared)
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
        name = f"{statements.LOAD_TABLE_PREFIX}{work_id}"
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
        names = [file.version.name for file in files]
        is_exact = not self.inexact_columns()
        with self._jobs() as jobs:
            held = self._held(jobs, names)
            records = [*held.values(), *(file.load_record("") for file in files)]
            return read_holdings(names, held, run_id, partial(self._totals, jobs, records=records, is_exact=is_exact))

    def held(self, name: str) -> LoadRecord | None:
        """Return the newest ledger row of the file `name`, or None before its first load."""
        with self._jobs() as jobs:
            self._prepare(jobs)
            return self._held(jobs, [name]).get(name)

    def newest_loads(self, names: Collection[str]) -> dict[str, LoadRecord]:
        """Return the newest ledger row of each file; empty before the first load, which creates the ledger."""
        columns = self._ledger_columns()
        if not columns:
            return {}
        with self._jobs() as jobs:
            rows = jobs.query(statements.held_query(self.tables, columns), _names(list(names)))
            records = [LoadRecord.from_row(row) for row in rows]
        return {record.file.name: record for record in records}

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
        table = self.clients.bigquery.get_table(self.tables.data_id, **self.clients.no_retry)
        return statements.inexact_columns(self.tables, bigquery_tables.column_types(table))

    def read_rows(self, names: Sequence[str]) -> pa.Table:
        """Return the rows of the files in `names`."""
        with self._jobs() as jobs:
            held = self._held(jobs, names)
            # The days of a file that is not in the ledger are unknown, so query all of them.
            everything = self._keys(dt.date.min, dt.date.max)
            bounds = self._bounds(held.values()) if set(names) <= held.keys() else everything
            rows = jobs.query(statements.rows_query(self.tables), _names(names), *bounds)
            return rows.to_arrow(create_bqstorage_client=False)

    def erase(self, request: ErasureRequest) -> int:
        """Delete the rows of the person in `request`, in one transaction with the ledger rows of their files."""
        with self._jobs() as jobs:
            erasure = Erasure(jobs, self.tables, request, self.clients.no_retry)
            # Even before the first load, so that a run that is about to load finds the request.
            types = self._prepare(jobs)
            # The lock row of the ledger has to be there.
            self._held(jobs, [])
            erasure.begin()
            removed = 0
            # A load that was about to commit may have added rows since they were looked for, but only once.
            while found := erasure.find():
                held = list(self._held(jobs, [one.name for one in found if one.name]).values())
                bounds = self._bounds(held, [key for one in found for key in (one.first, one.last) if key])
                erasure.erase_from(found, held, types, bounds)
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
            or statements.is_conflict(str(error))
            or statements.is_lost_load_table(str(error))
        )

    def explain(self, error: Exception) -> str:
        """Return what is wrong and what to do."""
        store = f"BigQuery table {self.tables.data_id}"
        if name := statements.wrong_file(str(error)):
            return (
                f"{store} would not hold the rows of {name} unchanged, so nothing was loaded. Give the table the "
                "columns that docs/reliability.md lists, and load the file again."
            )
        return google_errors.explain(error, store)

    def _prepare(self, jobs: Jobs) -> dict[str, str]:
        return bigquery_tables.prepare(
            jobs.client,
            self.tables,
            self.partition_by,
            no_retry=self.clients.no_retry,
        )

    def _held(self, jobs: Jobs, names: Sequence[str]) -> dict[str, LoadRecord]:
        """Return the newest ledger row of each file; create the lock row, which has an empty name, if it is missing."""
        query, parameter = statements.held_query(self.tables), _names(["", *names])
        found = [LoadRecord.from_row(row) for row in jobs.query(query, parameter)]
        if not any(record.file.name == "" for record in found):
            # Check every time: a killed run may have created the ledger without its lock row.
            jobs.query(statements.begin_ledger_statement(self.tables))
            found = [LoadRecord.from_row(row) for row in jobs.query(query, parameter)]
        return {record.file.name: record for record in found if record.file.name}

    def _totals(
        self,
        jobs: Jobs,
        names: Sequence[str],
        *,
        records: Iterable[LoadRecord],
        is_exact: bool,
        has_fingerprint: bool = True,
    ) -> dict[str, Totals]:
        """Return the totals of the files in `names`, within the days that `records` span."""
        if not names:
            return {}
        query = statements.totals_query(self.tables, is_exact=is_exact, has_fingerprint=has_fingerprint)
        rows = jobs.query(query, _names(names), *self._bounds(records))
        return {name: Totals.of_row(totals, self.contract.summed) for name, *totals in (row.values() for row in rows)}

    def _bounds(
        self, records: Iterable[LoadRecord], keys: Iterable[dt.date] = ()
    ) -> list[bigquery.ScalarQueryParameter]:
        """Return the bounds of the days of `records` and `keys` as parameters, or null if there is no day."""
        if not self._is_partitioned_by_key:
            return self._keys(dt.date.min, dt.date.max)
        days = [day for record in records for day in (record.totals.min_date, record.totals.max_date) if day]
        days += [key.date() if isinstance(key, dt.datetime) else key for key in keys]
        return self._keys(min(days, default=None), max(days, default=None))

    @cached_property
    def _is_partitioned_by_key(self) -> bool:
        """Whether the table is partitioned by the partition key of the feed, so that bounds save something.

        If it is not, the days in the ledger may be those of an earlier partition key, so they cannot be used as bounds.
        """
        key = self.contract.partition_key
        if key is None:
            return False
        partitioning = self.clients.bigquery.get_table(self.tables.data_id, **self.clients.no_retry).time_partitioning
        return partitioning is not None and partitioning.field is not None and partitioning.field.casefold() == key

    def _keys(self, first: dt.date | None, last: dt.date | None) -> list[bigquery.ScalarQueryParameter]:
        kind = self.tables.partition_type
        if kind is None:
            return []
        bounds = zip(("first_key", "last_key"), key_bounds(self.contract, first, last), strict=True)
        return [bigquery.ScalarQueryParameter(name, kind, value) for name, value in bounds]


def _names(names: Sequence[str]) -> bigquery.ArrayQueryParameter:
    return bigquery.ArrayQueryParameter("names", "STRING", list(names))


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
