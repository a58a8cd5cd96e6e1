"""What the PostgreSQL sink makes of a catalog and of an error, without a server."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.stores.postgres_catalog import (
    EMPTY,
    Catalog,
    Column,
    Relation,
    Rules,
    faults,
    missing,
    sentence,
)
from txn_assets.stores.postgres_errors import copied_column
from txn_assets.stores.postgres_sql import COLUMNS, LEDGER_COLUMNS, Table
from txn_assets_tests.unit.rows import FIELDS

TABLE = Table("public", "t")
RULES = Rules(max_decimals=4, hashed=("transaction_id",))
LEDGER = Relation("r", {name: Column("text") for name in LEDGER_COLUMNS})
COMPLETE_COLUMNS = {name: Column(kind) for name, kind in COLUMNS.items()}
COMPLETE = Catalog(
    schema=True,
    data=Relation("r", COMPLETE_COLUMNS),
    ledger=LEDGER,
    indexed=frozenset({"source_file"}),
)


def with_column(name: str, kind: str) -> Catalog:
    """Return a complete catalog with another type for one column."""
    columns = {**COMPLETE_COLUMNS, name: Column(kind)}
    return Catalog(schema=True, data=Relation("r", columns), ledger=LEDGER, indexed=frozenset({"source_file"}))


def test_nothing_is_executed_if_everything_exists() -> None:
    """A role that owns nothing loads into complete tables, even without the index on the date."""
    assert missing(COMPLETE, TABLE) == []
    assert list(faults(COMPLETE, TABLE, RULES)) == []


def test_everything_is_created_in_an_empty_database() -> None:
    """An empty database gets every object, in an order in which each statement finds what it needs."""
    made = [" ".join(statement.as_string().split()[:2]) for statement in missing(EMPTY, TABLE)]
    assert made == ["CREATE SCHEMA", "CREATE TABLE", "CREATE INDEX", "CREATE INDEX", "CREATE TABLE"]


def test_original_table_gets_its_source() -> None:
    """The original pipeline's table gets the source columns, and its own columns stay unchanged."""
    original = Relation("r", {name: Column(COLUMNS[name]) for name in FIELDS})
    catalog = Catalog(schema=True, data=original, ledger=None, indexed=frozenset())
    first, *others = [statement.as_string() for statement in missing(catalog, TABLE)]
    assert first == (
        'ALTER TABLE "public"."t" ADD COLUMN IF NOT EXISTS "source_file" text, '
        'ADD COLUMN IF NOT EXISTS "source_row" bigint'
    )
    assert len(others) == 3


@given(st.integers(1, 40), st.integers(-5, 12), st.integers(0, 4))
def test_price_is_refused_where_it_would_be_rounded(precision: int, scale: int, max_decimals: int) -> None:
    """A column takes the smallest step that a valid price can have unchanged, or is refused."""
    step = Decimal(1).scaleb(-max_decimals)
    rounded = step != round(step, scale)
    catalog = with_column("price", f"numeric({precision},{scale})")
    assert bool(faults(catalog, TABLE, Rules(max_decimals, ()))) is rounded


def test_remedy_keeps_what_a_wide_column_holds() -> None:
    """The remedy keeps as many digits before the point as the column had."""
    (fault,) = faults(with_column("price", "numeric(30,2)"), TABLE, RULES)
    assert fault.remedy
    assert fault.remedy.as_string().endswith('TYPE numeric(32,4) USING "price"::numeric(32,4)')


@pytest.mark.parametrize(("hashed", "refused"), [(("transaction_id",), True), ((), False)])
def test_short_text_is_refused_only_for_hashes(hashed: tuple[str, ...], refused: bool) -> None:
    """A short text column is refused for hashes only; PostgreSQL itself refuses clear texts that are too long."""
    catalog = with_column("transaction_id", "character varying(36)")
    assert bool(faults(catalog, TABLE, Rules(4, hashed))) is refused


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
    (fault,) = faults(with_column(column, kind), TABLE, RULES)
    assert fault.problem.startswith(f'column "{column}" is {kind}')


def test_file_names_that_are_the_same_by_collation() -> None:
    """A collation that treats `A.csv` as `a.csv` is refused, because one file would replace the other."""
    columns = {**COMPLETE_COLUMNS, "source_file": Column("text", deterministic=False)}
    catalog = Catalog(schema=True, data=Relation("r", columns), ledger=LEDGER, indexed=frozenset({"source_file"}))
    (fault,) = faults(catalog, TABLE, RULES)
    assert fault.remedy
    assert 'COLLATE "C"' in fault.remedy.as_string()


def test_database_that_cannot_hold_every_text() -> None:
    """A database that cannot hold every text has no remedy, because a database keeps its encoding."""
    catalog = Catalog(schema=True, data=None, ledger=None, indexed=frozenset(), encoding="LATIN1")
    assert "encoded in LATIN1" in sentence(faults(catalog, TABLE, RULES), TABLE)


def test_names_are_quoted_in_remedies() -> None:
    """Names are quoted in remedies, so that a remedy can be pasted whatever the names are."""
    evil = Table('pub"lic', "x; DROP TABLE y")
    (fault,) = faults(with_column("price", "money"), evil, RULES)
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
    assert copied_column(context) == column
