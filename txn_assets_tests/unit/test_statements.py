"""The statements and names that the sinks build, with no store behind them.

That the statements do what they say is shown against the stores; here stand their quoting, their columns and their
agreement with the rows of staging.
"""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest

from txn_assets.defs.io_managers import bigquery, gcs, postgres
from txn_assets.files.ledger import FileVersion, LoadRecord, Totals
from txn_assets.rows import hashed_rows
from txn_assets.rows.transaction import FIELDS
from txn_assets.stores import bigquery_sql, postgres_catalog, postgres_sql
from txn_assets.stores.landed_names import object_name

RECORD = LoadRecord(
    FileVersion("a.csv", 7, 300, "AAAAAA=="),
    "run",
    "sha256",
    "rules",
    Totals(2, Decimal("9999999999999999.9900"), 2**70, dt.date(2023, 10, 1), dt.date(2023, 10, 5), 2**60 - 1),
)
TABLE = postgres_sql.Table("public", "t")
EVIL = postgres_sql.Table('pub"lic', "x; DROP TABLE y")


class TestObjectNames:
    """Where a landed file lies in the lake."""

    @pytest.mark.parametrize(
        ("partition", "name"),
        [
            ("transactions.csv", "raw/transactions/transactions/processed.csv"),
            ("2023/10/a b.csv", "raw/transactions/2023/10/a b/processed.csv"),
            ("a.csv.gz", "raw/transactions/a.csv.gz/processed.csv"),
            ("a.csv.csv", "raw/transactions/a.csv/processed.csv"),
            ("noname", "raw/transactions/noname/processed.csv"),
        ],
    )
    def test_object_is_named_after_the_partition(self, partition: str, name: str) -> None:
        """Without its `.csv`, folders kept."""
        assert object_name("raw/transactions", partition, "csv") == name

    def test_object_is_named_after_its_format(self) -> None:
        """Readers choose by the name."""
        assert object_name("raw", "a.csv", "parquet") == "raw/a/processed.parquet"


class TestObjectMetadata:
    """The ledger of an object."""

    @pytest.mark.parametrize(
        "totals", [RECORD.totals, Totals(0, Decimal(0), 0, None, None, 0)], ids=["rows", "no rows"]
    )
    def test_record_is_read_back(self, totals: Totals) -> None:
        """All of it, exactly."""
        record = replace(RECORD, totals=totals)
        assert gcs.record_of(gcs.metadata_of(record)) == record

    def test_values_are_text(self) -> None:
        """GCS keeps nothing else."""
        assert {type(value) for value in gcs.metadata_of(RECORD).values()} == {str}


class TestLedgerRow:
    """The ledger of a PostgreSQL table."""

    def test_record_is_read_back(self) -> None:
        """`held_query` selects the columns in the order that `record_from_row` takes them."""
        moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        row = (
            *("a.csv", 7, 300, "AAAAAA==", "run", "sha256", "rules"),
            *(2, Decimal("9999999999999999.9900"), Decimal(2**70), dt.date(2023, 10, 1), dt.date(2023, 10, 5)),
            *(2**60 - 1, moment),
        )
        assert postgres.record_from_row(row) == RECORD.at(moment)
        selected = (
            postgres_sql.held_query(TABLE)
            .as_string()
            .removeprefix("SELECT DISTINCT ON (source_file) ")
            .partition(" FROM ")[0]
        )
        assert selected.split(", ") == list(postgres_sql.LEDGER_COLUMNS)

    def test_note_binds_each_column_once(self) -> None:
        """But for `loaded_at`, which is the server's clock."""
        statement = postgres_sql.note_statement(TABLE).as_string()
        assert statement.count("%s") == len(postgres_sql.LEDGER_COLUMNS) - 1
        assert "ON CONFLICT (source_file, generation) DO UPDATE" in statement
        assert "loaded_at = now()" in statement


class TestPostgresStatements:
    """What is said to PostgreSQL."""

    def test_names_are_quoted(self) -> None:
        """No name of the configuration becomes SQL."""
        schema, *statements = (
            statement.as_string()
            for statement in (
                *postgres_catalog.missing(postgres_catalog.EMPTY, EVIL),
                postgres_sql.held_query(EVIL),
                postgres_sql.totals_query(EVIL, is_exact=True),
                postgres_sql.delete_statement(EVIL),
                postgres_sql.forget_statement(EVIL),
                postgres_sql.copy_statement(EVIL),
                postgres_sql.note_statement(EVIL),
            )
        )
        assert schema == 'CREATE SCHEMA IF NOT EXISTS "pub""lic"'
        for statement in statements:
            assert '"pub""lic"."x; DROP TABLE y' in statement
            assert statement.count("DROP TABLE") == statement.count('"x; DROP TABLE y')

    def test_copy_takes_the_columns_of_staging(self) -> None:
        """In their order: the text has no names."""
        names = ", ".join(f'"{name}"' for name in hashed_rows.COLUMNS)
        assert postgres_sql.copy_statement(TABLE).as_string() == f'COPY "public"."t" ({names}) FROM STDIN (FORMAT text)'

    def test_table_has_the_fields_and_their_source(self) -> None:
        """Money is exact."""
        assert tuple(postgres_sql.COLUMNS) == (*FIELDS, "source_file", "source_row")
        assert postgres_sql.COLUMNS["price"] == "numeric(18,4)"


class TestBigQueryStatements:
    """What is said to BigQuery."""

    TABLES = bigquery_sql.Tables("hijra-project", "warehouse", "raw")

    def test_names_are_quoted(self) -> None:
        """Projects have hyphens."""
        assert self.TABLES.data == "`hijra-project.warehouse.raw`"
        assert self.TABLES.ledger == "`hijra-project.warehouse.raw_loads`"

    def test_load_table_has_the_columns_of_the_parquet_file(self) -> None:
        """In their order."""
        assert tuple(bigquery_sql.LOAD_COLUMNS) == hashed_rows.COLUMNS

    def test_table_has_the_fields_and_their_source(self) -> None:
        """Money is exact."""
        assert tuple(bigquery_sql.COLUMNS) == (*FIELDS, "source_file", "source_row")
        assert bigquery_sql.COLUMNS["price"] == "NUMERIC"

    def test_ledgers_have_the_same_columns(self) -> None:
        """Whoever compares the stores joins them."""
        assert list(bigquery_sql.LEDGER_COLUMNS) == list(postgres_sql.LEDGER_COLUMNS)

    def test_replacing_is_one_transaction(self) -> None:
        """Rows and ledger change together, after a look at whether the ledger is as the caller saw it."""
        steps = bigquery_sql.replace_script(self.TABLES, "_staging", {}).split(";\n")
        assert (
            " ".join(step.split()[0] for step in steps)
            == "BEGIN UPDATE SELECT DELETE INSERT SELECT DELETE INSERT COMMIT"
        )
        assert steps[3].startswith(f"DELETE FROM {self.TABLES.data} WHERE source_file IN UNNEST(@replaced)")
        assert steps[4].endswith("FROM `hijra-project.warehouse._staging`")

    def test_rows_without_a_date_are_replaced_too(self) -> None:
        """The range of dates that spares partitions must not spare them."""
        assert "OR date IS NULL" in bigquery_sql.replace_script(self.TABLES, "_staging", {})

    def test_without_staging_only_the_ledger_changes(self) -> None:
        """A version with the same rows touches none."""
        script = bigquery_sql.replace_script(self.TABLES, None, {})
        assert self.TABLES.data not in script
        assert f"INSERT INTO {self.TABLES.ledger}" in script

    def test_values_are_cast_to_the_types_of_the_table(self) -> None:
        """A table of the original pipeline keeps its FLOAT."""
        script = bigquery_sql.replace_script(self.TABLES, "_staging", {"price": "FLOAT64", "quantity": "INT64"})
        assert "CAST(price AS FLOAT64), CAST(quantity AS INT64), CAST(date AS DATE)" in script

    def test_every_statement_on_the_table_is_bounded_by_date(self) -> None:
        """Bytes would grow with the table, and `require_partition_filter` refuses the others."""
        statements = [
            bigquery_sql.totals_query(self.TABLES, is_exact=True),
            bigquery_sql.rows_query(self.TABLES),
            bigquery_sql.begin_ledger_statement(self.TABLES),
            *bigquery_sql.replace_script(self.TABLES, "_load", {}).split(";\n"),
        ]
        reading = [sql for sql in statements if f"FROM {self.TABLES.data}" in sql]
        assert len(reading) >= 4
        for sql in reading:
            assert sql.count(f"FROM {self.TABLES.data}") == sql.count("(date BETWEEN ")
        assert not [sql for sql in statements if self.TABLES.data in sql and sql not in reading and "INSERT" not in sql]

    def test_numbers_of_the_ledger_travel_as_text(self) -> None:
        """A JSON number loses digits beyond 2^53."""
        values = bigquery._struct(RECORD, None).to_api_repr()["parameterValue"]["structValues"]
        assert [name for name, value in values.items() if not isinstance(value["value"], str)] == []
        assert values["sum_quantity"]["value"] == str(2**70)
