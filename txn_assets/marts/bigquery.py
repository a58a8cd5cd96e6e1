"""The marts in BigQuery: the view of the current transactions, and a table for each mart.

`bigquery_sql.py` has the SQL. A refresh replaces the rows of a mart in one transaction, from one snapshot of the table
and its ledger. See docs/marts.md.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from txn_assets.marts import bigquery_sql as statements
from txn_assets.marts.bigquery_sql import Names
from txn_assets.marts.mart import (
    CURRENT,
    VERSIONS,
    Between,
    Mart,
    MartRow,
    MartTotals,
    MartVersion,
    Refresh,
    Rules,
    refuse_unknown,
)
from txn_assets.stores import google_errors
from txn_assets.stores.bigquery import tables as bigquery_tables
from txn_assets.stores.bigquery.jobs import LABELS, Jobs
from txn_assets.stores.bigquery.store import BigQueryStore
from txn_assets.stores.errors import StoreError
from txn_assets.stores.retries import Budget, retry_transient


@dataclass(kw_only=True)
class BigQueryMarts:
    """The marts of the first feed in BigQuery.

    Attributes:
        store: the table that the marts are built from.
        location: where the dataset of the marts is created if it is missing.
        rules: which of its rows count.
    """

    store: BigQueryStore
    names: Names
    location: str
    rules: Rules

    def ensure_views(self) -> None:
        """Create the dataset, the view `transactions_current` and the table `mart_versions`, or update the view.

        Raises:
            StoreError: the service account may not, or something else has one of the names.
        """
        self._retry(self._ensure)

    def refresh(self, mart: Mart, *, force: bool = False) -> Refresh:
        """Compute the rows of `mart` again if the ledger has changed since they were computed, or if `force` says so.

        Raises:
            StoreError: the mart cannot be computed; it keeps its rows.
        """
        refuse_unknown(mart, "bigquery")
        start = time.perf_counter()
        version, is_unchanged = self._retry(lambda: self._refresh(mart, force=force))
        return Refresh(mart, version, time.perf_counter() - start, is_unchanged)

    def version(self, mart: Mart) -> MartVersion | None:
        """Return what `mart` was computed from, or None before its first refresh."""
        try:
            return self._retry(lambda: self._version(mart))
        except StoreError as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise

    def totals(self, mart: Mart) -> MartTotals:
        """Return the totals over the rows of `mart`."""
        refuse_unknown(mart, "bigquery")
        query = statements.totals_query(self.names, mart)
        (row,) = self._retry(lambda: self._fetch(query))
        return MartTotals.of_row(row)

    def rows(
        self, mart: Mart, *, limit: int | None = None, offset: int = 0, filters: Sequence[Between] = ()
    ) -> list[MartRow]:
        """Return rows of `mart` in the order of its key."""
        refuse_unknown(mart, "bigquery", filters)
        query, values = statements.rows_query(self.names, mart, filters, limit=limit, offset=offset)
        return self._retry(lambda: self._fetch(query, *values))

    def sums(self, mart: Mart, *, limit: int) -> list[MartRow]:
        """Return the amounts by the first column of the key, for a chart: the largest of names, or the latest days."""
        refuse_unknown(mart, "bigquery")
        query = statements.sums_query(self.names, mart, limit=limit)
        return self._retry(lambda: self._fetch(query))

    def stream(self, mart: Mart) -> Iterator[list[MartRow]]:
        """Yield all rows of `mart` in the order of its key, some thousand at a time, from one snapshot."""
        refuse_unknown(mart, "bigquery")
        query, values = statements.rows_query(self.names, mart, (), limit=None, offset=0)
        result = self._retry(lambda: self._jobs().query(query, *values))
        for page in result.pages:
            yield [row.values() for row in page]

    def explain(self, error: Exception) -> str:
        """Return what is wrong and what to do."""
        return google_errors.explain(error, f"BigQuery dataset {self.names.tables.project}.{self.names.dataset}")

    def _retry[T](self, attempt: Callable[[], T]) -> T:
        return retry_transient(
            attempt,
            is_transient=self.store.is_transient,
            explain=self.explain,
            budget=Budget(seconds=self.store.retry_seconds),
        )

    def _jobs(self) -> Jobs:
        return Jobs(self._client, self._no_retry, self.store.maximum_bytes_billed)

    @property
    def _client(self) -> bigquery.Client:
        return self.store.clients.bigquery

    @property
    def _no_retry(self) -> dict[str, Any]:
        return self.store.clients.no_retry

    def _fetch(self, query: str, *values: bigquery.ScalarQueryParameter) -> list[MartRow]:
        return [row.values() for row in self._jobs().query(query, *values)]

    def _version(self, mart: Mart) -> MartVersion | None:
        rows = self._fetch(
            statements.version_query(self.names), bigquery.ScalarQueryParameter("mart", "STRING", mart.name)
        )
        return MartVersion.of_row(rows[0]) if rows else None

    def _ensure(self) -> str:
        """Create or update what all marts need, and return the query of the view."""
        # Loading no file creates the tables of the store, so that the view has something to select from.
        self.store.load([], "")
        query = statements.view_query(self.names, self.store.inexact_columns())
        view = self._find(CURRENT)
        if view is None:
            self._ensure_dataset()
        elif view.table_type != "VIEW":
            raise StoreError(self._not_ours(CURRENT))
        if view is None or view.description != statements.view_mark(query):
            self._jobs().query(statements.create_view(self.names, query))
        self._get_or_create(VERSIONS, statements.VERSION_COLUMNS, {})
        return query

    def _ensure_mart(self, mart: Mart) -> bigquery.Table:
        layout: dict[str, Any] = {"description": mart.description, "clustering": {"fields": list(mart.key)}}
        if mart.partition_key:
            kind = self.store.partition_by.upper()
            layout["timePartitioning"] = {"type": kind, "field": mart.partition_key}
        return self._get_or_create(mart.name, mart.types("bigquery"), layout)

    def _ensure_dataset(self) -> None:
        dataset = bigquery.Dataset(f"{self.names.tables.project}.{self.names.dataset}")
        dataset.location = self.location
        try:
            self._client.get_dataset(dataset.reference, **self._no_retry)
        except NotFound:
            self._client.create_dataset(dataset, exists_ok=True, **self._no_retry)

    def _find(self, name: str) -> bigquery.Table | None:
        try:
            return self._client.get_table(self.names.id_of(name), **self._no_retry)
        except NotFound:
            return None

    def _get_or_create(self, name: str, columns: Mapping[str, str], layout: Mapping[str, Any]) -> bigquery.Table:
        wanted = bigquery_tables.make_table(self.names.id_of(name), columns, {"labels": LABELS, **layout})
        table = bigquery_tables.get_or_create(self._client, wanted, self._no_retry)
        if LABELS.items() - table.labels.items():
            raise StoreError(self._not_ours(name))
        if faults := bigquery_tables.expiration_faults(table):
            raise StoreError(" ".join(faults))
        return table

    def _not_ours(self, name: str) -> str:
        return (
            f"BigQuery table {self.names.id_of(name)} was not made by the platform, which would replace its rows: "
            "delete it or rename it, or name another dataset in data_mart.dataset."
        )

    def _refresh(self, mart: Mart, *, force: bool) -> tuple[MartVersion, bool]:
        definition = statements.definition(mart, self.rules, self._ensure())
        table = self._ensure_mart(mart)
        ((state, _),) = self._fetch(statements.state_query(self.names))
        held = self._version(mart)
        # A table that is newer than its version was deleted and created again, so it is empty.
        is_there = held is not None and table.created is not None and table.created <= held.computed_at
        if held and is_there and held.version == f"{definition}-{state}" and not force:
            return held, True
        # Two refreshes that begin at once from the same state run one job.
        seen = f"{held.version} {held.computed_at.isoformat()}" if held else ""
        work_id = _digest(self.names.dataset, mart.name, definition, str(state), seen, str(table.created))
        _, values = statements.conditions(self.rules)
        self._jobs().run_script(
            f"txn_mart_{work_id}",
            statements.refresh_script(self.names, mart, self.rules, work_id),
            bigquery.ScalarQueryParameter("mart", "STRING", mart.name),
            bigquery.ScalarQueryParameter("definition", "STRING", definition),
            *values,
        )
        version = self._version(mart)
        assert version is not None
        return version, False


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]
