"""Build the SQL of the BigQuery sink, in functions that return text, so that tests can read it.

The functions quote names; the caller binds values. Every statement on the data table has bounds on `date`, because the
bytes read would otherwise grow with the table, and because a table may require such a filter
(https://cloud.google.com/bigquery/docs/querying-partitioned-tables).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from txn_assets.feeds.compat import STAGED_COLUMNS, TABLE_COLUMNS, fields_of
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files import ledger
from txn_assets.rows.fingerprint import BIGQUERY, select_fingerprint
from txn_assets.rows.kinds import MoneyKind

COLUMNS = {name: kind.bigquery for name, kind in TABLE_COLUMNS.items()}

LOAD_COLUMNS = {name: kind.bigquery for name, kind in STAGED_COLUMNS.items()}

LEDGER_COLUMNS = {column.name: column.kind.bigquery for column in ledger.LEDGER_COLUMNS} | {"loaded_at": "TIMESTAMP"}

LOAD_TABLE_PREFIX = "_txn_staging_"

WITHIN = "(date BETWEEN @first_date AND @last_date OR date IS NULL)"
"""Condition for rows from @first_date to @last_date, and rows without a date, which are in a partition of their own."""

ANY_DATE = "(date BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' OR date IS NULL)"
"""Condition for every row, in a form that satisfies a required filter."""

WRONG_ROWS = "the table does not hold the rows of"
"""Error text of the transaction if the rows that it wrote differ from those of a file, whose name follows."""

_EMPTY = {"STRING": "''", "INT64": "0", "DATE": "CAST(NULL AS DATE)", "TIMESTAMP": "CURRENT_TIMESTAMP()"}
"""Values of a ledger row for a file that no load has recorded."""

LEDGER_CHANGED = "another load committed in between"
"""Error text of the transaction if the ledger has changed since the caller read it."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The data table and its ledger."""

    project: str
    dataset: str
    name: str

    @property
    def data_id(self) -> str:
        """The ID of the data table."""
        return self.id_of(self.name)

    @property
    def ledger_id(self) -> str:
        """The ID of the ledger, `<table>_loads`."""
        return self.id_of(f"{self.name}_loads")

    @property
    def data(self) -> str:
        """The quoted ID of the data table."""
        return self.quoted(self.name)

    @property
    def ledger(self) -> str:
        """The quoted ID of the ledger."""
        return self.quoted(f"{self.name}_loads")

    def id_of(self, table: str) -> str:
        """Return the ID of a table in the dataset."""
        return f"{self.project}.{self.dataset}.{table}"

    def quoted(self, table: str) -> str:
        """Return the quoted ID of a table in the dataset; the configuration does not allow quotes in names."""
        return f"`{self.id_of(table)}`"


def held_query(tables: Tables) -> str:
    """Return the query for the newest ledger row of each file in @names."""
    return (
        f"SELECT {', '.join(LEDGER_COLUMNS)} FROM {tables.ledger} WHERE source_file IN UNNEST(@names) "  # noqa: S608 - quoted names
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY source_file ORDER BY generation DESC) = 1"
    )


def generations_query(tables: Tables) -> str:
    """Return the query for the newest generation of each file in the ledger."""
    return f"SELECT source_file, MAX(generation) FROM {tables.ledger} WHERE source_file != '' GROUP BY source_file"  # noqa: S608 - quoted names


def totals_query(tables: Tables, *, is_exact: bool, names: str = "@names", has_fingerprint: bool = True) -> str:
    """Return the query for the totals of each file in `names`; binds @names, @first_date and @last_date.

    See `select_fingerprint` for `is_exact`. Without `has_fingerprint`, the fingerprint is null and the query reads no
    text column.
    """
    fingerprint = select_fingerprint(BIGQUERY, CONTRACT, is_exact=is_exact) if has_fingerprint else "NULL"
    return (
        "SELECT source_file, COUNT(*) AS row_count, SUM(price) AS sum_price, "  # noqa: S608 - quoted names
        "SUM(CAST(quantity AS NUMERIC)) AS sum_quantity, MIN(date) AS min_date, MAX(date) AS max_date, "
        f"{fingerprint} AS fingerprint FROM {tables.data} "
        f"WHERE source_file IN UNNEST({names}) AND {WITHIN} GROUP BY source_file"
    )


def rows_query(tables: Tables) -> str:
    """Return the query for the rows of the files in @names; binds @names, @first_date and @last_date."""
    return (
        f"SELECT {', '.join(COLUMNS)} FROM {tables.data} WHERE source_file IN UNNEST(@names) AND {WITHIN} "  # noqa: S608 - quoted names
        "ORDER BY source_file, source_row"
    )


def begin_ledger_statement(tables: Tables) -> str:
    """Return the statement that adds the lock row to a new ledger, and a row for each file already in the data table.

    Every load updates the lock row, which names no file, so that two loads at once conflict. The data table already has
    files if the ledger was lost, for example in a partial restore. The next load of such a file must find the rows and
    replace them. The sums and the fingerprint in these ledger rows stay null. This is the only statement that reads the
    whole table, and it runs once per ledger.
    """
    empty = {name: _EMPTY[kind] for name, kind in LEDGER_COLUMNS.items() if kind in _EMPTY and name != "fingerprint"}
    lock = empty | {"run_id": "'lock'"}
    lost = empty | {"source_file": "source_file", "run_id": "'ledger lost'"}
    lost |= {"row_count": "COUNT(*)", "min_date": "MIN(date)", "max_date": "MAX(date)"}
    return (
        f"INSERT INTO {tables.ledger} ({', '.join(empty)}) SELECT {', '.join(lock.values())} "  # noqa: S608 - quoted names
        f"UNION ALL SELECT {', '.join(lost.values())} FROM {tables.data} "
        f"WHERE source_file IS NOT NULL AND {ANY_DATE} GROUP BY source_file"
    )


def replace_script(tables: Tables, load_table: str | None, types: Mapping[str, str]) -> str:
    """Return the transaction that replaces files and writes their ledger rows, all or nothing.

    Binds @incoming (the ledger rows, each with the generation and run that the caller last read), @replaced (the files
    of `load_table`, including those that are not in the ledger), and @first_date and @last_date (the bounds of
    the dates in old and new rows). Without `load_table`, only the ledger rows are written.

    A transaction allows SELECT and DML, but not ASSERT
    (https://cloud.google.com/bigquery/docs/transactions#statements_supported_in_transactions). Instead, a SELECT that
    raises an error ends the script, and BigQuery rolls back.
    """
    names = [column.name for column in ledger.LEDGER_COLUMNS]
    steps = [
        "BEGIN TRANSACTION",
        # BigQuery runs insert-only transactions in parallel. Updating this row makes any two loads conflict.
        f"UPDATE {tables.ledger} SET loaded_at = CURRENT_TIMESTAMP() WHERE source_file = ''",  # noqa: S608 - quoted names
        f"SELECT IF(EXISTS (SELECT 1 FROM {tables.ledger} AS l JOIN UNNEST(@incoming) AS i "  # noqa: S608 - quoted names
        "ON l.source_file = i.source_file WHERE l.generation > i.seen_generation "
        f"OR (l.generation = i.seen_generation AND l.run_id != i.seen_run_id)), ERROR('{LEDGER_CHANGED}'), TRUE)",
    ]
    if load_table is not None:
        values = ", ".join(f"CAST({name} AS {types.get(name, kind)})" for name, kind in COLUMNS.items())
        steps += [
            f"DELETE FROM {tables.data} WHERE source_file IN UNNEST(@replaced) AND {WITHIN}",  # noqa: S608 - quoted names
            f"INSERT INTO {tables.data} ({', '.join(COLUMNS)}) SELECT {values} FROM {tables.quoted(load_table)}",  # noqa: S608 - quoted names
        ]
    totals, fingerprint = _verification(tables, is_exact=is_exact(types)) if load_table else ("", "i.fingerprint")
    noted = [fingerprint if name == "fingerprint" else f"i.{name}" for name in names]
    steps += [
        f"DELETE FROM {tables.ledger} AS l WHERE EXISTS (SELECT 1 FROM UNNEST(@incoming) AS i "  # noqa: S608 - quoted names
        # Delete larger generations too: the largest in the ledger counts as held, but the live one may be smaller.
        "WHERE i.source_file = l.source_file AND i.generation <= l.generation)",
        f"INSERT INTO {tables.ledger} ({', '.join(names)}, loaded_at) "  # noqa: S608 - quoted names
        f"SELECT {', '.join(noted)}, CURRENT_TIMESTAMP() FROM UNNEST(@incoming) AS i{totals}",
        "COMMIT TRANSACTION",
    ]
    return ";\n".join(steps) + ";"


def inexact_columns(types: Mapping[str, str]) -> list[str]:
    """Return the money columns that a table with columns of `types` stores as binary floating-point numbers."""
    return [name for name in fields_of(MoneyKind) if types.get(name) == "FLOAT64"]


def is_exact(types: Mapping[str, str]) -> bool:
    """Return whether a table with columns of `types` stores prices exactly."""
    return not inexact_columns(types)


def _verification(tables: Tables, *, is_exact: bool) -> tuple[str, str]:
    """Return a join for the ledger row `i`, and its fingerprint as an expression that fails if the rows differ.

    The check is part of the INSERT, because the embedded server runs a separate SELECT with parameters twice.
    """
    counts = ("row_count", "sum_quantity", "fingerprint")
    same = [f"IFNULL(t.{name}, 0) = i.{name}" for name in counts]
    same += [f"t.{name} IS NOT DISTINCT FROM i.{name}" for name in ("min_date", "max_date")]
    if is_exact:
        same.append("IFNULL(t.sum_price, 0) = i.sum_price")
    else:
        same.append(f"ABS(IFNULL(t.sum_price, 0) - i.sum_price) <= {ledger.FLOAT_TOLERANCE} * GREATEST(i.sum_price, 1)")
    totals = totals_query(tables, is_exact=is_exact, names="@replaced")
    is_right = f"i.source_file NOT IN UNNEST(@replaced) OR ({' AND '.join(same)})"
    return (
        f" LEFT JOIN ({totals}) AS t ON t.source_file = i.source_file",
        f"IF({is_right}, i.fingerprint, ERROR(CONCAT('{WRONG_ROWS} [', i.source_file, ']')))",
    )


def wrong_file(message: str) -> str | None:
    """Return the file with wrong rows that the error `message` names, or None if it names no file."""
    found = re.search(re.escape(WRONG_ROWS) + r" \[(.*?)\]", message)
    return found[1] if found else None


_CONFLICTS = re.compile(
    # BigQuery: https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency
    r"due to concurrent|"
    # The embedded server (DuckDB).
    r"failed to commit|transaction conflict|conflict on (?:update|tuple deletion)|" + re.escape(LEDGER_CHANGED),
    re.IGNORECASE,
)


def is_conflict(message: str) -> bool:
    """Return whether BigQuery aborted a transaction because of a concurrent one."""
    return _CONFLICTS.search(message) is not None


def is_lost_load_table(message: str) -> bool:
    """Return whether a load table is gone because somebody removed it or it expired."""
    text = message.lower()
    return LOAD_TABLE_PREFIX in text and "not found" in text
