"""What the PostgreSQL sink makes of a catalog and of an error, without a server."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.feeds.refund import Refund
from txn_assets.feeds.transaction import CONTRACT, ValidationRules
from txn_assets.stores.postgres.catalog import (
    EMPTY,
    Catalog,
    Column,
    Relation,
    faults,
    missing,
    sentence,
)
from txn_assets.stores.postgres.errors import copied_column
from txn_assets.stores.postgres.sql import Table
from txn_assets_tests.unit.feeds import Note, make_feed

TABLE = Table("public", make_feed())
REFUNDS = Table("public", make_feed(Refund, name="refunds"))


REJECTS = ["CREATE TABLE", "CREATE INDEX"]
"""What creates the table of rejects."""


def make_catalog(
    table: Table = TABLE, *, columns: dict[str, Column] | None = None, ledger: dict[str, Column] | None = None
) -> Catalog:
    """Return a catalog with everything that a load needs, except a test's overrides."""
    if columns is None:
        columns = {name: Column(kind) for name, kind in table.columns.items()}
    if ledger is None:
        ledger = {name: Column("text") for name in table.ledger_columns}
    return Catalog(
        schema=True,
        data=Relation("r", columns),
        ledger=Relation("r", ledger),
        rejects=Relation("r"),
        indexed=frozenset({"source_file"}),
    )


def with_column(name: str, column: Column, table: Table = TABLE) -> Catalog:
    """Return a complete catalog with one column replaced or added."""
    columns = {other: Column(kind) for other, kind in table.columns.items()}
    return make_catalog(table, columns=columns | {name: column})


def without_column(name: str) -> Catalog:
    """Return a catalog without one column of the data table."""
    return make_catalog(columns={other: Column(kind) for other, kind in TABLE.columns.items() if other != name})


def test_nothing_is_executed_if_everything_exists() -> None:
    """A role that owns nothing loads into complete tables, even without the index on the date."""
    for table in (TABLE, REFUNDS):
        assert missing(make_catalog(table), table) == []
        assert faults(make_catalog(table), table) == []


def test_everything_is_created_in_an_empty_database() -> None:
    """An empty database gets every object, in an order in which each statement finds what it needs."""
    made = [" ".join(statement.as_string().split()[:2]) for statement in missing(EMPTY, TABLE)]
    assert made == ["CREATE SCHEMA", "CREATE TABLE", "CREATE INDEX", "CREATE INDEX", "CREATE TABLE", *REJECTS]


def test_original_table_gets_its_source() -> None:
    """The original pipeline's table gets the source columns, and its own columns stay unchanged."""
    original = Relation("r", {name: Column(TABLE.columns[name]) for name in TABLE.contract.names})
    catalog = Catalog(schema=True, data=original, ledger=None, rejects=None, indexed=frozenset())
    first, *others = [statement.as_string() for statement in missing(catalog, TABLE)]
    assert first == (
        'ALTER TABLE "public"."t" ADD COLUMN IF NOT EXISTS "source_file" text, '
        'ADD COLUMN IF NOT EXISTS "source_row" bigint'
    )
    assert len(others) == 5


def test_feed_without_partition_key_has_one_index() -> None:
    """Without a partition key there is no column for readers to search by."""
    table = Table("public", make_feed(Note))
    made = " ".join(statement.as_string() for statement in missing(EMPTY, table))
    assert made.count(f"CREATE INDEX ON {table.data.as_string()}") == 1


def test_column_that_the_table_lacks_is_added() -> None:
    """A column that was added to the feed is added to the table, where older rows have null."""
    catalog = without_column("product")
    assert faults(catalog, TABLE) == []
    (statement,) = missing(catalog, TABLE)
    assert statement.as_string() == 'ALTER TABLE "public"."t" ADD COLUMN IF NOT EXISTS "product" text'


def test_column_in_another_case_is_not_added_but_renamed() -> None:
    """A column that differs in case only is refused, because the owner meant the same column."""
    columns = {("Product" if name == "product" else name): Column(kind) for name, kind in TABLE.columns.items()}
    (fault,) = faults(make_catalog(columns=columns), TABLE)
    assert fault.problem == 'column "Product" is not named "product"'
    assert fault.remedy
    assert fault.remedy.as_string() == 'ALTER TABLE "public"."t" RENAME COLUMN "Product" TO "product"'


def test_column_that_the_feed_no_longer_has_stays() -> None:
    """A column of the table that the feed does not have is left alone."""
    catalog = with_column("channel", Column("text"))
    assert missing(catalog, TABLE) == []
    assert faults(catalog, TABLE) == []


def test_ledger_gets_the_columns_it_lacks() -> None:
    """A ledger gets the columns it lacks, which are null in the rows that are there."""
    there = {name: Column("text") for name in TABLE.ledger_columns if name not in ("sum_price", "loaded_at")}
    (statement,) = missing(make_catalog(ledger=there), TABLE)
    assert statement.as_string() == (
        'ALTER TABLE "public"."t_loads" ADD COLUMN IF NOT EXISTS "sum_price" numeric(38,4), '
        'ADD COLUMN IF NOT EXISTS "loaded_at" timestamptz NOT NULL DEFAULT now()'
    )


def test_sum_of_a_column_that_the_feed_no_longer_has() -> None:
    """The sum of a dropped column may be null from now on, because no load writes it."""
    there = {name: Column("text") for name in TABLE.ledger_columns}
    ledger = there | {"sum_fee": Column("numeric", required=True), "note": Column("text")}
    (statement,) = missing(make_catalog(ledger=ledger), TABLE)
    assert statement.as_string() == 'ALTER TABLE "public"."t_loads" ALTER COLUMN "sum_fee" DROP NOT NULL'


def test_table_that_is_not_a_ledger() -> None:
    """A table under the name of the ledger that is something else is refused, not changed."""
    (fault,) = faults(make_catalog(ledger={"id": Column("bigint")}), TABLE)
    assert "t_loads is not a ledger" in fault.problem


@given(st.integers(1, 40), st.integers(-5, 12), st.integers(0, 4))
def test_price_is_refused_where_it_would_be_rounded(precision: int, scale: int, max_decimals: int) -> None:
    """A column takes the smallest step that a valid price can have unchanged, or is refused."""
    step = Decimal(1).scaleb(-max_decimals)
    rounded = step != round(step, scale)
    contract = ValidationRules(max_decimals=max_decimals).narrow(CONTRACT)
    catalog = with_column("price", Column(f"numeric({precision},{scale})"))
    assert bool(faults(catalog, Table("public", make_feed(contract=contract)))) is rounded


def test_remedy_keeps_what_a_wide_column_holds() -> None:
    """The remedy keeps as many digits before the point as the column had."""
    (fault,) = faults(with_column("price", Column("numeric(30,2)")), TABLE)
    assert fault.remedy
    assert fault.remedy.as_string().endswith('TYPE numeric(32,4) USING "price"::numeric(32,4)')


@pytest.mark.parametrize(("hashed", "refused"), [(("transaction_id",), True), ((), False)])
def test_short_text_is_refused_only_for_hashes(hashed: tuple[str, ...], refused: bool) -> None:
    """A short text column is refused for hashes only; PostgreSQL itself refuses clear texts that are too long."""
    catalog = with_column("transaction_id", Column("character varying(36)"))
    assert bool(faults(catalog, Table("public", make_feed(contract=CONTRACT.with_pii(hashed))))) is refused


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("price", "text"),
        ("price", "integer"),
        ("price", "numeric(18,3)"),
        ("quantity", "double precision"),
        ("quantity", "numeric(10,-2)"),
        ("quantity", "numeric(12,2)"),
        ("quantity", "text"),
        ("date", "timestamp without time zone"),
        ("transaction_id", "character(80)"),
        ("transaction_id", "bytea"),
        ("product", "character(64)"),
        ("product", "name"),
        ("product", "text[]"),
        ("source_row", "double precision"),
    ],
)
def test_type_that_would_change_a_value(column: str, kind: str) -> None:
    """A type that would change a value is refused, naming the column and its type."""
    (fault,) = faults(with_column(column, Column(kind)), TABLE)
    assert fault.problem.startswith(f'column "{column}" is {kind}')


@pytest.mark.parametrize(
    ("column", "kind", "wanted"),
    [
        ("amount", "text", "numeric"),
        ("amount", "numeric(10,1)", "up to 2 decimals under feeds.refunds.rules.amount.max_decimals"),
        ("refunded_at", "timestamp without time zone", "timestamp with time zone"),
        ("refunded_at", "date", "timestamp with time zone"),
        ("partial", "text", "boolean"),
        ("partial", "integer", "boolean"),
        ("reason", "integer", "text"),
    ],
)
def test_type_of_another_kind(column: str, kind: str, wanted: str) -> None:
    """A column whose kind was changed is refused, with the type that it needs and a statement for the owner."""
    (fault,) = faults(with_column(column, Column(kind), REFUNDS), REFUNDS)
    assert fault.problem.startswith(f'column "{column}" is {kind}')
    assert wanted in fault.problem
    assert fault.remedy
    assert f'ALTER COLUMN "{column}" TYPE ' in fault.remedy.as_string()


def test_file_names_that_are_the_same_by_collation() -> None:
    """A collation that treats `A.csv` as `a.csv` is refused, because one file would replace the other."""
    (fault,) = faults(with_column("source_file", Column("text", deterministic=False)), TABLE)
    assert fault.remedy
    assert 'COLLATE "C"' in fault.remedy.as_string()


def test_database_that_cannot_hold_every_text() -> None:
    """A database that cannot hold every text has no remedy, because a database keeps its encoding."""
    catalog = Catalog(schema=True, data=None, ledger=None, rejects=None, indexed=frozenset(), encoding="LATIN1")
    assert "encoded in LATIN1" in sentence(faults(catalog, TABLE), TABLE)


def test_names_are_quoted_in_remedies() -> None:
    """Names are quoted in remedies, so that a remedy can be pasted whatever the names are."""
    evil = Table('pub"lic', make_feed(postgres_table="x; DROP TABLE y"))
    (fault,) = faults(with_column("price", Column("money")), evil)
    assert fault.remedy
    assert '"pub""lic"."x; DROP TABLE y"' in fault.remedy.as_string()


@pytest.mark.parametrize(
    ("context", "column"),
    [
        ('COPY t, line 1, column price: "100.00"', "price"),
        ("COPY t, Zeile 1, Spalte product: »Käse«", "product"),
        ("COPY t, line 1, column date: null input", "date"),
        ('COPY price, line 1: "a, column product: b"', None),
        (None, None),
    ],
)
def test_column_of_a_refused_value(context: str | None, column: str | None) -> None:
    """The column of a refused value is taken from the context of the error, in any server language."""
    assert copied_column(context, TABLE.columns) == column
