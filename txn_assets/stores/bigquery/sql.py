"""Build the SQL of the BigQuery sink, in functions that return text, so that tests can read it.

The functions quote names; the caller binds values. If the feed has a partition key, every statement on the data table
has bounds on it, because the bytes read would otherwise grow with the table, and because a table may require such a
filter. The bounds compare the column itself with constants: BigQuery does not prune partitions by an expression over
the column (https://cloud.google.com/bigquery/docs/querying-partitioned-tables).
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from txn_assets.feeds.feed import Feed
from txn_assets.files.ledger import FLOAT_TOLERANCE
from txn_assets.files.ledger_columns import CHANGE_COLUMNS, DETAIL_COLUMNS, SUM_PREFIX
from txn_assets.rows.contract import RowContract
from txn_assets.rows.fingerprint import BIGQUERY, select_days, select_fingerprint, select_totals
from txn_assets.rows.kinds import DecimalKind
from txn_assets.stores.bigquery.failures import LEDGER_CHANGED, WRONG_ROWS
from txn_assets.stores.ledger_columns import ledger_columns
from txn_assets.stores.partition_keys import key_bounds

STAGED_REJECTS = {
    "source_file": "STRING",
    "generation": "INT64",
    "source_row": "INT64",
    "field": "STRING",
    "code": "STRING",
}
"""The columns of staged rejects with their types; see `rejects.REJECTS`."""

BOUND_REJECTS = "UNNEST(@rejects)"
"""A few reasons as a query parameter, which saves a load job."""

REJECTS_COLUMNS = STAGED_REJECTS | {"run_id": "STRING", "noted_at": "TIMESTAMP"}
"""The columns of the table of rejects with their types."""

_EMPTY = {"STRING": "''", "INT64": "0", "DATE": "CAST(NULL AS DATE)", "TIMESTAMP": "CURRENT_TIMESTAMP()"}
"""Values of a ledger row for a file that no load has recorded."""

FOUND_PREFIX = "found_"
"""What the columns of `holdings_query` begin with that have totals of the rows in the table."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The data table of a feed, its ledger, and its table of rejects."""

    project: str
    dataset: str
    feed: Feed

    @property
    def name(self) -> str:
        """The name of the data table."""
        return self.feed.bigquery_table

    @property
    def contract(self) -> RowContract:
        """What a row is."""
        return self.feed.contract

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the data table with their types."""
        return {name: kind.bigquery for name, kind in self.contract.table_columns.items()}

    @property
    def load_columns(self) -> dict[str, str]:
        """The columns of a load table with their types."""
        return {name: kind.bigquery for name, kind in self.contract.staged_columns.items()}

    @property
    def ledger_columns(self) -> dict[str, str]:
        """The columns of the ledger with their types."""
        columns = {column.name: column.kind.bigquery for column in ledger_columns(self.contract)}
        return columns | dict.fromkeys(CHANGE_COLUMNS, "INT64") | {"loaded_at": "TIMESTAMP"}

    @property
    def partition_type(self) -> str | None:
        """The type of the partition key, DATE or TIMESTAMP; None without a partition key."""
        key = self.contract.partition_key
        return self.columns[key] if key else None

    @property
    def data_id(self) -> str:
        """The ID of the data table."""
        return self.id_of(self.name)

    @property
    def ledger_id(self) -> str:
        """The ID of the ledger, `<table>_loads`."""
        return self.id_of(f"{self.name}_loads")

    @property
    def rejects_name(self) -> str:
        """The name of the table of rejects, `<table>_rejects`."""
        return f"{self.name}_rejects"

    @property
    def rejects_id(self) -> str:
        """The ID of the table of rejects, `<table>_rejects`."""
        return self.id_of(self.rejects_name)

    @property
    def data(self) -> str:
        """The quoted ID of the data table."""
        return self.quoted(self.name)

    @property
    def ledger(self) -> str:
        """The quoted ID of the ledger."""
        return self.quoted(f"{self.name}_loads")

    @property
    def rejects(self) -> str:
        """The quoted ID of the table of rejects."""
        return self.quoted(self.rejects_name)

    @property
    def erasures(self) -> str:
        """The quoted ID of the table of erasures, `<table>_erasures`."""
        return self.quoted(f"{self.name}_erasures")

    def id_of(self, table: str) -> str:
        """Return the ID of a table in the dataset."""
        return f"{self.project}.{self.dataset}.{table}"

    def quoted(self, table: str) -> str:
        """Return the quoted ID of a table in the dataset; the configuration does not allow quotes in names."""
        return f"`{self.id_of(table)}`"


def held_query(tables: Tables, columns: Iterable[str] | None = None) -> str:
    """Return the query for the newest ledger row of each file in @names; `columns` limits it to those that exist."""
    return (
        f"SELECT {', '.join(columns or tables.ledger_columns)} FROM {tables.ledger} "  # noqa: S608 - quoted names
        "WHERE source_file IN UNNEST(@names) "
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY source_file ORDER BY generation DESC) = 1"
    )


def holdings_query(tables: Tables, *, is_exact: bool, has_fingerprint: bool) -> str:
    """Return the query for the newest ledger row of each file in @names, and its totals in the table as `found_...`.

    Binds @first_key and @last_key, too; see `totals_query`.
    """
    totals = totals_query(tables, is_exact=is_exact, has_fingerprint=has_fingerprint)
    found = ", ".join(f"t.{name} AS {FOUND_PREFIX}{name}" for name in total_columns(tables))
    return (
        f"SELECT l.*, {found} FROM ({held_query(tables)}) AS l "  # noqa: S608 - quoted names
        f"LEFT JOIN ({totals}) AS t ON t.source_file = l.source_file"
    )


def recent_query(tables: Tables, columns: Iterable[str]) -> str:
    """Return the query for `columns` of the last @limit rows of the ledger, newest first, without the lock row."""
    return (
        f"SELECT {', '.join(columns)} FROM {tables.ledger} WHERE source_file != '' "  # noqa: S608 - quoted names
        "ORDER BY loaded_at DESC, source_file LIMIT @limit"
    )


def versions_query(tables: Tables) -> str:
    """Return the query for the newest version of each file in the ledger, with its rules, key and rows."""
    return (
        f"SELECT source_file, generation, rules_id, key_id, row_count FROM {tables.ledger} WHERE source_file != '' "  # noqa: S608 - quoted names
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY source_file ORDER BY generation DESC) = 1"
    )


def within(tables: Tables) -> str:
    """Return the condition for rows between @first_key and @last_key, to append to another condition.

    Rows without a partition key are in a partition of their own. If the feed has no partition key, there is no
    condition.
    """
    return _between(tables, "@first_key", "@last_key")


def any_key(tables: Tables) -> str:
    """Return the condition for every row, in a form that satisfies a required filter."""
    first, last = (
        f"{tables.partition_type} '{bound}'" for bound in key_bounds(tables.contract, dt.date.min, dt.date.max)
    )
    return _between(tables, first, last)


def _between(tables: Tables, first: str, last: str) -> str:
    key = tables.contract.partition_key
    return f" AND (`{key}` BETWEEN {first} AND {last} OR `{key}` IS NULL)" if key else ""


def totals_query(tables: Tables, *, is_exact: bool, names: str = "@names", has_fingerprint: bool = True) -> str:
    """Return the query for the totals of each file in `names`; binds @names, @first_key and @last_key.

    See `select_fingerprint` for `is_exact`. Without `has_fingerprint`, the fingerprint is null and the query reads no
    text column.
    """
    contract = tables.contract
    fingerprint = select_fingerprint(BIGQUERY, contract, is_exact=is_exact) if has_fingerprint else "NULL"
    values = [*select_totals(BIGQUERY, contract), fingerprint]
    totals = ", ".join(f"{value} AS {name}" for value, name in zip(values, total_columns(tables), strict=True))
    return (
        f"SELECT source_file, {totals} FROM {tables.data} "  # noqa: S608 - quoted names
        f"WHERE source_file IN UNNEST({names}){within(tables)} GROUP BY source_file"
    )


def total_columns(tables: Tables) -> list[str]:
    """Return the columns of the ledger that have totals, in the order of `Totals.of_row`."""
    return [column.name for column in ledger_columns(tables.contract) if column.is_total]


def rows_query(tables: Tables) -> str:
    """Return the query for the rows of the files in @names; binds @names, @first_key and @last_key."""
    return (
        f"SELECT {_names(tables.columns)} FROM {tables.data} WHERE source_file IN UNNEST(@names){within(tables)} "  # noqa: S608 - quoted names
        "ORDER BY source_file, source_row"
    )


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in columns)


def begin_ledger_statement(tables: Tables) -> str:
    """Return the statement that adds the lock row to a new ledger, and a row for each file already in the data table.

    Every load updates the lock row, which names no file, so that two loads at once conflict. The data table already has
    files if the ledger was lost, for example in a partial restore. The next load of such a file must find the rows and
    replace them. The other columns of these ledger rows stay null. This is the only statement that reads the
    whole table, and it runs once per ledger; if it is repeated, it adds nothing.
    """
    columns = tables.ledger_columns.items()
    unknown = ("fingerprint", *CHANGE_COLUMNS, *DETAIL_COLUMNS)
    empty = {name: _EMPTY[kind] for name, kind in columns if kind in _EMPTY and name not in unknown}
    lock = empty | {"run_id": "'lock'"}
    first, last = select_days(BIGQUERY, tables.contract)
    lost = empty | {"source_file": "source_file", "run_id": "'ledger lost'"}
    lost |= {"row_count": "COUNT(*)", "min_date": first, "max_date": last}
    rows = (
        f"SELECT {', '.join(f'{value} AS {name}' for name, value in lock.items())} "  # noqa: S608 - quoted names
        f"UNION ALL SELECT {', '.join(lost.values())} FROM {tables.data} "
        f"WHERE source_file IS NOT NULL{any_key(tables)} GROUP BY source_file"
    )
    return (
        f"INSERT INTO {tables.ledger} ({', '.join(empty)}) SELECT {', '.join(empty)} FROM ({rows}) "  # noqa: S608 - quoted names
        f"WHERE NOT EXISTS (SELECT 1 FROM {tables.ledger} WHERE source_file = '')"
    )


def replace_script(
    tables: Tables,
    load_table: str | None,
    types: Mapping[str, str],
    *,
    compares: bool = False,
    rejects: str | None = None,
) -> str:
    """Return the transaction that replaces files and writes their ledger rows, all or nothing.

    Binds @incoming (the ledger rows, each with the generation and run that the caller last read), @known (the newest
    erasure request that the files were checked for, see `bigquery_erasure.note_script`), @load_seconds (how
    long the load has taken before the script), @view (what the lock row says about the view `file_status`, see
    `view.mark`), @replaced (the files of `load_table`, including those that are not in
    the ledger), and @first_key and @last_key (the bounds of the partition keys in old and new rows). Without
    `load_table`, only the ledger rows are written. If the script `compares` rows, it also binds @compared, the files
    whose ledger row says what changed; see `changes_query`. With `rejects`, it also notes why rows were rejected, and
    binds @run_id: `rejects` is the quoted ID of a load table, or `BOUND_REJECTS`, which binds @rejects.

    A transaction allows SELECT, DML and temporary tables, but not ASSERT
    (https://cloud.google.com/bigquery/docs/transactions#statements_supported_in_transactions). Instead, a SELECT that
    raises an error ends the script, and BigQuery rolls back.
    """
    names = [column.name for column in ledger_columns(tables.contract)]
    steps = [
        "BEGIN TRANSACTION",
        # BigQuery runs insert-only transactions in parallel. Updating this row makes any two loads conflict.
        f"UPDATE {tables.ledger} SET loaded_at = CURRENT_TIMESTAMP(), rules_id = @view WHERE source_file = ''",  # noqa: S608 - quoted names
        f"SELECT IF(EXISTS (SELECT 1 FROM {tables.ledger} AS l JOIN UNNEST(@incoming) AS i "  # noqa: S608 - quoted names
        "ON l.source_file = i.source_file WHERE l.generation > i.seen_generation "
        "OR (l.generation = i.seen_generation AND l.run_id != i.seen_run_id)) OR EXISTS (SELECT 1 "
        f"FROM {tables.ledger} WHERE source_file = '' AND erased > @known), ERROR('{LEDGER_CHANGED}'), TRUE)",
    ]
    if load_table is not None:
        if compares:
            steps.append(f"CREATE TEMP TABLE {load_table}_changes AS {changes_query(tables, load_table, types)}")
        columns = tables.columns
        values = ", ".join(f"CAST(`{name}` AS {types.get(name, kind)})" for name, kind in columns.items())
        steps += [
            f"DELETE FROM {tables.data} WHERE source_file IN UNNEST(@replaced){within(tables)}",  # noqa: S608 - quoted names
            f"INSERT INTO {tables.data} ({_names(columns)}) SELECT {values} FROM {tables.quoted(load_table)}",  # noqa: S608 - quoted names
        ]
    if rejects is not None:
        staged = ", ".join(f"r.{name}" for name in STAGED_REJECTS)
        steps.append(
            f"INSERT INTO {tables.rejects} ({', '.join(REJECTS_COLUMNS)}) "  # noqa: S608 - quoted names
            f"SELECT {staged}, @run_id, CURRENT_TIMESTAMP() FROM {rejects} AS r"
        )
    inexact = inexact_columns(tables, types)
    totals, fingerprint = _verification(tables, inexact) if load_table else ("", "i.fingerprint")
    noted = [{"fingerprint": fingerprint, **_OF_JOB}.get(name, f"i.{name}") for name in names]
    if compares:
        names += CHANGE_COLUMNS
        noted += [f"c.{name}" for name in CHANGE_COLUMNS]
        totals += f" LEFT JOIN {load_table}_changes AS c ON c.source_file = i.source_file"
    steps += [
        f"DELETE FROM {tables.ledger} AS l WHERE EXISTS (SELECT 1 FROM UNNEST(@incoming) AS i "  # noqa: S608 - quoted names
        # Delete larger generations too: the largest in the ledger counts as held, but the live one may be smaller.
        "WHERE i.source_file = l.source_file AND i.generation <= l.generation)",
        f"INSERT INTO {tables.ledger} ({', '.join(names)}, loaded_at) "  # noqa: S608 - quoted names
        f"SELECT {', '.join(noted)}, CURRENT_TIMESTAMP() FROM UNNEST(@incoming) AS i{totals}",
        "COMMIT TRANSACTION",
    ]
    return ";\n".join(steps) + ";"


def changes_query(tables: Tables, load_table: str, types: Mapping[str, str]) -> str:
    """Return the query for what the rows of `load_table` change in each file in @compared; see `ledger.Changes`.

    Binds @first_key and @last_key, too. Both sides have the types of the table, so equal values have equal texts. Ids
    that a file has more than once are compared together.
    """
    key = f"CAST(`{tables.contract.row_id}` AS STRING)" if tables.contract.row_id else "CAST(NULL AS STRING)"
    values = {name: f"CAST(`{name}` AS {types.get(name, kind)})" for name, kind in tables.columns.items()}
    texts = [
        part
        for name in tables.contract.names
        for part in ([f"CHAR_LENGTH({values[name]})"] if tables.columns[name] == "STRING" else []) + [values[name]]
    ]
    number = BIGQUERY.number.format(f"CONCAT({", '|', ".join(map(BIGQUERY.text.format, texts))})")
    sides = [
        f"SELECT source_file, {key} AS id, {number} AS number, {is_old} AS is_old FROM {source}"  # noqa: S608 - quoted names
        f" WHERE source_file IN UNNEST(@compared){condition}"
        for source, is_old, condition in (
            (tables.data, "TRUE", within(tables)),
            (tables.quoted(load_table), "FALSE", ""),
        )
    ]
    # A row without an id is the same if its values are.
    by_id = (
        "SELECT source_file, COALESCE(id, CONCAT('#', CAST(number AS STRING))) AS id, COUNTIF(is_old) AS old_rows, "  # noqa: S608 - quoted names
        "COUNTIF(NOT is_old) AS new_rows, SUM(IF(is_old, 1, -1) * CAST(number AS NUMERIC)) AS difference "
        f"FROM ({' UNION ALL '.join(sides)}) GROUP BY 1, 2"
    )
    added, gone, changed = CHANGE_COLUMNS
    return (
        f"SELECT source_file, SUM(GREATEST(new_rows - old_rows, 0)) AS {added}, "  # noqa: S608 - quoted names
        f"SUM(GREATEST(old_rows - new_rows, 0)) AS {gone}, "
        f"SUM(IF(new_rows = old_rows AND difference != 0, new_rows, 0)) AS {changed} "
        f"FROM ({by_id}) GROUP BY source_file"
    )


def inexact_columns(tables: Tables, types: Mapping[str, str]) -> list[str]:
    """Return the columns of decimals that a table with columns of `types` stores as binary floating-point numbers."""
    return [name for name in tables.contract.of_kind(DecimalKind) if types.get(name) == "FLOAT64"]


_LOAD_SECONDS = (
    "ROUND(@load_seconds + GREATEST(TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), CAST(@@script.creation_time AS TIMESTAMP), "
    "MILLISECOND), 0) / 1000, 3)"
)

_OF_JOB = {
    "stage_seconds": f"""REPLACE(i.stage_seconds, '}}', CONCAT(', "load": ', CAST({_LOAD_SECONDS} AS STRING), '}}'))""",
    "job_id": "@@script.job_id",
    "bytes_billed": "@@script.bytes_billed",
}
"""Columns of the ledger that the transaction itself knows:
https://cloud.google.com/bigquery/docs/reference/system-variables"""


def _verification(tables: Tables, inexact: Collection[str]) -> tuple[str, str]:
    """Return a join for the ledger row `i`, and its fingerprint as an expression that fails if the rows differ.

    The check is part of the INSERT, because the embedded server runs a separate SELECT with parameters twice.
    """
    rounded = [f"{SUM_PREFIX}{name}" for name in inexact]
    numbers = [name for name in total_columns(tables) if name not in (*rounded, "min_date", "max_date")]
    same = [f"IFNULL(t.{name}, 0) = i.{name}" for name in numbers]
    same += [f"t.{name} IS NOT DISTINCT FROM i.{name}" for name in ("min_date", "max_date")]
    same += [
        f"ABS(IFNULL(t.{name}, 0) - i.{name}) <= {FLOAT_TOLERANCE} * GREATEST(ABS(i.{name}), 1)" for name in rounded
    ]
    totals = totals_query(tables, is_exact=not inexact, names="@replaced")
    is_right = f"i.source_file NOT IN UNNEST(@replaced) OR ({' AND '.join(same)})"
    return (
        f" LEFT JOIN ({totals}) AS t ON t.source_file = i.source_file",
        f"IF({is_right}, i.fingerprint, ERROR(CONCAT('{WRONG_ROWS} [', i.source_file, ']')))",
    )
