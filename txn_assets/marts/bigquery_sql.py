"""Build the SQL of the marts in BigQuery, in functions that return text, so that tests can read it.

The functions quote names; the caller binds values. `postgres_sql.py` has the same functions for the other engine.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from google.cloud import bigquery

from txn_assets.marts.mart import COLUMN_TYPES, CURRENT, VERSIONS, Between, Mart, Rules
from txn_assets.rows.fingerprint import BIGQUERY
from txn_assets.stores.bigquery.sql import Tables

_SOURCE = ("source_file", "source_row", "generation")
_SALE = {"transaction_id": "STRING", "product": "STRING", "price": "NUMERIC", "quantity": "INT64", "date": "DATE"}

VERSION_COLUMNS = {
    "mart": "STRING",
    "version": "STRING",
    "computed_at": "TIMESTAMP",
    "files": "INT64",
    "row_count": "INT64",
    "ledger_rows": "INT64",
    "ledger_quantity": "NUMERIC",
    "unrecorded": "INT64",
    "unrecorded_quantity": "NUMERIC",
    "superseded": "INT64",
    "superseded_quantity": "NUMERIC",
    "excluded": "INT64",
    "excluded_quantity": "NUMERIC",
}
"""The columns of `mart_versions`, in the order of the attributes of `MartVersion`."""

_TOTAL_QUANTITY = "COALESCE(SUM(CAST(quantity AS NUMERIC)), 0)"
_AMOUNT = "CAST(price AS BIGNUMERIC) * quantity"

_DOUBLED = "(SUM(price) * 20000 + COUNT(price))"
_TWICE = "NULLIF(CAST(2 * COUNT(price) AS NUMERIC), 0)"

_VALUES = {
    "sale_date": "date",
    "sale_month": "DATE_TRUNC(date, MONTH)",
    "amount": _AMOUNT,
    "transaction_count": "COUNT(*)",
    "total_quantity": _TOTAL_QUANTITY,
    "total_amount": f"COALESCE(SUM({_AMOUNT}), 0)",
    # In whole numbers of the last decimal, because `/` rounds first and ROUND then rounds again.
    "avg_price": f"({_DOUBLED} - MOD({_DOUBLED}, {_TWICE})) / {_TWICE} * NUMERIC '0.0001'",
    "first_sale": "MIN(date)",
    "last_sale": "MAX(date)",
}
"""The SQL of the columns that are not columns of `transactions_current`."""

_ANY_DATE = "(date BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' OR date IS NULL)"
"""The condition for every row, in a form that satisfies a required partition filter."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where the marts are: a dataset of their own, next to the table that they are built from."""

    dataset: str
    tables: Tables

    def id_of(self, name: str) -> str:
        """Return the ID of a table or view of the marts."""
        return f"{self.tables.project}.{self.dataset}.{name}"

    def quoted(self, name: str) -> str:
        """Return the quoted ID of a table or view of the marts."""
        return f"`{self.id_of(name)}`"

    @property
    def current(self) -> str:
        """The quoted view `transactions_current`."""
        return self.quoted(CURRENT)

    @property
    def versions(self) -> str:
        """The quoted table `mart_versions`."""
        return self.quoted(VERSIONS)


def view_query(names: Names, inexact: Collection[str]) -> str:
    """Return the query of the view `transactions_current`.

    Of the rows with one id, the one of the newest generation counts, then the later row; the other columns make the
    order total. Rows without an id are transactions of their own. Columns in `inexact` are binary floating-point
    numbers.
    """
    values = ", ".join(
        f"{f'ROUND(CAST({name} AS {kind}), 4)' if name in inexact else f'CAST({name} AS {kind})'} AS {name}"
        for name, kind in _SALE.items()
    )
    return (
        f"SELECT {', '.join((*_SALE, *_SOURCE))} FROM ("  # noqa: S608 - quoted names
        f"SELECT {values}, source_file, source_row, generation, ROW_NUMBER() OVER ("
        "PARTITION BY transaction_id ORDER BY generation DESC NULLS LAST, source_row DESC NULLS LAST, "
        "source_file DESC NULLS LAST, date DESC NULLS FIRST, product DESC NULLS FIRST, price DESC NULLS FIRST, "
        f"quantity DESC NULLS FIRST) AS place FROM {names.tables.data} LEFT JOIN "
        f"(SELECT source_file, MAX(generation) AS generation FROM {names.tables.ledger} GROUP BY source_file) AS held "
        f"USING (source_file) WHERE {_ANY_DATE}) AS ranked WHERE transaction_id IS NULL OR place = 1"
    )


def create_view(names: Names, query: str) -> str:
    """Return the statement that creates or replaces the view with `query`."""
    return f"CREATE OR REPLACE VIEW {names.current} OPTIONS (description = '{view_mark(query)}') AS {query}"


def view_mark(query: str) -> str:
    """Return the description of the view with `query`. It tells whether a view is up to date."""
    return f"One row for each transaction. Made by txn_assets, definition {_digest(query)}"


def state_query(names: Names) -> str:
    """Return the query for a number that changes with every load and erasure, and one for the versions of the files."""
    version = "source_file, '@', CAST(generation AS STRING), '/', "
    state = _number(f"{version}COALESCE(run_id, ''), '/', COALESCE(CAST(row_count AS STRING), '')")
    files = _number(f"{version}COALESCE(rules_id, ''), '/', COALESCE(key_id, '')")
    return f"SELECT {state} AS state, {files} AS files FROM ({_newest(names)}) AS newest"  # noqa: S608 - quoted names


def _number(parts: str) -> str:
    return f"COALESCE({BIGQUERY.total.format(BIGQUERY.number.format(f'CONCAT({parts})'))}, 0)"


def _newest(names: Names) -> str:
    return (
        f"SELECT * FROM {names.tables.ledger} WHERE source_file != '' "  # noqa: S608 - quoted names
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY source_file ORDER BY generation DESC) = 1"
    )


def select(mart: Mart, relation: str) -> str:
    """Return the query for the rows of `mart` from `relation`, which is a table or a condition on one."""
    values = ", ".join(_VALUES.get(name, name) for name in mart.columns)
    groups = f" GROUP BY {', '.join(_VALUES.get(name, name) for name in mart.key)}" if mart.is_grouped else ""
    return f"SELECT {values} FROM {relation}{groups}"  # noqa: S608 - names of columns


def conditions(rules: Rules) -> tuple[str, list[bigquery.ScalarQueryParameter]]:
    """Return the condition for the transactions that count, with the values to bind."""
    parts = {
        "min_price": ("price >= @min_price", "NUMERIC"),
        # A number in the text, because the embedded server does not take a parameter here.
        "max_decimals": (f"price = ROUND(price, {rules.max_decimals})", "INT64"),
        "max_quantity": ("quantity <= @max_quantity", "INT64"),
        "product_prefix": ("STARTS_WITH(product, @product_prefix)", "STRING"),
        "min_date": ("date >= @min_date", "DATE"),
        "max_date": ("date <= @max_date", "DATE"),
    }
    bound = {name: getattr(rules, name) for name in parts if getattr(rules, name) is not None}
    condition = " AND ".join(f"({parts[name][0]}) IS NOT FALSE" for name in bound) or "TRUE"
    return condition, [
        bigquery.ScalarQueryParameter(name, parts[name][1], value)
        for name, value in bound.items()
        if f"@{name}" in condition
    ]


def definition(mart: Mart, rules: Rules, view: str) -> str:
    """Return an id of how `mart` is computed, so that a mart that was computed otherwise is computed again."""
    return _digest("\n".join([select(mart, "kept"), repr(rules), view]))


def refresh_script(names: Names, mart: Mart, rules: Rules, work_id: str) -> str:
    """Return the transaction that replaces the rows of `mart` and its row of `mart_versions`, all or nothing.

    Binds @mart and @definition, and the values of `conditions`. All statements of a transaction read one snapshot, and
    two transactions that change one table at once conflict, so that one of them fails
    (https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency). A transaction allows DDL for
    temporary tables only.
    """
    condition, _ = conditions(rules)
    current = f"_txn_current_{work_id}"
    found = (
        f"SELECT COUNT(*) AS row_count, {_TOTAL_QUANTITY} AS quantity, COUNTIF(counts) AS counted, "  # noqa: S608 - quoted names
        f"COALESCE(SUM(IF(counts, CAST(quantity AS NUMERIC), 0)), 0) AS counted_quantity FROM {current}"
    )
    raw = (
        f"SELECT COUNT(*) AS row_count, {_TOTAL_QUANTITY} AS quantity, COUNTIF(source_file IS NULL) AS unrecorded, "  # noqa: S608 - quoted names
        "COALESCE(SUM(IF(source_file IS NULL, CAST(quantity AS NUMERIC), 0)), 0) AS unrecorded_quantity "
        f"FROM {names.tables.data} WHERE {_ANY_DATE}"
    )
    held = (
        "SELECT COALESCE(SUM(row_count), 0) AS row_count, COALESCE(SUM(sum_quantity), 0) AS quantity "  # noqa: S608 - quoted names
        f"FROM ({_newest(names)}) AS newest"
    )
    noted = (
        "@mart, CONCAT(@definition, '-', CAST(state.state AS STRING)), CURRENT_TIMESTAMP(), state.files, "
        "mart.row_count, held.row_count, held.quantity, raw.unrecorded, raw.unrecorded_quantity, "
        "raw.row_count - found.row_count, raw.quantity - found.quantity, "
        "found.row_count - found.counted, found.quantity - found.counted_quantity"
    )
    steps = [
        "BEGIN TRANSACTION",
        f"CREATE TEMP TABLE {current} AS SELECT {', '.join(mart.used)}, {condition} AS counts FROM {names.current}",  # noqa: S608 - quoted names
        f"DELETE FROM {names.quoted(mart.name)} WHERE TRUE",  # noqa: S608 - quoted names
        f"INSERT INTO {names.quoted(mart.name)} ({', '.join(mart.columns)}) {select(mart, f'{current} WHERE counts')}",
        f"DELETE FROM {names.versions} WHERE mart = @mart",  # noqa: S608 - quoted names
        f"INSERT INTO {names.versions} ({', '.join(VERSION_COLUMNS)}) SELECT {noted} FROM ({state_query(names)}) AS "  # noqa: S608 - quoted names
        f"state CROSS JOIN (SELECT COUNT(*) AS row_count FROM {names.quoted(mart.name)}) AS mart "
        f"CROSS JOIN ({found}) AS found CROSS JOIN ({raw}) AS raw CROSS JOIN ({held}) AS held",
        "COMMIT TRANSACTION",
    ]
    return ";\n".join(steps) + ";"


def version_query(names: Names) -> str:
    """Return the query for the version of @mart."""
    return f"SELECT {', '.join(VERSION_COLUMNS)} FROM {names.versions} WHERE mart = @mart"  # noqa: S608 - quoted names


def totals_query(names: Names, mart: Mart) -> str:
    """Return the query for the totals of `mart`, in the order of the attributes of `MartTotals`."""
    transactions = "COALESCE(SUM(transaction_count), 0)" if mart.is_grouped else "COUNT(*)"
    quantity = next(
        (
            f"COALESCE(SUM(CAST({name} AS NUMERIC)), 0)"
            for name in ("total_quantity", "quantity")
            if name in mart.columns
        ),
        "NULL",
    )
    amount = f"COALESCE(SUM({'total_amount' if mart.is_grouped else 'amount'}), 0)"
    return f"SELECT COUNT(*), {transactions}, {quantity}, {amount} FROM {names.quoted(mart.name)}"  # noqa: S608 - quoted names


def rows_query(
    names: Names, mart: Mart, filters: Sequence[Between], *, limit: int | None, offset: int
) -> tuple[str, list[bigquery.ScalarQueryParameter]]:
    """Return the query for rows of `mart` in the order of its key, and the values to bind."""
    types = mart.types("bigquery")
    bounds = [
        (
            f"{one.column} {sign} @bound_{place}_{end}",
            bigquery.ScalarQueryParameter(f"bound_{place}_{end}", types[one.column], value),
        )
        for place, one in enumerate(filters)
        for end, sign, value in (("first", ">=", one.first), ("last", "<=", one.last))
        if value is not None
    ]
    where = f" WHERE {' AND '.join(part for part, _ in bounds)}" if bounds else ""
    page = f" LIMIT {limit} OFFSET {offset}" if limit is not None else ""
    order = ", ".join(f"{name} NULLS LAST" for name in mart.key)
    query = f"SELECT {', '.join(mart.columns)} FROM {names.quoted(mart.name)}{where} ORDER BY {order}{page}"  # noqa: S608 - quoted names
    return query, [value for _, value in bounds]


def sums_query(names: Names, mart: Mart, *, limit: int) -> str:
    """Return the query for the amounts by the first column of the key: the largest of names, or the latest of days."""
    label = mart.key[0]
    order = "total" if COLUMN_TYPES[label].is_text else label
    return (
        f"SELECT {label}, sum({mart.measure}) AS total FROM {names.quoted(mart.name)} WHERE {label} IS NOT NULL "  # noqa: S608 - quoted names
        f"GROUP BY {label} ORDER BY {order} DESC LIMIT {limit}"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
