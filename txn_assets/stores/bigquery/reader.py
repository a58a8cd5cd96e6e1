"""Read the ledger and the data table of the BigQuery store.

`sql.py` has the queries, and `store.py` decides what to read.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud import bigquery

from txn_assets.files.ledger import Holding, LoadRecord, Totals, read_holdings
from txn_assets.stores.bigquery import sql as statements
from txn_assets.stores.bigquery import tables as bigquery_tables
from txn_assets.stores.bigquery.jobs import Jobs
from txn_assets.stores.bigquery.sql import Tables
from txn_assets.stores.partition_keys import key_bounds


@dataclass(frozen=True)
class Reader:
    """Reads the tables of a feed.

    Attributes:
        data: the data table, as the API describes it.
    """

    jobs: Jobs
    tables: Tables
    data: bigquery.Table

    @property
    def types(self) -> dict[str, str]:
        """The type of each column of the data table."""
        return bigquery_tables.column_types(self.data)

    @property
    def inexact(self) -> list[str]:
        """The columns of decimals that the data table stores as binary floating-point numbers."""
        return statements.inexact_columns(self.tables, self.types)

    def ledger(self, names: Sequence[str]) -> tuple[dict[str, LoadRecord], LoadRecord]:
        """Return the newest ledger row of each file, and the lock row, which names no file; create it if missing."""
        query, parameter = statements.held_query(self.tables), names_parameter(["", *names])
        found = by_name(self.jobs.query(query, parameter))
        if "" not in found:
            # Check every time: a killed run may have created the ledger without its lock row.
            begin = statements.begin_ledger_statement(self.tables)
            found = by_name(self.jobs.query(f"{begin};\n{query};", parameter))
        lock = found.pop("")
        return found, lock

    def totals(
        self, names: Sequence[str], records: Iterable[LoadRecord], *, has_fingerprint: bool = True
    ) -> dict[str, Totals]:
        """Return the totals of the files in `names`, within the days that `records` span."""
        if not names:
            return {}
        query = statements.totals_query(self.tables, is_exact=not self.inexact, has_fingerprint=has_fingerprint)
        rows = self.jobs.query(query, names_parameter(names), *self.bounds(records))
        summed = self.tables.contract.summed
        return {name: Totals.of_row(totals, summed) for name, *totals in (row.values() for row in rows)}

    def holdings(self, records: Sequence[LoadRecord], run_id: str, *, is_proven: bool) -> dict[str, Holding]:
        """Return what the store has for the files of `records`, which say on which days their rows should be.

        One query is enough if no row of theirs is on another day, and if the run `run_id` has loaded all of them or,
        as `is_proven` says, not all of them.
        """
        names = [record.file.name for record in records]
        query = statements.holdings_query(self.tables, is_exact=not self.inexact, has_fingerprint=not is_proven)
        rows = list(self.jobs.query(query, names_parameter(names), *self.bounds(records)))
        held = by_name(rows)
        found = {name: totals for row in rows for name, totals in self._found(row)}
        everywhere = [*records, *held.values()]
        is_whole = self.bounds(everywhere) == self.bounds(records)

        def read_totals(of: Sequence[str], *, has_fingerprint: bool = True) -> Mapping[str, Totals]:
            if is_whole and not (is_proven and has_fingerprint):
                return {name: found[name] for name in of if name in found}
            return self.totals(of, everywhere, has_fingerprint=has_fingerprint)

        return read_holdings(names, held, run_id, read_totals)

    def _found(self, row: bigquery.Row) -> Iterable[tuple[str, Totals]]:
        """Yield the file of a row of `holdings_query` with the totals of its rows, if it has any."""
        values = [row[f"{statements.FOUND_PREFIX}{name}"] for name in statements.total_columns(self.tables)]
        if values[0] is not None:
            yield row["source_file"], Totals.of_row(values, self.tables.contract.summed)

    def bounds(
        self, records: Iterable[LoadRecord], keys: Iterable[dt.date] = ()
    ) -> list[bigquery.ScalarQueryParameter]:
        """Return the bounds of the days of `records` and `keys` as parameters, or null if there is no day."""
        if not self._is_partitioned_by_key:
            return self.keys(dt.date.min, dt.date.max)
        days = [day for record in records for day in (record.totals.min_date, record.totals.max_date) if day]
        days += [key.date() if isinstance(key, dt.datetime) else key for key in keys]
        return self.keys(min(days, default=None), max(days, default=None))

    @property
    def _is_partitioned_by_key(self) -> bool:
        """Whether the table is partitioned by the partition key of the feed, so that bounds save something.

        If it is not, the days in the ledger may be those of an earlier partition key, so they cannot be used as bounds.
        """
        key, partitioning = self.tables.contract.partition_key, self.data.time_partitioning
        if key is None or partitioning is None or partitioning.field is None:
            return False
        return bool(partitioning.field.casefold() == key)

    def keys(self, first: dt.date | None, last: dt.date | None) -> list[bigquery.ScalarQueryParameter]:
        """Return the bounds from `first` to `last` as parameters; none if the feed has no partition key."""
        kind = self.tables.partition_type
        if kind is None:
            return []
        bounds = zip(("first_key", "last_key"), key_bounds(self.tables.contract, first, last), strict=True)
        return [bigquery.ScalarQueryParameter(name, kind, value) for name, value in bounds]


def names_parameter(names: Sequence[str]) -> bigquery.ArrayQueryParameter:
    """Return the parameter @names."""
    return bigquery.ArrayQueryParameter("names", "STRING", list(names))


def by_name(rows: Iterable[Any]) -> dict[str, LoadRecord]:
    """Return the ledger rows by the name of their file."""
    records = [LoadRecord.from_row(row) for row in rows]
    return {record.file.name: record for record in records}
