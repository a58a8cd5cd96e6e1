"""PostgreSQL tables that already exist: what is refused before the first row, what is allowed, what fails loudly."""

from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest

from txn_assets.stores.postgres.sql import PARALLEL_ROWS
from txn_assets_tests.deployment import Deployment, failure, make_file, make_row, many_rows

CASES = Path(__file__).parents[1] / "cases"
ORIGINAL = {
    "transaction_id": "text",
    "product": "text",
    "price": "real",
    "quantity": "integer",
    "date": "date",
}
"""Column types of the original pipeline's table."""
EXACT = {**ORIGINAL, "price": "numeric(18,4)"}


def make_table(deployment: Deployment, **columns: str) -> None:
    """Create the schema, and the original pipeline's table with the types in `columns`."""
    schema = deployment.config.data_warehouse.postgres.schema_
    definition = ", ".join(f'"{name}" {kind}' for name, kind in {**EXACT, **columns}.items())
    deployment.pg.execute(f"CREATE SCHEMA {schema}")
    deployment.pg.execute(f"CREATE TABLE {deployment.pg_table} ({definition})")


def load(deployment: Deployment, name: str, *rows: str) -> dg.JobExecutionResult:
    """Land a file of `rows` and load it into PostgreSQL."""
    deployment.land(name, make_file(*rows))
    return deployment.materialize(name, select="*postgres_transactions", raise_on_error=False)


def column_names(deployment: Deployment) -> list[str]:
    """Return the columns of the table."""
    cursor = deployment.pg.execute(f"SELECT * FROM {deployment.pg_table} LIMIT 0")
    return [column.name for column in cursor.description or ()]


def paste_remedy(deployment: Deployment, sentence: str) -> None:
    """Run the statement that a sentence recommends, as its reader would."""
    _, _, script = sentence.partition(" run: ")
    assert script.endswith(";")
    deployment.pg.execute(script)


def make_trigger(deployment: Deployment, body: str) -> None:
    """Make the table run PL/pgSQL before each row."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f"CREATE FUNCTION {schema}.change() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$")
    deployment.pg.execute(
        f"CREATE TRIGGER changes BEFORE INSERT ON {deployment.pg_table} FOR EACH ROW EXECUTE FUNCTION {schema}.change()"
    )


def contents(deployment: Deployment) -> list[list[tuple[object, ...]]]:
    """Return every row of the table and of its ledger."""
    tables = (deployment.pg_table, f"{deployment.pg_table}_loads")
    return [deployment.pg.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables]


def test_coarse_price_is_refused(deployment: Deployment) -> None:
    """A column that would round prices is named before the first row, and nothing changes."""
    make_table(deployment, price="numeric(10,2)")
    deployment.land("coarse.csv", (CASES / "coarse_scale.csv").read_bytes())

    result = deployment.materialize("coarse.csv", select="*postgres_transactions", raise_on_error=False)

    sentence = failure(result)
    assert 'column "price" is numeric(10,2) and would round values' in sentence
    assert "ingestion.validation.max_decimals (set it to 2 if no value has more)" in sentence
    assert column_names(deployment) == list(ORIGINAL)
    assert deployment.pg.execute(f"SELECT count(*) FROM {deployment.pg_table}").fetchall() == [(0,)]

    paste_remedy(deployment, sentence)
    assert deployment.materialize("coarse.csv", select="*postgres_transactions").success
    prices = [row[2] for row in deployment.rows("postgres_transactions", "coarse.csv")]
    assert sorted(prices) == [Decimal(text) for text in ("0.0049", "0.0051", "0.1249", "0.1251")]


def test_coarse_price_is_enough_for_the_rules(deployment: Deployment) -> None:
    """If no valid price has more decimals than the column, the column stays."""
    make_table(deployment, price="numeric(10,2)")
    deployment.configure({"ingestion": {"validation": {"max_decimals": 2}}})

    result = load(deployment, "a.csv", *many_rows(2, price="0.12"), make_row(price="0.1249"))

    assert result.success
    assert [row[2] for row in deployment.rows("postgres_transactions", "a.csv")] == [Decimal("0.12")] * 2


def test_columns_that_cannot_hold_every_value(deployment: Deployment) -> None:
    """All columns that cannot hold every value are in one sentence, whose statement changes them."""
    faults = {"price": "money", "quantity": "real", "date": "text", "transaction_id": "varchar(36)"}
    make_table(deployment, **faults, source_file="integer")

    sentence = failure(load(deployment, "a.csv", *many_rows(3)))

    for column in (*faults, "source_file"):
        assert f'column "{column}" is ' in sentence
    paste_remedy(deployment, sentence)
    assert load(deployment, "a.csv", *many_rows(3)).success
    assert len(deployment.rows("postgres_transactions", "a.csv")) == 3


def test_missing_column_is_added(deployment: Deployment) -> None:
    """A column that the table lacks is added, and the rows that are there have no value in it."""
    make_table(deployment)
    deployment.pg.execute(f"ALTER TABLE {deployment.pg_table} DROP COLUMN product")
    deployment.pg.execute(f"INSERT INTO {deployment.pg_table} VALUES ('OLD', 1, 1, '2023-01-02')")

    assert load(deployment, "a.csv", make_row()).success

    rows = deployment.pg.execute(f"SELECT source_file, product FROM {deployment.pg_table} ORDER BY 1").fetchall()
    assert rows == [("a.csv", "Halal Laptop"), (None, None)]


@pytest.mark.parametrize("made", ['"Product" text', "product text GENERATED ALWAYS AS ('x') STORED"])
def test_column_that_is_named_or_filled_otherwise(deployment: Deployment, made: str) -> None:
    """A column whose name differs in case, or that belongs to PostgreSQL, is named with its remedy."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f"CREATE SCHEMA {schema}")
    deployment.pg.execute(
        f"CREATE TABLE {deployment.pg_table} (transaction_id text, {made}, price numeric, quantity bigint, date date)"
    )

    sentence = failure(load(deployment, "a.csv", make_row()))

    assert '"product"' in sentence
    paste_remedy(deployment, sentence)
    assert load(deployment, "a.csv", make_row()).success
    assert [row[1] for row in deployment.rows("postgres_transactions", "a.csv")] == ["Halal Laptop"]


@pytest.mark.parametrize(
    "columns",
    [
        {
            "price": "real",
            "quantity": "numeric(20,0)",
            "transaction_id": "varchar(64)",
            "product": "varchar",
            "id": "bigint GENERATED ALWAYS AS IDENTITY",
            "note": "text",
            "total": "numeric GENERATED ALWAYS AS (1) STORED",
        },
        {
            "price": "numeric",
            "transaction_id": "char(64)",
            "product": "varchar(40)",
            "source_row": "integer",
            "loaded": "timestamptz NOT NULL DEFAULT now()",
        },
        {"price": "numeric(8,4)", "quantity": "smallint"},
    ],
)
def test_table_that_holds_every_value(deployment: Deployment, columns: dict[str, str]) -> None:
    """Types and columns that differ from the platform's own but hold every value are left alone."""
    make_table(deployment, **columns)

    result = load(deployment, "a.csv", *many_rows(3))

    assert result.success
    assert len(deployment.rows("postgres_transactions", "a.csv")) == 3
    assert set(columns) <= set(column_names(deployment))


def test_domain_counts_as_its_base_type(deployment: Deployment) -> None:
    """A domain over a domain over a type that rounds is refused."""
    make_table(deployment)
    schema = deployment.config.data_warehouse.postgres.schema_
    for statement in (
        f"CREATE DOMAIN {schema}.coarse AS numeric(10,2)",
        f"CREATE DOMAIN {schema}.amount AS {schema}.coarse CHECK (VALUE >= 0)",
        f"ALTER TABLE {deployment.pg_table} ALTER COLUMN price TYPE {schema}.amount",
    ):
        deployment.pg.execute(statement)

    assert '"price" is numeric(10,2)' in failure(load(deployment, "a.csv", make_row()))


LOUD = [
    ({"price": "numeric(6,4)"}, {"price": "100.00"}, '"price"'),
    ({"quantity": "integer"}, {"quantity": "3000000000"}, '"quantity"'),
    ({"product": "varchar(12)"}, {"product": "Halal Desk Lamp"}, '"product"'),
    ({"note": "text NOT NULL"}, {}, '"note"'),
    ({"price": "numeric CONSTRAINT cheap CHECK (price < 50)"}, {"price": "99.00"}, '"cheap"'),
    ({"product": "text CONSTRAINT one_each UNIQUE"}, {"product": "Halal Laptop"}, '"one_each"'),
]
"""Columns of a table, a row that they refuse, and the name that the sentence must mention."""


@pytest.mark.parametrize(("columns", "row", "named"), LOUD, ids=[named.strip('"') for *_, named in LOUD])
def test_value_that_a_column_refuses(
    deployment: Deployment, columns: dict[str, str], row: dict[str, str], named: str
) -> None:
    """The load fails and names the column or the constraint, and the statement that fixes it works."""
    make_table(deployment, **columns)
    rows = [make_row(**{"price": "1.00", **row}), make_row(transaction_id="T002", **{"price": "2.00", **row})]

    sentence = failure(load(deployment, "a.csv", *rows))

    assert named in sentence
    assert deployment.pg.execute(f"SELECT count(*) FROM {deployment.pg_table}").fetchall() == [(0,)]
    paste_remedy(deployment, sentence)
    assert load(deployment, "a.csv", *rows).success
    assert len(deployment.rows("postgres_transactions", "a.csv")) == 2


def test_null_in_a_required_column(deployment: Deployment) -> None:
    """A field that may be empty by the rules but not in the table is named with both remedies."""
    make_table(deployment, product="text NOT NULL")
    deployment.configure({"ingestion": {"validation": {"required_fields": ["transaction_id", "price"]}}})

    sentence = failure(load(deployment, "a.csv", make_row(product="")))

    assert '"product"' in sentence
    assert "ingestion.validation.required_fields" in sentence
    paste_remedy(deployment, sentence)
    assert load(deployment, "a.csv", make_row(product="")).success


def test_trigger_that_drops_a_row(deployment: Deployment) -> None:
    """The sentence counts the rows and names the cause; the previous version stays."""
    load(deployment, "a.csv", *many_rows(3))
    make_trigger(deployment, "IF NEW.quantity = 9 THEN RETURN NULL; END IF; RETURN NEW;")

    result = load(deployment, "a.csv", *many_rows(4), make_row(quantity="9"))

    assert "accepted 4 of the 5 rows of a.csv@" in failure(result)
    assert "trigger" in failure(result)
    assert len(deployment.rows("postgres_transactions", "a.csv")) == 3


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("NEW.price = round(NEW.price, 1);", "price 4.4000 instead of 4.4600"),
        ("NEW.product = upper(NEW.product);", "at least one row has a different value"),
        ("NEW.quantity = NEW.source_row; NEW.source_row = 2;", "at least one row has a different value"),
        ("NEW.date = NEW.date + 1;", "min_date 2023-10-02 instead of 2023-10-01"),
        ("NEW.source_file = 'b.csv';", "rows 0 instead of 2"),
    ],
)
def test_changed_value_is_rolled_back(deployment: Deployment, change: str, found: str) -> None:
    """Rows are compared before the commit: if one was changed, table and ledger roll back."""
    load(deployment, "a.csv", *many_rows(3))
    before = contents(deployment)
    make_trigger(deployment, f"{change} RETURN NEW;")

    result = load(
        deployment, "a.csv", make_row(price="2.23", quantity="2"), make_row(price="2.23", quantity="1", product="Desk")
    )

    assert "did not keep a.csv@" in failure(result)
    assert found in failure(result)
    assert contents(deployment) == before


def test_large_file_is_compared_in_parallel(deployment: Deployment) -> None:
    """PostgreSQL uses parallel workers for the comparison, and they find one changed row in 100,000."""
    load(deployment, "a.csv", *many_rows(3))
    before = contents(deployment)
    make_trigger(deployment, "IF NEW.source_row = 77777 THEN NEW.product = 'Desk'; END IF; RETURN NEW;")
    workers = "SELECT parallel_workers_launched FROM pg_stat_database WHERE datname = current_database()"
    launched = deployment.pg.execute(workers).fetchone()

    result = load(deployment, "a.csv", *many_rows(PARALLEL_ROWS))

    assert "did not keep a.csv@" in failure(result)
    assert contents(deployment) == before
    assert deployment.pg.execute(workers).fetchone() > launched  # type: ignore[operator]  # rows


def test_trigger_that_waits_for_the_commit(deployment: Deployment) -> None:
    """Changes made by a deferred trigger are detected too."""
    load(deployment, "a.csv", *many_rows(3))
    before = contents(deployment)
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(
        f"CREATE FUNCTION {schema}.late() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN DELETE FROM {deployment.pg_table} WHERE source_row = 2; RETURN NULL; END$$"
    )
    deployment.pg.execute(
        f"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON {deployment.pg_table} DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.late()"
    )

    result = load(deployment, "a.csv", *many_rows(4))

    assert "rows 3 instead of 4" in failure(result)
    assert contents(deployment) == before


def test_rows_that_cannot_be_deleted(deployment: Deployment) -> None:
    """If a rule keeps the previous version's rows, nothing changes, because the table would hold both versions."""
    load(deployment, "a.csv", *many_rows(3))
    before = contents(deployment)
    deployment.pg.execute(f"CREATE RULE keep AS ON DELETE TO {deployment.pg_table} DO INSTEAD NOTHING")

    result = load(deployment, "a.csv", *many_rows(4))

    assert "rows 7 instead of 4" in failure(result)
    assert contents(deployment) == before


def test_other_indexes_are_kept(deployment: Deployment) -> None:
    """An owner may exchange the indexes for others; the next load uses them and creates none."""
    load(deployment, "a.csv", *many_rows(3))
    schema = deployment.config.data_warehouse.postgres.schema_
    indexes = f"SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = '{schema}' AND tablename = 'transactions'"
    for name, _ in deployment.pg.execute(indexes).fetchall():
        deployment.pg.execute(f"DROP INDEX {schema}.{name}")
    deployment.pg.execute(
        f"CREATE INDEX CONCURRENTLY own ON {deployment.pg_table} USING brin (source_file text_bloom_ops)"
    )

    load(deployment, "a.csv", *many_rows(4))

    assert [name for name, _ in deployment.pg.execute(indexes)] == ["own"]
    assert len(contents(deployment)[0]) == 4


@pytest.mark.parametrize("lost", ["DROP TABLE {}_loads CASCADE", "TRUNCATE {}_loads"])
def test_lost_ledger_duplicates_no_rows(deployment: Deployment, lost: str) -> None:
    """A file is replaced by its name, whatever the ledger says; files that are not loaded again stay."""
    load(deployment, "a.csv", *many_rows(3))
    load(deployment, "b.csv", *many_rows(2))
    deployment.pg.execute(lost.format(deployment.pg_table))

    assert deployment.materialize("a.csv", select="*postgres_transactions").success

    assert len(deployment.rows("postgres_transactions", "a.csv")) == 3
    assert len(deployment.rows("postgres_transactions", "b.csv")) == 2


def test_incomplete_ledger_gets_its_columns(deployment: Deployment) -> None:
    """A ledger that lacks columns gets them and keeps its rows, and the next version replaces the file."""
    lost = ("rules_id", "sum_price", "fingerprint", "loaded_at")
    load(deployment, "a.csv", *many_rows(3))
    load(deployment, "b.csv", *many_rows(2))
    drops = ", ".join(f"DROP COLUMN {column} CASCADE" for column in lost)
    deployment.pg.execute(f"ALTER TABLE {deployment.pg_table}_loads {drops}")

    assert load(deployment, "a.csv", *many_rows(4)).success

    counts = ", ".join(f"count({column})" for column in lost)
    ledger = deployment.pg.execute(f"SELECT source_file, {counts} FROM {deployment.pg_table}_loads GROUP BY 1")
    # A new column of times has the present time in the rows that are there.
    assert sorted(ledger.fetchall()) == [("a.csv", 1, 1, 1, 2), ("b.csv", 0, 0, 0, 1)]
    assert len(deployment.rows("postgres_transactions", "a.csv")) == 4


def test_ledger_without_its_key_is_named(deployment: Deployment) -> None:
    """A ledger without its key, as a partial restore leaves it, is named."""
    load(deployment, "a.csv", *many_rows(3))
    deployment.pg.execute(f"ALTER TABLE {deployment.pg_table}_loads DROP CONSTRAINT transactions_loads_pkey")

    sentence = failure(load(deployment, "a.csv", *many_rows(4)))

    assert "primary key" in sentence
    paste_remedy(deployment, sentence)
    assert load(deployment, "a.csv", *many_rows(4)).success


def test_view_is_named(deployment: Deployment) -> None:
    """A view is named, because COPY cannot fill one."""
    schema = deployment.config.data_warehouse.postgres.schema_
    deployment.pg.execute(f"CREATE SCHEMA {schema}")
    deployment.pg.execute(f"CREATE VIEW {deployment.pg_table} AS SELECT 1 AS one")

    assert "transactions is a view" in failure(load(deployment, "a.csv", make_row()))
