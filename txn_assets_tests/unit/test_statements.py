"""The statements and names that the sinks build, without a store.

Quoting, columns and agreement with the staged rows only; integration tests show that the statements work.
"""

import datetime as dt
import re
from dataclasses import replace
from decimal import Decimal

import pytest

from txn_assets.feeds.refund import Refund
from txn_assets.files.ledger import FileVersion, LoadDetails, LoadRecord, Totals
from txn_assets.files.ledger_columns import CHANGE_COLUMNS
from txn_assets.rows import hashed_rows
from txn_assets.stores.bigquery import erasure as bigquery_erasure
from txn_assets.stores.bigquery import plan as bigquery_plan
from txn_assets.stores.bigquery import sql as bigquery_sql
from txn_assets.stores.gcs import store as gcs
from txn_assets.stores.landed_names import object_name
from txn_assets.stores.ledger_columns import ledger_columns
from txn_assets.stores.partition_keys import key_bounds
from txn_assets.stores.postgres import catalog as postgres_catalog
from txn_assets.stores.postgres import sql as postgres_sql
from txn_assets_tests.unit.feeds import Note, make_feed

RECORD = LoadRecord(
    FileVersion("a.csv", 7, 300, "AAAAAA=="),
    "run",
    "sha256",
    "rules",
    Totals(
        2,
        {"price": Decimal("9999999999999999.9900"), "quantity": Decimal(2**70)},
        dt.date(2023, 10, 1),
        dt.date(2023, 10, 5),
        2**60 - 1,
    ),
    details=LoadDetails(
        records=6,
        rejected=3,
        reasons={"price: decimal": 2, "row: columns": 1},
        landed_at=dt.datetime(2026, 11, 26, 6, tzinfo=dt.UTC),
        started_at=dt.datetime(2026, 11, 26, 6, 1, 2, 345678, tzinfo=dt.UTC),
        seconds={"validate": 1.25, "hash": 0.5},
        replaced_generation=6,
        job_id="txn_commit_1_0",
        bytes_billed=10_485_760,
        erased=1,
    ),
)
NO_ROWS = replace(RECORD.totals, rows=0, sums=dict.fromkeys(RECORD.totals.sums, Decimal(0)), min_date=None)
LEDGER_COLUMNS = ledger_columns(make_feed().contract)
TABLE = postgres_sql.Table("public", make_feed(postgres_table="t"))
EVIL = postgres_sql.Table('pub"lic', make_feed(postgres_table="x; DROP TABLE y"))


class TestObjectNames:
    """Names of landed files in the lake."""

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
        """The object has the partition's name without `.csv`, including folders."""
        assert object_name("raw/transactions", partition, "csv") == name

    def test_object_is_named_after_its_format(self) -> None:
        """The object's name ends with its format, because readers choose by the name."""
        assert object_name("raw", "a.csv", "parquet") == "raw/a/processed.parquet"


class TestObjectMetadata:
    """The ledger of an object."""

    @pytest.mark.parametrize("totals", [RECORD.totals, NO_ROWS], ids=["rows", "no rows"])
    def test_record_is_read_back(self, totals: Totals) -> None:
        """A record is read back completely and exactly."""
        record = replace(RECORD, totals=totals)
        assert gcs.record_of(gcs.metadata_of(record, LEDGER_COLUMNS), LEDGER_COLUMNS) == record

    def test_values_are_text(self) -> None:
        """Metadata values are text, because GCS keeps nothing else."""
        assert {type(value) for value in gcs.metadata_of(RECORD, LEDGER_COLUMNS).values()} == {str}

    def test_metadata_from_before_a_column_was_added(self) -> None:
        """Metadata without the sum of a newer column gives a record with a zero sum."""
        metadata = gcs.metadata_of(RECORD, LEDGER_COLUMNS)
        del metadata["sum_quantity"]
        sums = gcs.record_of(metadata, LEDGER_COLUMNS).totals.sums
        assert sums == {**RECORD.totals.sums, "quantity": Decimal(0)}

    def test_keys_of_the_metadata(self) -> None:
        """The keys are those that readers of the lake know, and details that are not known have none."""
        keys = [
            *("source_file", "source_generation", "source_size", "source_crc32c", "run_id", "key_id", "rules_id"),
            *("rows", "sum_price", "sum_quantity", "min_date", "max_date", "fingerprint"),
        ]
        details = ["records", "rejected", "reasons", "landed_at", "started_at", "stage_seconds", "replaced_generation"]
        assert list(gcs.metadata_of(replace(RECORD, details=None), LEDGER_COLUMNS)) == keys
        assert list(gcs.metadata_of(RECORD, LEDGER_COLUMNS)) == [*keys, *details, "job_id", "bytes_billed", "erased"]

    def test_metadata_is_bounded(self) -> None:
        """Many reasons are summed up, so that the metadata stays below the limit of GCS."""
        reasons = {f"column_{number}: {'c' * 60}": number + 1 for number in range(500)}
        assert RECORD.details
        record = replace(RECORD, details=replace(RECORD.details, reasons=reasons))
        metadata = gcs.metadata_of(record, LEDGER_COLUMNS)
        assert len(metadata["reasons"].encode()) <= gcs.REASONS_BYTES
        found = gcs.record_of(metadata, LEDGER_COLUMNS).details
        assert found
        assert sum(found.reasons.values()) == sum(reasons.values())


class TestLedgerRow:
    """The ledger of a PostgreSQL table."""

    def test_types_of_the_columns(self) -> None:
        """The ledger has a sum for each number, with the decimals of its column."""
        assert TABLE.ledger_columns["sum_price"] == "numeric(38,4) NOT NULL"
        assert TABLE.ledger_columns["sum_quantity"] == "numeric(38,0) NOT NULL"

    def test_note_binds_each_column_once(self) -> None:
        """The statement binds each column once, except `loaded_at`, which is the server's clock."""
        statement = postgres_sql.note_statement(TABLE).as_string()
        bound = re.findall(r"%\((\w+)\)s", statement)
        assert bound == [name for name in TABLE.ledger_columns if name != "loaded_at"]
        assert set(bound) == set(RECORD.to_row())
        assert "ON CONFLICT (source_file, generation) DO UPDATE" in statement
        assert "clock_timestamp()" in statement


class TestPostgresStatements:
    """Statements for PostgreSQL."""

    def test_names_are_quoted(self) -> None:
        """Names are quoted, so that no configured name becomes SQL."""
        schema, *statements = (
            statement.as_string()
            for statement in (
                *postgres_catalog.missing(postgres_catalog.EMPTY, EVIL),
                postgres_sql.held_query(EVIL, EVIL.ledger_columns),
                postgres_sql.rows_query(EVIL),
                postgres_sql.any_id_query(EVIL),
                postgres_sql.twins_query(EVIL),
                postgres_sql.overlapping_query(EVIL),
                postgres_sql.shared_ids_query(EVIL),
                postgres_sql.count_ids_query(EVIL),
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
        """COPY takes the columns in staging order, because the text has no names."""
        names = ", ".join(f'"{name}"' for name in hashed_rows.staged_schema(TABLE.contract).names)
        assert postgres_sql.copy_statement(TABLE).as_string() == f'COPY "public"."t" ({names}) FROM STDIN (FORMAT text)'

    def test_table_has_the_fields_and_their_source(self) -> None:
        """The table has the fields and their source, with exact money."""
        assert tuple(TABLE.columns) == (*TABLE.contract.names, "source_file", "source_row")
        assert TABLE.columns["price"] == "numeric(18,4)"


class TestBigQueryStatements:
    """Statements for BigQuery."""

    TABLES = bigquery_sql.Tables("hijra-project", "warehouse", make_feed(bigquery_table="raw"))

    def test_names_are_quoted(self) -> None:
        """Names are quoted, because projects have hyphens."""
        assert self.TABLES.data == "`hijra-project.warehouse.raw`"
        assert self.TABLES.ledger == "`hijra-project.warehouse.raw_loads`"

    def test_load_table_has_the_columns_of_the_parquet_file(self) -> None:
        """The load table has the columns of the Parquet file, in order."""
        assert list(self.TABLES.load_columns) == hashed_rows.staged_schema(self.TABLES.contract).names

    def test_table_has_the_fields_and_their_source(self) -> None:
        """The table has the fields and their source, with exact money."""
        assert tuple(self.TABLES.columns) == (*self.TABLES.contract.names, "source_file", "source_row")
        assert self.TABLES.columns["price"] == "NUMERIC"

    def test_ledgers_have_the_same_columns(self) -> None:
        """The ledgers can be joined to compare the stores: all have the same columns, one also what a load changed."""
        shared = [name for name in self.TABLES.ledger_columns if name not in CHANGE_COLUMNS]
        assert shared == list(TABLE.ledger_columns)

    def test_replacing_is_one_transaction(self) -> None:
        """Rows and ledger change in one transaction, and the INSERT into the ledger fails if the rows are wrong."""
        steps = bigquery_sql.replace_script(self.TABLES, "_staging", {}).split(";\n")
        assert " ".join(step.split()[0] for step in steps) == "BEGIN UPDATE SELECT DELETE INSERT DELETE INSERT COMMIT"
        assert steps[3].startswith(f"DELETE FROM {self.TABLES.data} WHERE source_file IN UNNEST(@replaced)")
        assert steps[4].endswith("FROM `hijra-project.warehouse._staging`")
        assert steps[6].startswith(f"INSERT INTO {self.TABLES.ledger}")
        assert "ERROR(" in steps[6]

    def test_changes_are_computed_before_the_rows_are_gone(self) -> None:
        """What a version changes is compared before the DELETE, in the same transaction, and noted in the ledger."""
        script = bigquery_sql.replace_script(self.TABLES, "_staging", {}, compares=True)
        steps = script.split(";\n")
        assert [step.split()[0] for step in steps[3:5]] == ["CREATE", "DELETE"]
        assert steps[3].startswith("CREATE TEMP TABLE _staging_changes AS SELECT ")
        assert "c.rows_added, c.rows_gone, c.rows_changed" in steps[7]

    def test_rows_without_a_date_are_replaced_too(self) -> None:
        """Rows without a date are replaced too, despite the date range that limits the partitions."""
        assert "OR `date` IS NULL" in bigquery_sql.replace_script(self.TABLES, "_staging", {})

    def test_without_staging_only_the_ledger_changes(self) -> None:
        """A version with the same rows changes only the ledger."""
        script = bigquery_sql.replace_script(self.TABLES, None, {})
        assert self.TABLES.data not in script
        assert f"INSERT INTO {self.TABLES.ledger}" in script

    def test_values_are_cast_to_the_types_of_the_table(self) -> None:
        """Values are cast to the table's types, so that the original pipeline's table keeps its FLOAT."""
        script = bigquery_sql.replace_script(self.TABLES, "_staging", {"price": "FLOAT64", "quantity": "INT64"})
        assert "CAST(`price` AS FLOAT64), CAST(`quantity` AS INT64), CAST(`date` AS DATE)" in script

    def test_every_statement_on_the_table_is_bounded_by_date(self) -> None:
        """Every statement filters by date; others would scan the whole table or fail `require_partition_filter`."""
        statements = [
            bigquery_sql.totals_query(self.TABLES, is_exact=True),
            bigquery_sql.rows_query(self.TABLES),
            bigquery_sql.begin_ledger_statement(self.TABLES),
            *bigquery_sql.replace_script(self.TABLES, "_load", {}, compares=True).split(";\n"),
            bigquery_erasure.find_query(self.TABLES, "transaction_id"),
            *bigquery_erasure.erase_script(self.TABLES, "transaction_id", {}).split(";\n"),
        ]
        reading = [sql for sql in statements if f"FROM {self.TABLES.data}" in sql]
        assert len(reading) >= 8
        for sql in reading:
            assert sql.count(f"FROM {self.TABLES.data}") == sql.count("(`date` BETWEEN ")
        assert not [sql for sql in statements if self.TABLES.data in sql and sql not in reading and "INSERT" not in sql]

    def test_days_of_a_timestamp_bound_the_column_itself(self) -> None:
        """Bounds of a timestamp are its first and last moment on those days: a function of it would not prune."""
        tables = bigquery_sql.Tables("hijra-project", "warehouse", make_feed(Refund))
        first, last = key_bounds(tables.contract, dt.date(2024, 2, 28), dt.date(2024, 2, 29))
        assert str(first) == "2024-02-28 00:00:00+00:00"
        assert str(last) == "2024-02-29 23:59:59.999999+00:00"
        assert bigquery_sql.within(tables).startswith(" AND (`refunded_at` BETWEEN @first_key AND @last_key")
        assert "TIMESTAMP '0001-01-01 00:00:00+00:00'" in bigquery_sql.begin_ledger_statement(tables)

    def test_nothing_is_bounded_without_a_partition_key(self) -> None:
        """Without a partition key there is no condition on one, and the days in the ledger are null."""
        tables = bigquery_sql.Tables("hijra-project", "warehouse", make_feed(Note))
        statements = [
            bigquery_sql.totals_query(tables, is_exact=True),
            bigquery_sql.rows_query(tables),
            bigquery_sql.begin_ledger_statement(tables),
            bigquery_sql.replace_script(tables, "_load", {}),
        ]
        assert not [sql for sql in statements if "BETWEEN" in sql or "_key" in sql.replace("key_id", "")]
        assert all("CAST(NULL AS DATE)" in sql for sql in (statements[0], *statements[2:]))

    def test_numbers_of_the_ledger_are_sent_as_text(self) -> None:
        """Numbers of the ledger travel as text, because a JSON number loses digits beyond 2^53."""
        values = bigquery_plan.struct(self.TABLES, RECORD, None).to_api_repr()["parameterValue"]["structValues"]
        assert [name for name, value in values.items() if not isinstance(value["value"], str)] == []
        assert values["sum_quantity"]["value"] == str(2**70)
