"""The BigQuery sink: one table that holds exactly the rows of the newest loaded version of each file.

Here belong the load into a staging table, the transaction that replaces files, and what each fault means. The SQL is in
`bigquery_sql.py`; when to load, keep or stand back is `ledger.decide`. Documented in docs/reliability.md.
"""

import datetime as dt
import hashlib
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from pydantic import Field

from txn_assets.io_managers import bigquery_sql as statements
from txn_assets.io_managers.sink import SinkIOManager
from txn_assets.ledger import NOTHING, Action, FileVersion, Holding, LoadRecord, Totals, decide

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud import bigquery

    from txn_assets.staged import HashedFile

STAGING_LIFETIME = dt.timedelta(hours=6)
"""After so long BigQuery removes the staging table of a run that died."""

JOB_SECONDS = 600.0
"""After so long a job is given up. It may still end: the next try, or the next run, joins it or finds its commit."""


class BigQueryIOManager(SinkIOManager):
    """Makes the BigQuery table equal to files, and loads their rows from it."""

    project_id: str = Field(description="The project of the dataset.")
    dataset: str = Field(description="The dataset.")
    table: str = Field(description="The table; its ledger is <table>_loads beside it.")

    @property
    def _tables(self) -> statements.Tables:
        return statements.Tables(self.project_id, self.dataset, self.table)

    def load(self, files: Sequence["HashedFile"], run_id: str) -> dict[str, Action]:
        """Replaces all files in one transaction."""
        client = self.stores.bigquery()
        self._prepare(client)
        incoming = {file.version.name: file.load_record(run_id) for file in files}
        held = self._held(client, list(incoming))
        in_store = self._totals(client, [name for name in held if held[name].same_content(incoming[name])])
        actions = {name: decide(record, held.get(name), in_store.get(name)) for name, record in incoming.items()}
        self._commit(client, files, actions, held, run_id)
        self._tidy(client, [file.version.name for file in files])
        return actions

    def _tidy(self, client: "bigquery.Client", names: Sequence[str]) -> None:
        """Removes the staging tables of these files: this run's, and those of runs that were killed.

        A concurrent run of the same files may lose its table by it. That run loads it again; see `is_passing`.
        """
        prefix = f"{statements.STAGING_PREFIX}{self._files_id(names)}_"
        for table in client.list_tables(f"{self.project_id}.{self.dataset}", **self._once):
            if table.table_id.startswith(prefix):
                client.delete_table(table.reference, not_found_ok=True, **self._once)

    def _files_id(self, names: Sequence[str]) -> str:
        return _digest(self.table, *sorted(names))

    @property
    def _once(self) -> dict[str, Any]:
        # One try a request and an end to waiting: `ride_out` alone tries again, so that budgets do not multiply.
        return {"retry": None, "timeout": self.stores.request_seconds}

    def _query(self, client: "bigquery.Client", sql: str, *parameters: Any) -> "bigquery.table.RowIterator":  # noqa: ANN401 - three kinds of parameter
        from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

        config = bigquery.QueryJobConfig(query_parameters=list(parameters), use_query_cache=False)
        job = client.query(sql, job_config=config, job_retry=None, **self._once)
        return _finish(job, self._once)  # type: ignore[no-any-return]  # google-cloud-bigquery is untyped here

    def _commit(
        self,
        client: "bigquery.Client",
        files: Sequence["HashedFile"],
        actions: dict[str, Action],
        held: dict[str, LoadRecord],
        run_id: str,
    ) -> None:
        from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

        loads = [file for file in files if actions[file.version.name] is Action.LOAD]
        notes = [
            file
            for file in files
            if actions[file.version.name] is Action.KEEP and held[file.version.name].file != file.version
        ]
        if not loads and not notes:
            return

        names = sorted(file.version.name for file in [*loads, *notes])
        files_id = self._files_id([file.version.name for file in files])
        # The ledger as it was seen is part of the name: a commit that was refused is another job than the next.
        seen = [f"{name}@{held[name].file.generation}/{held[name].run_id}" for name in names if name in held]
        work_id = _digest(self.dataset, self.table, run_id, *(str(file.version) for file in [*loads, *notes]), *seen)
        staging = f"{statements.STAGING_PREFIX}{files_id}_{work_id}"
        if loads:
            self._load_staging(client, loads, staging, work_id)
        script = statements.replace_script(self._tables, staging if loads else None, self._column_types(client))
        parameters = [
            bigquery.ArrayQueryParameter(
                "incoming",
                "STRUCT",
                [_struct(file.load_record(run_id), held.get(file.version.name)) for file in [*loads, *notes]],
            ),
            bigquery.ArrayQueryParameter(
                "replaced", "STRING", [f.version.name for f in loads if f.version.name in held]
            ),
            bigquery.ScalarQueryParameter("first_date", "DATE", _bound(min, held, loads)),
            bigquery.ScalarQueryParameter("last_date", "DATE", _bound(max, held, loads)),
        ]
        config = bigquery.QueryJobConfig(query_parameters=parameters, labels=_LABELS, use_query_cache=False)
        _run(
            client,
            f"txn_commit_{work_id}",
            lambda job_id: client.query(script, job_id=job_id, job_config=config, job_retry=None, **self._once),
            once=self._once,
        )

    def _load_staging(
        self, client: "bigquery.Client", files: Sequence["HashedFile"], staging: str, work_id: str
    ) -> None:
        from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

        reference = f"{self.project_id}.{self.dataset}.{staging}"
        schema = _schema(statements.STAGED_COLUMNS)
        table = bigquery.Table(reference, schema=schema)
        table.expires = dt.datetime.now(dt.UTC) + STAGING_LIFETIME
        existed = client.create_table(table, exists_ok=True, **self._once).num_rows
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=schema,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            labels=_LABELS,
        )
        uris = [file.uri for file in files]
        _run(
            client,
            f"txn_load_{work_id}",
            lambda job_id: client.load_table_from_uri(uris, reference, job_id=job_id, job_config=config, **self._once),
            once=self._once,
            # A job that loaded a table which somebody has removed since did not load this one.
            is_done=lambda _: bool(existed or client.get_table(reference, **self._once).num_rows),
        )

    def _column_types(self, client: "bigquery.Client") -> dict[str, str]:
        table = client.get_table(f"{self.project_id}.{self.dataset}.{self.table}", **self._once)
        return {field.name: field.field_type for field in table.schema}

    def holdings(self, files: Sequence["HashedFile"]) -> dict[str, Holding]:
        """From ledger and table."""
        client = self.stores.bigquery()
        names = [file.version.name for file in files]
        held, totals = self._held(client, names), self._totals(client, names)
        return {
            name: Holding(held[name].file.generation, totals.get(name, NOTHING.totals)) if name in held else NOTHING
            for name in names
        }

    def held_generations(self) -> dict[str, int]:
        """From the ledger; empty before the first load."""
        client = self.stores.bigquery()
        self._prepare(client)
        return dict(row.values() for row in self._query(client, statements.generations_query(self._tables)))

    def inexact_columns(self) -> list[str]:
        """`price`, where the table was made with a binary floating-point column."""
        price = self._column_types(self.stores.bigquery()).get("price", "")
        return ["price"] if price in ("FLOAT", "FLOAT64") else []

    def read_rows(self, names: Sequence[str]) -> "pa.Table":
        """The rows of the files that `names` names."""
        from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

        rows = self._query(
            self.stores.bigquery(),
            statements.rows_query(self._tables),
            bigquery.ArrayQueryParameter("names", "STRING", list(names)),
        )
        return rows.to_arrow(create_bqstorage_client=self.stores.target == "gcp")

    def address(self, file: "HashedFile") -> str:  # noqa: ARG002 - other stores keep files apart
        """The table."""
        return f"{self.project_id}.{self.dataset}.{self.table}"

    def is_passing(self, error: Exception) -> bool:
        """A lost connection, a server error, too many requests, or another load of the file that was faster."""
        from txn_assets.io_managers.google_faults import is_passing  # noqa: PLC0415 - see resources.py

        return is_passing(error) or statements.is_conflict(str(error)) or statements.is_lost_staging(str(error))

    def explain(self, error: Exception) -> str:
        """What is wrong and what to do."""
        from txn_assets.io_managers.google_faults import explain  # noqa: PLC0415 - see resources.py

        return explain(error, f"BigQuery table {self.project_id}.{self.dataset}.{self.table}")

    def _prepare(self, client: "bigquery.Client") -> None:
        """Makes both tables, or adds to a table of the original pipeline what it lacks."""
        from google.api_core.exceptions import NotFound  # noqa: PLC0415 - see resources.py
        from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

        ledger = f"{self.project_id}.{self.dataset}.{self.table}_loads"
        try:
            client.get_table(ledger, **self._once)
        except NotFound:
            pass
        else:
            # It is made last: with it, all is there.
            return
        reference = f"{self.project_id}.{self.dataset}.{self.table}"
        table = bigquery.Table(reference, schema=_schema(statements.COLUMNS))
        table.time_partitioning = bigquery.TimePartitioning(field="date")
        table.clustering_fields = ["source_file"]
        existing = client.create_table(table, exists_ok=True, **self._once)
        known = {field.name for field in existing.schema}
        added = [field for field in table.schema if field.name not in known]
        if added:
            existing.schema = [*existing.schema, *added]
            client.update_table(existing, ["schema"], **self._once)
        made = bigquery.Table(ledger, schema=_schema(statements.LEDGER_COLUMNS))
        client.create_table(made, exists_ok=True, **self._once)

    def _held(self, client: "bigquery.Client", names: Sequence[str]) -> dict[str, LoadRecord]:
        """The newest ledger rows of the files; sees to the lock row, which bears no name."""
        from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

        rows = self._query(
            client,
            statements.held_query(self._tables),
            bigquery.ArrayQueryParameter("names", "STRING", ["", *names]),
        )
        found = [tuple(row.values()) for row in rows]
        if not any(row[0] == "" for row in found):
            # Looked for each time: a run that was killed may have made the ledger without it.
            self._query(client, statements.lock_row_statement(self._tables))
        records = [_record(row) for row in found if row[0]]
        return {record.file.name: record for record in records}

    def _totals(self, client: "bigquery.Client", names: Sequence[str]) -> dict[str, Totals]:
        from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

        if not names:
            return {}
        query = statements.totals_query(self._tables, self.id_digits)
        rows = self._query(client, query, bigquery.ArrayQueryParameter("names", "STRING", list(names)))
        return {name: Totals.of_row(tuple(totals)) for name, *totals in (row.values() for row in rows)}


_LABELS = {"app": "txn_assets"}


def _run(
    client: "bigquery.Client",
    base: str,
    start: Callable[[str], "bigquery.job.base._AsyncJob"],
    *,
    once: dict[str, Any],
    is_done: Callable[["bigquery.job.base._AsyncJob"], bool] = lambda _: True,
) -> None:
    """Runs the job that `base` names, once.

    A job of that name is joined: it was accepted, and its answer lost. Where it failed, or is not `is_done`, the next
    suffix takes its place.
    """
    from google.api_core.exceptions import Conflict  # noqa: PLC0415 - see resources.py

    for suffix in count():
        job_id = f"{base}_{suffix}"
        try:
            job = start(job_id)
        except Conflict:
            job = client.get_job(job_id, **once)
            _wait(job, once)
            if job.error_result or not is_done(job):
                continue
        _finish(job, once)
        return


def _wait(job: "bigquery.job.base._AsyncJob", once: dict[str, Any]) -> None:
    """Waits for the end of `job`, good or bad.

    Raises:
        TimeoutError: it takes too long; who tries again joins it.
    """
    end = time.monotonic() + JOB_SECONDS
    pause = 0.05
    while not job.done(**once):
        if time.monotonic() > end:
            message = f"The BigQuery job {job.job_id} did not end within {JOB_SECONDS:.0f} seconds"
            raise TimeoutError(message)
        time.sleep(pause)
        pause = min(2.0, pause * 1.5)


def _finish(job: "bigquery.job.base._AsyncJob", once: dict[str, Any]) -> Any:  # noqa: ANN401 - rows, or the job
    """The result of `job`; waiting in `result` itself would repeat requests within a budget of its own."""
    _wait(job, once)
    return job.result(**once)


def _schema(columns: dict[str, str]) -> list["bigquery.SchemaField"]:
    from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

    return [bigquery.SchemaField(name, kind) for name, kind in columns.items()]


def _struct(record: LoadRecord, seen: LoadRecord | None) -> "bigquery.StructQueryParameter":
    from google.cloud import bigquery  # noqa: PLC0415 - see resources.py

    version, totals = record.file, record.totals
    values: dict[str, Any] = {
        "source_file": version.name,
        "generation": version.generation,
        "size": version.size,
        "crc32c": version.crc32c,
        "run_id": record.run_id,
        "key_id": record.key_id,
        "rules_id": record.rules_id,
        "row_count": totals.rows,
        "sum_price": totals.price,
        "sum_quantity": totals.quantity,
        "min_date": totals.min_date,
        "max_date": totals.max_date,
        "fingerprint": totals.fingerprint,
        "seen_generation": seen.file.generation if seen else 0,
        "seen_run_id": seen.run_id if seen else "",
    }
    kinds = statements.LEDGER_COLUMNS | {"seen_generation": "INT64", "seen_run_id": "STRING"}
    return bigquery.StructQueryParameter(
        None, *(bigquery.ScalarQueryParameter(name, kinds[name], value) for name, value in values.items())
    )


def _record(row: tuple[Any, ...]) -> LoadRecord:
    name, generation, size, crc32c, run_id, key_id, rules_id, *totals, loaded_at = row
    version = FileVersion(name, generation, size, crc32c)
    return LoadRecord(version, run_id, key_id, rules_id, Totals.of_row(tuple(totals)), loaded_at)


def _bound(
    choose: Callable[..., dt.date], held: dict[str, LoadRecord], loads: Sequence["HashedFile"]
) -> dt.date | None:
    """The first or last date that the replaced files hold, which bounds the partitions to touch."""
    records = [held[file.version.name] for file in loads if file.version.name in held]
    dates = [date for record in records for date in (record.totals.min_date, record.totals.max_date) if date]
    return choose(dates) if dates else None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]
