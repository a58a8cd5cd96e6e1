"""Build the statements of the marts in PostgreSQL, with every identifier quoted and every value bound.

`postgres.py` decides when to issue each one. `bigquery_sql.py` has the same functions for the other engine.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from txn_assets.marts.mart import COLUMN_TYPES, CURRENT, VERSIONS, Between, Mart, Rules
from txn_assets.rows.fingerprint import POSTGRES
from txn_assets.stores.postgres.sql import Table

MARK = "Made by txn_assets"
"""What the comment of a relation begins with that the platform may replace."""

_SOURCE = ("source_file", "source_row", "generation")
_SALE = {"transaction_id": "text", "product": "text", "price": "numeric(18,4)", "quantity": "bigint", "date": "date"}

VERSION_COLUMNS = {
    "mart": "text PRIMARY KEY",
    "version": "text NOT NULL",
    "computed_at": "timestamptz NOT NULL",
    "files": "bigint NOT NULL",
    "row_count": "bigint NOT NULL",
    "ledger_rows": "bigint NOT NULL",
    "ledger_quantity": "numeric NOT NULL",
    "unrecorded": "bigint NOT NULL",
    "unrecorded_quantity": "numeric NOT NULL",
    "superseded": "bigint NOT NULL",
    "superseded_quantity": "numeric NOT NULL",
    "excluded": "bigint NOT NULL",
    "excluded_quantity": "numeric NOT NULL",
}
"""The columns of `mart_versions`, in the order of the attributes of `MartVersion`."""

_VALUES = {
    "sale_date": "date",
    # Through timestamp, because the month of a timestamptz depends on the time zone of the session.
    "sale_month": "CAST(date_trunc('month', CAST(date AS timestamp)) AS date)",
    "amount": "price * quantity",
    "transaction_count": "count(*)",
    "total_quantity": "coalesce(sum(quantity), 0)",
    "total_amount": "coalesce(sum(price * quantity), 0)",
    # In whole numbers of the last decimal, because `/` rounds first and round() then rounds again.
    "avg_price": "div(sum(price) * 20000 + count(price), nullif(2 * count(price), 0)) * 0.0001",
    "first_sale": "min(date)",
    "last_sale": "max(date)",
}
"""The SQL of the columns that are not columns of `transactions_current`."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where the marts are: a schema of their own, next to the table that they are built from."""

    schema: str
    table: Table

    @property
    def current(self) -> sql.Identifier:
        """The view `transactions_current`."""
        return sql.Identifier(self.schema, CURRENT)

    @property
    def versions(self) -> sql.Identifier:
        """The table `mart_versions`."""
        return sql.Identifier(self.schema, VERSIONS)

    def of(self, mart: Mart) -> sql.Identifier:
        """Return the identifier of the table of `mart`."""
        return sql.Identifier(self.schema, mart.name)


def create_schema(names: Names) -> sql.Composed:
    """Return the statement that creates the schema."""
    return sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(names.schema))


def schema_query() -> str:
    """Return the query for a schema, if it is there; binds its name."""
    return "SELECT 1 FROM pg_namespace WHERE nspname = %s"


def create_versions(names: Names) -> sql.Composed:
    """Return the statement that creates `mart_versions`."""
    columns = sql.SQL(", ".join(f"{name} {kind}" for name, kind in VERSION_COLUMNS.items()))
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(names.versions, columns)


def create_mart(names: Names, mart: Mart) -> list[sql.Composed]:
    """Return the statements that create the table of `mart` and its index."""
    columns = sql.SQL(", ".join(f"{name} {kind}" for name, kind in mart.types("postgres").items()))
    statements = [
        sql.SQL("CREATE TABLE {} ({})").format(names.of(mart), columns),
        sql.SQL("COMMENT ON TABLE {} IS {}").format(names.of(mart), sql.Literal(f"{MARK}. {mart.description}")),
    ]
    if not mart.is_grouped:
        statements.append(sql.SQL("CREATE INDEX ON {} ({})").format(names.of(mart), _columns(mart.key)))
    return statements


def create_view(names: Names, inexact: Collection[str]) -> sql.Composed:
    """Return the statement that creates or replaces the view `transactions_current`.

    Of the rows with one id, the one of the newest generation counts, then the later row; the other columns make the
    order total. Rows without an id are transactions of their own. Columns in `inexact` are binary floating-point
    numbers: their shortest text is the number that was sent.
    """
    values = ", ".join(
        f"CAST({f'CAST({name} AS text)' if name in inexact else name} AS {kind}) AS {name}"
        for name, kind in _SALE.items()
    )
    ranked = sql.SQL(
        "SELECT {values}, source_file, source_row, generation, row_number() OVER ("
        "PARTITION BY transaction_id ORDER BY generation DESC NULLS LAST, source_row DESC NULLS LAST, "
        'source_file COLLATE "C" DESC NULLS LAST, date DESC, product COLLATE "C" DESC, price DESC, quantity DESC'
        ") AS place FROM {data} LEFT JOIN "
        "(SELECT source_file, max(generation) AS generation FROM {ledger} GROUP BY source_file) AS held "
        "USING (source_file)"
    ).format(values=sql.SQL(values), data=names.table.data, ledger=names.table.ledger)
    return sql.SQL(
        "CREATE OR REPLACE VIEW {} AS SELECT {} FROM ({}) AS ranked WHERE transaction_id IS NULL OR place = 1"
    ).format(names.current, _columns((*_SALE, *_SOURCE)), ranked)


def view_mark(view: sql.Composed) -> str:
    """Return the comment of the view that the statement `view` creates. It tells whether a view is up to date."""
    return f"{MARK}. One row for each transaction. Definition {_digest(view.as_string())}"


def comment_on_view(names: Names, mark: str) -> sql.Composed:
    """Return the statement that sets the comment of the view."""
    return sql.SQL("COMMENT ON VIEW {} IS {}").format(names.current, sql.Literal(mark))


def relations_query() -> str:
    """Return the query for the comment of each relation in a schema by name, null without one; binds the schema."""
    return (
        "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    )


def state_query(names: Names) -> sql.Composed:
    """Return the query for a number that changes with every load and erasure, and one for the versions of the files."""
    return sql.SQL("SELECT {}, {} FROM ({}) AS newest").format(
        _number("source_file, '@', generation, '/', run_id, '/', row_count"),
        _number("source_file, '@', generation, '/', rules_id, '/', key_id"),
        _newest(names, ("run_id", "rules_id", "key_id", "row_count")),
    )


def _number(parts: str) -> sql.SQL:
    return sql.SQL(f"coalesce({POSTGRES.total.format(POSTGRES.number.format(f'concat({parts})'))}, 0)")


def _newest(names: Names, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(
        "SELECT DISTINCT ON (source_file) source_file, generation, {} FROM {} ORDER BY source_file, generation DESC"
    ).format(_columns(columns), names.table.ledger)


def select(mart: Mart) -> str:
    """Return the query for the rows of `mart` from the relation `kept`."""
    values = ", ".join(_VALUES.get(name, name) for name in mart.columns)
    groups = f" GROUP BY {', '.join(_VALUES.get(name, name) for name in mart.key)}" if mart.is_grouped else ""
    return f"SELECT {values} FROM kept{groups}"  # noqa: S608 - names of columns


def conditions(rules: Rules) -> tuple[str, dict[str, Any]]:
    """Return the condition for the transactions that count, with the values to bind."""
    parts = {
        "min_price": "price >= %(min_price)s",
        "max_decimals": "price = round(price, %(max_decimals)s)",
        "max_quantity": "quantity <= %(max_quantity)s",
        "product_prefix": "starts_with(product, %(product_prefix)s)",
        "min_date": "date >= %(min_date)s",
        "max_date": "date <= %(max_date)s",
    }
    bound = {name: getattr(rules, name) for name in parts if getattr(rules, name) is not None}
    return " AND ".join(f"({parts[name]}) IS NOT FALSE" for name in bound) or "true", bound


def definition(mart: Mart, rules: Rules, view: sql.Composed) -> str:
    """Return an id of how `mart` is computed, so that a mart that was computed otherwise is computed again."""
    return _digest("\n".join([select(mart), repr(rules), view.as_string()]))


def refresh_statement(names: Names, mart: Mart, rules: Rules) -> sql.Composed:
    """Return the statement that makes the rows of `mart` new, and upserts and returns its row of `mart_versions`.

    It writes only the rows that differ, in the order of the key, which fills the index faster. Rows with a null in
    their key never equal the ones that are there, so they are written again. Binds mart, version and files, and the
    values of `conditions`.
    """
    condition, _ = conditions(rules)
    return sql.SQL(
        "WITH current AS MATERIALIZED (SELECT {used}, {condition} AS counts FROM {current}), "
        "kept AS (SELECT * FROM current WHERE counts), "
        "made ({columns}) AS MATERIALIZED ({select}), "
        "deleted AS (DELETE FROM {mart} AS stored WHERE NOT EXISTS (SELECT FROM made WHERE {equal})), "
        "inserted AS (INSERT INTO {mart} ({columns}) SELECT {columns} FROM made "
        "WHERE NOT EXISTS (SELECT FROM {mart} AS stored WHERE {equal}) ORDER BY {key}) "
        "INSERT INTO {versions} AS noted ({noted}) SELECT %(mart)s, %(version)s, now(), %(files)s, mart.row_count, "
        "held.row_count, held.quantity, raw.unrecorded, raw.unrecorded_quantity, "
        "raw.row_count - found.row_count, raw.quantity - found.quantity, "
        "found.row_count - found.counted, found.quantity - found.counted_quantity "
        "FROM (SELECT count(*) AS row_count FROM made) AS mart, "
        "(SELECT count(*) AS row_count, {quantity} AS quantity, count(*) FILTER (WHERE counts) AS counted, "
        "{counted_quantity} AS counted_quantity FROM current) AS found, "
        "(SELECT count(*) AS row_count, {quantity} AS quantity, count(*) FILTER (WHERE source_file IS NULL) "
        "AS unrecorded, {unrecorded_quantity} AS unrecorded_quantity FROM {data}) AS raw, "
        "(SELECT coalesce(sum(row_count), 0) AS row_count, coalesce(sum(sum_quantity), 0) AS quantity "
        "FROM ({newest}) AS newest) AS held "
        "ON CONFLICT (mart) DO UPDATE SET {updates} RETURNING {returned}"
    ).format(
        used=_columns(mart.used),
        condition=sql.SQL(condition),
        current=names.current,
        mart=names.of(mart),
        columns=_columns(mart.columns),
        select=sql.SQL(select(mart)),
        equal=_equal(mart),
        key=_columns(mart.key),
        versions=names.versions,
        noted=_columns(VERSION_COLUMNS),
        quantity=sql.SQL("coalesce(sum(quantity), 0)"),
        counted_quantity=sql.SQL("coalesce(sum(quantity) FILTER (WHERE counts), 0)"),
        unrecorded_quantity=sql.SQL("coalesce(sum(quantity) FILTER (WHERE source_file IS NULL), 0)"),
        data=names.table.data,
        newest=_newest(names, ("row_count", "sum_quantity")),
        updates=sql.SQL(", ").join(
            sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in VERSION_COLUMNS if name != "mart"
        ),
        returned=sql.SQL(", ").join(sql.Identifier("noted", name) for name in VERSION_COLUMNS),
    )


def _equal(mart: Mart) -> sql.Composed:
    """Return the condition that the rows `made` and `stored` are equal. A hash join needs the `=`."""
    return sql.SQL(" AND ").join(
        sql.SQL("made.{0} {1} stored.{0}").format(
            sql.Identifier(name), sql.SQL("=" if name in mart.key else "IS NOT DISTINCT FROM")
        )
        for name in mart.columns
    )


FORBID_NESTED_LOOPS = sql.SQL("SET LOCAL enable_nestloop = off")
"""Keeps the refresh from comparing each row with each: the planner takes the view for 200 times smaller than it is."""


def lock_statement(names: Names, mart: Mart) -> sql.Composed:
    """Return the statement that makes refreshes of `mart` take turns, while everybody can read it.

    LOCK TABLE comes before the snapshot of a REPEATABLE READ transaction, so the transaction sees what the one before
    it committed (https://www.postgresql.org/docs/current/sql-lock.html).
    """
    return sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(names.of(mart))


def clear_statement(names: Names, mart: Mart) -> sql.Composed:
    """Return the statement that empties the table of `mart`. TRUNCATE would block readers until the commit."""
    return sql.SQL("DELETE FROM {}").format(names.of(mart))


def version_query(names: Names) -> sql.Composed:
    """Return the query for the version of a mart; binds its name."""
    return sql.SQL("SELECT {} FROM {} WHERE mart = %s").format(_columns(VERSION_COLUMNS), names.versions)


def totals_query(names: Names, mart: Mart) -> sql.Composed:
    """Return the query for the totals of `mart`, in the order of the attributes of `MartTotals`."""
    transactions = "coalesce(sum(transaction_count), 0)" if mart.is_grouped else "count(*)"
    quantity = next(
        (f"coalesce(sum({name}), 0)" for name in ("total_quantity", "quantity") if name in mart.columns), "NULL"
    )
    amount = f"coalesce(sum({'total_amount' if mart.is_grouped else 'amount'}), 0)"
    return sql.SQL("SELECT count(*), {}, {}, {} FROM {}").format(
        sql.SQL(transactions), sql.SQL(quantity), sql.SQL(amount), names.of(mart)
    )


def rows_query(
    names: Names, mart: Mart, filters: Sequence[Between], *, limit: int | None, offset: int
) -> tuple[sql.Composed, list[Any]]:
    """Return the query for rows of `mart` in the order of its key, and the values to bind."""
    where, values = _where(filters)
    query = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT %s OFFSET %s").format(
        _columns(mart.columns), names.of(mart), where, _columns(mart.key)
    )
    return query, [*values, limit, offset]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the rows of a mart.

    Attributes:
        condition: which rows it has.
        values: the values that the condition binds.
        skip: how many of its first rows to leave out.
    """

    condition: sql.Composable
    values: Sequence[Any] = ()
    skip: int = 0


def page_query(
    names: Names, mart: Mart, filters: Sequence[Between], part: Part, *, limit: int
) -> tuple[sql.Composed, list[Any]]:
    """Return the query for rows in a part of `mart`, and the values to bind.

    Rows with one key come in the order of their other values, so that the next page begins where this one ended.
    """
    where, values = _where(filters)
    query = sql.SQL("SELECT {} FROM {} WHERE {} AND {} ORDER BY {} LIMIT %s OFFSET %s").format(
        _columns(mart.columns), names.of(mart), where, part.condition, _columns(dict.fromkeys(mart.key + mart.columns))
    )
    return query, [*values, *part.values, limit, part.skip]


def _where(filters: Sequence[Between]) -> tuple[sql.Composable, list[Any]]:
    bounds = [
        (sql.Identifier(one.column) + sql.SQL(f" {sign} %s"), value)
        for one in filters
        for sign, value in ((">=", one.first), ("<=", one.last))
        if value is not None
    ]
    return sql.SQL(" AND ").join([sql.SQL("true"), *(part for part, _ in bounds)]), [value for _, value in bounds]


def sums_query(names: Names, mart: Mart) -> sql.Composed:
    """Return the query for the amounts by the first column of the key: the largest of names, or the latest of days."""
    label, total = sql.Identifier(mart.key[0]), sql.SQL("sum({})").format(sql.Identifier(mart.measure))
    order = total if COLUMN_TYPES[mart.key[0]].is_text else label
    return sql.SQL("SELECT {0}, {1} FROM {2} WHERE {0} IS NOT NULL GROUP BY 1 ORDER BY {3} DESC LIMIT %s").format(
        label, total, names.of(mart), order
    )


def grants(names: Names, role: str) -> list[sql.Composed]:
    """Return the statements that give `role` the rights that a refresh needs."""
    user, schema = sql.Identifier(role), sql.Identifier(names.schema)
    return [
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(schema, user),
        sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(schema, user),
    ]


def _columns(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
