"""Erase a person's rows from the BigQuery table of a feed, and keep its ledger exact.

`store.py` decides in which order. As in `sql.py`, every statement on the data table bounds the partition
key. See docs/security.md, 'Erasure'.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.ledger import LoadRecord
from txn_assets.stores.bigquery import sql as statements
from txn_assets.stores.bigquery import tables as bigquery_tables
from txn_assets.stores.bigquery.failures import LEDGER_CHANGED, LOAD_TABLE_PREFIX
from txn_assets.stores.bigquery.jobs import Jobs
from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.partition_keys import Key

COLUMNS = {
    "request_id": "STRING",
    "number": "INT64",
    "field": "STRING",
    "digests": "STRING",
    "requested_at": "TIMESTAMP",
    "requested_by": "STRING",
    "rows_removed": "INT64",
    "finished_at": "TIMESTAMP",
}
"""The columns of the table of erasures with their types; `digests` is JSON."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a person in a file: how many, and their first and last partition key.

    Attributes:
        name: the name of the file; None for rows of the original pipeline, which belong to no file.
    """

    name: str | None
    rows: int
    first: Key
    last: Key


@dataclass(frozen=True)
class Erasure:
    """The steps of one call of `erase`."""

    jobs: Jobs
    tables: Tables
    request: ErasureRequest
    no_retry: dict[str, Any]

    def has_table(self) -> bool:
        """Return whether the data table exists."""
        return has_data(self.jobs, self.tables, self.no_retry)

    def begin(self) -> None:
        """Write the request down, so that no load that does not know it commits after this."""
        bigquery_tables.get_or_create(self.jobs.client, erasures_table(self.tables), self.no_retry)
        self._run(
            note_script(self.tables),
            self._id,
            bigquery.ScalarQueryParameter("number", "INT64", self.request.number),
            bigquery.ScalarQueryParameter("field", "STRING", self.request.field),
            bigquery.ScalarQueryParameter("digests", "STRING", json.dumps(dict(self.request.digests))),
            bigquery.ScalarQueryParameter("requested_at", "TIMESTAMP", self.request.requested_at),
            bigquery.ScalarQueryParameter("requested_by", "STRING", self.request.requested_by),
        )

    def find(self) -> list[Found]:
        """Return where the table has rows of the person."""
        rows = self.jobs.query(find_query(self.tables, self.request.field), self._digests)
        return [Found(*row.values()) for row in rows]

    def erase_from(
        self,
        found: Sequence[Found],
        held: Sequence[LoadRecord],
        types: Mapping[str, str],
        bounds: Sequence[bigquery.ScalarQueryParameter],
    ) -> None:
        """Delete what was found, and correct the ledger rows of the files, `held` as they were read before."""
        names = [one.name for one in found if one.name]
        self._run(
            erase_script(self.tables, self.request.field, types),
            self._id,
            self._digests,
            bigquery.ArrayQueryParameter("names", "STRING", names),
            bigquery.ArrayQueryParameter("seen", "STRUCT", [_seen(record) for record in held]),
            *bounds,
        )

    def _run(self, script: str, *parameters: Any) -> None:  # noqa: ANN401 - three kinds of parameter
        """Run a transaction, when no load commits. There is no job to join: each call asks first what is left to do."""
        self.jobs.run_script(f"txn_erase_{uuid.uuid4().hex}", script, *parameters)

    def finish(self) -> None:
        """Remove load tables with rows of the person, and write down that the request is finished."""
        for name in self._load_tables():
            self.jobs.client.delete_table(self.tables.id_of(name), not_found_ok=True, **self.no_retry)
        self.jobs.query(finish_statement(self.tables), self._id)

    def count(self) -> int:
        """Return how many rows of the person the table and the load tables have."""
        if not self.has_table():
            return 0
        return sum(one.rows for one in self.find()) + sum(self._load_tables().values())

    def _load_tables(self) -> dict[str, int]:
        """Return the number of rows of the person in each load table of the dataset that has any.

        A run that was killed leaves its load table behind until it expires. That of a run at work can go too: its load
        would be refused.
        """
        client, field = self.jobs.client, self.request.field
        found = {}
        for listed in client.list_tables(f"{self.tables.project}.{self.tables.dataset}", **self.no_retry):
            if not listed.table_id.startswith(LOAD_TABLE_PREFIX):
                continue
            with suppress(NotFound):
                table = client.get_table(listed.reference, **self.no_retry)
                if {field, "source_file"} <= bigquery_tables.column_types(table).keys():
                    query = count_query(self.tables.quoted(listed.table_id), field)
                    ((found[listed.table_id],),) = (row.values() for row in self.jobs.query(query, self._digests))
        return {name: rows for name, rows in found.items() if rows}

    @property
    def _id(self) -> bigquery.ScalarQueryParameter:
        return bigquery.ScalarQueryParameter("id", "STRING", self.request.id)

    @property
    def _digests(self) -> bigquery.ArrayQueryParameter:
        return bigquery.ArrayQueryParameter("digests", "STRING", list(self.request.digests.values()))


def has_data(jobs: Jobs, tables: Tables, no_retry: Mapping[str, Any]) -> bool:
    """Return whether the data table exists."""
    try:
        jobs.client.get_table(tables.data_id, **no_retry)
    except NotFound:
        return False
    return True


def read_finished(jobs: Jobs, tables: Tables) -> frozenset[int]:
    """Return the numbers of the requests that are finished; none before the first request."""
    try:
        return frozenset(int(row.number) for row in jobs.query(finished_query(tables)))
    except NotFound:
        return frozenset()


def finished_query(tables: Tables) -> str:
    """Return the query for the numbers of the requests that are finished."""
    return f"SELECT number FROM {tables.erasures} WHERE finished_at IS NOT NULL"  # noqa: S608 - quoted names


def erasures_table(tables: Tables) -> bigquery.Table:
    """Return the definition of a new table of erasures."""
    return bigquery_tables.make_table(tables.id_of(f"{tables.name}_erasures"), COLUMNS, {})


def note_script(tables: Tables) -> str:
    """Return the transaction that writes a request down, so that no load that does not know it commits after this.

    Binds @id, @number, @field, @digests (as JSON), @requested_at and @requested_by. The lock row of the ledger, which
    every load updates, has the number of the newest request as `erased`.
    """
    return _transaction(
        f"UPDATE {tables.ledger} SET loaded_at = CURRENT_TIMESTAMP(), "  # noqa: S608 - quoted names
        "erased = GREATEST(IFNULL(erased, 0), @number) WHERE source_file = ''",
        f"UPDATE {tables.erasures} SET digests = @digests WHERE request_id = @id",  # noqa: S608 - quoted names
        f"INSERT INTO {tables.erasures} ({', '.join(COLUMNS)}) "  # noqa: S608 - quoted names
        "SELECT @id, @number, @field, @digests, @requested_at, @requested_by, 0, CAST(NULL AS TIMESTAMP) "
        f"FROM (SELECT 1) WHERE NOT EXISTS (SELECT 1 FROM {tables.erasures} WHERE request_id = @id)",
    )


def find_query(tables: Tables, field: str) -> str:
    """Return the query for the files with rows of a person, and their number and first and last partition key.

    Binds @digests. It has to look into every partition, because nothing says which ones have the person.
    """
    key = tables.contract.partition_key
    bounds = f"MIN(`{key}`), MAX(`{key}`)" if key else "NULL, NULL"
    return (
        f"SELECT source_file, COUNT(*), {bounds} FROM {tables.data} "  # noqa: S608 - quoted names
        f"WHERE `{field}` IN UNNEST(@digests){statements.any_key(tables)} GROUP BY source_file"
    )


def count_query(table: str, field: str) -> str:
    """Return the query for the number of rows of a person in a load table; binds @digests."""
    return f"SELECT COUNT(*) FROM {table} WHERE `{field}` IN UNNEST(@digests)"  # noqa: S608 - quoted names


def erase_script(tables: Tables, field: str, types: Mapping[str, str]) -> str:
    """Return the transaction that deletes the rows of a person from some files, and corrects their ledger rows.

    Binds @id, @digests, @names (the files), @seen (the ledger rows as the caller read them), and @first_key and
    @last_key, which span all rows of the files. Rows of the original pipeline belong to no file.
    """
    person = (
        f"`{field}` IN UNNEST(@digests) AND (source_file IN UNNEST(@names) OR source_file IS NULL)"
        f"{statements.within(tables)}"
    )
    names = statements.total_columns(tables)
    is_exact = not statements.inexact_columns(tables, types)
    totals = statements.totals_query(tables, is_exact=is_exact)
    days = ("min_date", "max_date")
    left = ", ".join(f"t.{name}" if name in days else f"IFNULL(t.{name}, 0) AS {name}" for name in names)
    changes = ", ".join(f"{name} = t.{name}" for name in names)
    return _transaction(
        f"UPDATE {tables.ledger} SET loaded_at = CURRENT_TIMESTAMP() WHERE source_file = ''",  # noqa: S608 - quoted names
        f"SELECT IF(EXISTS (SELECT 1 FROM {tables.ledger} AS l JOIN UNNEST(@seen) AS s "  # noqa: S608 - quoted names
        "ON l.source_file = s.source_file WHERE l.generation > s.generation "
        f"OR (l.generation = s.generation AND l.run_id != s.run_id)), ERROR('{LEDGER_CHANGED}'), TRUE)",
        f"UPDATE {tables.erasures} SET rows_removed = rows_removed + "  # noqa: S608 - quoted names
        f"(SELECT COUNT(*) FROM {tables.data} WHERE {person}) WHERE request_id = @id",
        f"DELETE FROM {tables.data} WHERE {person}",  # noqa: S608 - quoted names
        f"UPDATE {tables.ledger} AS l SET {changes}, "  # noqa: S608 - quoted names
        "erased = IFNULL(l.erased, 0) + GREATEST(l.row_count - t.row_count, 0) "
        f"FROM (SELECT s.source_file, s.generation, {left} FROM UNNEST(@seen) AS s "
        f"LEFT JOIN ({totals}) AS t ON t.source_file = s.source_file) AS t "
        "WHERE l.source_file = t.source_file AND l.generation = t.generation",
    )


def finish_statement(tables: Tables) -> str:
    """Return the statement that says that a request is finished; binds @id."""
    return (
        f"UPDATE {tables.erasures} SET finished_at = CURRENT_TIMESTAMP() "  # noqa: S608 - quoted names
        "WHERE request_id = @id AND finished_at IS NULL"
    )


def _seen(record: LoadRecord) -> bigquery.StructQueryParameter:
    return bigquery.StructQueryParameter(
        None,
        bigquery.ScalarQueryParameter("source_file", "STRING", record.file.name),
        bigquery.ScalarQueryParameter("generation", "INT64", record.file.generation),
        bigquery.ScalarQueryParameter("run_id", "STRING", record.run_id),
    )


def _transaction(*steps: str) -> str:
    return ";\n".join(("BEGIN TRANSACTION", *steps, "COMMIT TRANSACTION")) + ";"
