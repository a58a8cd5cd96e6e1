"""Validation and hashing of files: what they write and report, and that clear ids stay where they are allowed."""

import csv
import datetime as dt
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from txn_assets.config import load_config
from txn_assets.environment import project_root
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.transaction import CONTRACT, ValidationRules
from txn_assets.files.ledger import FileVersion
from txn_assets.files.report import SAMPLE_ROWS, ValidationReport
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows.hashed_rows import read_valid, staged_schema
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.processing import hash_file, read_header, validate_file
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.reading import Reading
from txn_assets.rows.schemas import valid_schema
from txn_assets.sections.ingestion import Ingestion
from txn_assets_tests.unit.rows import FIELDS, HEADER, csv_bytes, make_row

CASES = Path(__file__).parent.parent / "cases"
TODAY = dt.date(2024, 9, 1)
PLAIN = Hasher(("transaction_id",), None, "sha256")
VERSION = FileVersion("it's.csv", 1, 1, "AAAAAA==")


def validated(data: bytes, folder: Path, *, hasher: Hasher = PLAIN, **ingestion: Any) -> ValidationReport:
    """Return the report on the CSV file `data`; the valid and the rejected rows are in `folder`."""
    return validate_file(BytesIO(data), RunFolder(folder), reading=reading(**ingestion), hasher=hasher)


def reading(**ingestion: Any) -> Reading:
    """Return how a file is read under the settings `ingestion`."""
    settings = Ingestion.model_validate(ingestion)
    return Reading(
        contract=settings.validation.narrow(CONTRACT).on(TODAY),
        batch_size=settings.batch_size,
        unknown_columns_key="ingestion.unknown_columns" if settings.unknown_columns == "refuse" else "",
    )


def valid_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the valid rows in `folder`."""
    return list(read_valid([RunFolder(folder).valid], CONTRACT).read_all().to_pylist())


def hashed_rows(folder: Path, *, hasher: Hasher = PLAIN) -> list[dict[str, Any]]:
    """Return the rows that `hash_file` makes of the valid rows in `folder`."""
    path = folder / "it's hashed.parquet"
    hash_file(RunFolder(folder).valid, path, file=VERSION, names=FIELDS, hasher=hasher)
    return list(pa.parquet.read_table(path).to_pylist())


class TestSampleFile:
    """`data/transactions.csv`, the original pipeline's sample."""

    @pytest.fixture
    def report(self, tmp_path: Path) -> ValidationReport:
        """Return the validation report."""
        return validated((project_root() / "data" / "transactions.csv").read_bytes(), tmp_path)

    def test_four_rows_are_valid_and_one_is_not(self, report: ValidationReport) -> None:
        """Four rows are valid, and T004 is rejected because it has no product."""
        assert (report.records, report.valid, report.rejected) == (5, 4, 1)
        assert report.reasons == {"product: missing": 1}
        assert [row.source_row for row in report.sample] == [4]

    @pytest.mark.usefixtures("report")
    def test_hashed_rows(self, tmp_path: Path) -> None:
        """The four valid rows have their record number, exact money and hashed ids."""
        rows = hashed_rows(tmp_path)
        assert list(rows[0]) == staged_schema(CONTRACT).names
        assert [(row["source_row"], row["transaction_id"], row["price"]) for row in rows] == [
            (number, PLAIN.hexdigest(f"T00{number}"), Decimal(price))
            for number, price in [(1, "999.9900"), (2, "24.9900"), (3, "49.9900"), (5, "199.9900")]
        ]
        assert {row["source_file"] for row in rows} == {VERSION.name}


class TestReport:
    """What validation says about a file."""

    def test_reasons_are_counted_by_field_and_code(self, tmp_path: Path) -> None:
        """Reasons are sorted by frequency, and an unreadable row counts as a row."""
        rows = [make_row(quantity="0"), make_row(), make_row(price="x"), make_row(price="y")]
        report = validated(csv_bytes(rows) + b"T1,x\n", tmp_path)
        assert list(report.reasons.items()) == [
            ("price: decimal_parsing", 2),
            ("quantity: greater_than_equal", 1),
            ("row: too_few_fields", 1),
        ]

    def test_sample_is_short(self, tmp_path: Path) -> None:
        """The sample of rejected rows is short, so that a bad file does not fill the log."""
        report = validated(csv_bytes([make_row(price="x")] * 30), tmp_path)
        assert [row.source_row for row in report.sample] == list(range(1, SAMPLE_ROWS + 1))

    def test_ids_on_several_rows_are_counted_once_each(self, tmp_path: Path) -> None:
        """Repeated ids are counted once each, among valid rows with an id."""
        ids = ["a", "a", "a", "b", "c", "c", "", ""]
        rows = [make_row(transaction_id=text) for text in ids] + [make_row(transaction_id="b", price="x")]
        rules = {"required_fields": [name for name in FIELDS if name != "transaction_id"]}
        assert validated(csv_bytes(rows), tmp_path, validation=rules).repeated_ids == 2

    def test_extra_columns_are_named(self, tmp_path: Path) -> None:
        """Extra columns are named, so that a check can show them."""
        data = csv_bytes([make_row(note="x")], columns=(*FIELDS, "note"))
        assert validated(data, tmp_path).extra_columns == ("note",)

    def test_file_without_rows_is_reported(self, tmp_path: Path) -> None:
        """A file without rows is reported, and its empty outputs can be read like any other."""
        report = validated(f"{HEADER}\n".encode(), tmp_path)
        assert (report.records, report.valid, report.rejected, report.repeated_ids) == (0, 0, 0, 0)
        assert valid_rows(tmp_path) == hashed_rows(tmp_path) == []

    def test_valid_rows_have_one_schema_throughout(self, tmp_path: Path) -> None:
        """Valid rows have one schema throughout, including rows with nulls that the judge accepted."""
        rows = [make_row(), make_row(product="", price=" 5 ", quantity="2.0"), make_row(price="")]
        validated(csv_bytes(rows), tmp_path, validation={"required_fields": ["transaction_id"]})
        reader = read_valid([RunFolder(tmp_path).valid], CONTRACT)
        assert reader.schema == valid_schema(CONTRACT)
        assert [(row["product"], row["price"], row["quantity"]) for row in reader.read_all().to_pylist()] == [
            ("Halal Laptop", Decimal("999.9900"), 2),
            (None, Decimal("5.0000"), 2),
            ("Halal Laptop", None, 2),
        ]


class TestGroupedThousands:
    """4.500 next to 3,95 means four and a half thousand and must not be loaded as 4.50."""

    @pytest.mark.parametrize(
        "prices",
        [
            ["4.500", "1.250", "3,95", "1.499,90"],
            ["4.500", "12.99", "3,95"],
            ["1.499,90", "12.99", " 4.500 "],
            ["12.99"] * 40_000 + ["4.500"] + ["12.99"] * 400_000 + ["3,95"],
        ],
        ids=["all", "next to two decimals", "the other way round", "in different blocks"],
    )
    def test_file_is_refused(self, tmp_path: Path, prices: list[str]) -> None:
        """The file is refused with the counts of both kinds and what to do."""
        with pytest.raises(UnreadableFileError, match=r"decimal comma \(rows: \d\).*three decimals \(rows: \d\)"):
            validated(csv_bytes(make_row(price=price) for price in prices), tmp_path)

    def test_case(self, tmp_path: Path) -> None:
        """The case file that used to load as 4.50 and 1.25 is refused."""
        with pytest.raises(UnreadableFileError, match=r"comma \(rows: 2\).*decimals \(rows: 2\)"):
            validated((CASES / "grouped_thousands.csv").read_bytes(), tmp_path)

    @pytest.mark.parametrize(
        ("prices", "rejected"),
        [
            (["4.500", "1.250", "0.125"], 0),
            (["4.50", "12.9", "3", "3,95"], 1),
            (["4.500", "1,499", "1,499.90", "dear"], 3),
        ],
        ids=["three decimals alone", "two decimals next to a comma", "grouping by commas"],
    )
    def test_other_files_are_accepted(self, tmp_path: Path, prices: list[str], rejected: int) -> None:
        """Unambiguous prices are loaded, and the others are rejected rows."""
        assert validated(csv_bytes(make_row(price=price) for price in prices), tmp_path).rejected == rejected


class TestSpreadsheetDamage:
    """Ids that went through a spreadsheet."""

    def test_blanks_are_stripped_before_hashing(self, tmp_path: Path) -> None:
        """Blanks are stripped before hashing, so that an id has one hash however it was padded."""
        rows = [make_row(transaction_id=text) for text in (" S-7001 ", "\tS-7001", "S-7001")]
        report = validated(csv_bytes(rows), tmp_path)
        assert report.repeated_ids == 1
        assert {row["transaction_id"] for row in hashed_rows(tmp_path)} == {hashlib.sha256(b"S-7001").hexdigest()}

    def test_lost_ids_are_rejected(self, tmp_path: Path) -> None:
        """Lost ids are rejected with their own code, without showing the id."""
        report = validated((CASES / "spreadsheet_ids.csv").read_bytes(), tmp_path)
        assert (report.valid, report.reasons) == (1, {"transaction_id: spreadsheet_damage": 2})
        assert "REF" not in RunFolder(tmp_path).rejected.read_text()


class TestDatesOfARun:
    """`max_date` is relative to the day of the run."""

    def test_day_more_than_a_year_ahead_is_rejected(self, tmp_path: Path) -> None:
        """A date more than a year ahead, such as a mistyped year, is rejected, and so is any date before 1970."""
        dates = ["1969-12-31", "1970-01-01", "2025-09-02", "2025-09-03", "2924-09-01"]
        report = validated(csv_bytes(make_row(date=date) for date in dates), tmp_path)
        assert (report.valid, report.reasons) == (2, {"date: date_out_of_range": 3})
        assert [str(row["date"]) for row in valid_rows(tmp_path)] == ["1970-01-01", "2025-09-02"]

    def test_configured_bounds_count(self, tmp_path: Path) -> None:
        """Configured bounds apply whatever day it is."""
        dates = ["1900-01-01", "1950-01-01", "2100-01-01", "2100-01-02"]
        rules = {"min_date": "1950-01-01", "max_date": "2100-01-01"}
        assert validated(csv_bytes(make_row(date=date) for date in dates), tmp_path, validation=rules).valid == 2


class TestUnknownColumns:
    """Setting `ingestion.unknown_columns`."""

    DATA = csv_bytes([make_row(note="x")], columns=(*FIELDS, "note"))

    def test_refused_where_configured(self, tmp_path: Path) -> None:
        """With `refuse`, unknown columns are refused by name."""
        with pytest.raises(UnreadableFileError, match=r"1 unknown columns \(note\)"):
            validated(self.DATA, tmp_path, unknown_columns="refuse")

    def test_refused_before_the_file_is_read(self) -> None:
        """The header alone is enough to refuse the file."""
        with pytest.raises(UnreadableFileError, match="note"):
            read_header(BytesIO(self.DATA), reading(unknown_columns="refuse"))

    def test_header_is_read_alone(self) -> None:
        """Only the header is read, so that a large file is not fetched."""
        stream = BytesIO(self.DATA + b"x" * 200_000)
        assert read_header(stream, reading()) == (*FIELDS, "note")
        assert stream.tell() <= 1 << 17

    def test_long_header_is_read_as_when_loading(self, tmp_path: Path) -> None:
        """A long header is read the way loading reads it, so that a loadable file is not refused early."""
        extra = [f"column_{number}" for number in range(10_000)]
        data = f"{HEADER},{','.join(extra)}\n".encode()
        assert validated(data, tmp_path).extra_columns == tuple(extra)
        assert read_header(BytesIO(data), reading()) == (*FIELDS, *extra)

    def test_row_glued_to_the_header_is_not_reported(self, tmp_path: Path) -> None:
        """A row glued to the header is not reported, because reports and metadata must hold no clear value."""
        data = f"{HEADER},CLEAR-001,Desk,9.99,1,2024-01-31\n".encode() + csv_bytes([make_row()]).partition(b"\n")[2]
        reported = repr((validated(data, tmp_path), read_header(BytesIO(data), reading())))
        assert "column 6" in reported
        assert not any(value in reported for value in ("CLEAR", "Desk", "9.99", "2024-01-31"))


CLEAR_IDS = [f"CLEAR-{number:03}" for number in range(60)]


def hostile_file() -> bytes:
    """Generate rows that are wrong in every possible way, each with its own id."""
    wrong = [
        {"product": ""}, {"price": "dear"}, {"price": "-1"}, {"quantity": "0"}, {"date": "soon"}, {"product": "\0"},
        {"price": "", "quantity": "", "date": ""}, {},
    ]  # fmt: skip
    rows = csv_bytes(make_row(transaction_id=CLEAR_IDS[number], **fields) for number, fields in enumerate(wrong))
    broken = [
        "{},too,few\n", "{},a,1,1,2020-01-01,too many\n", '{},"a"b,1,1,2020-01-01\n', '"{}"x,a,1,1,2020-01-01\n',
        "{}\0,a,1,1,2020-01-01\n", "={},a,x,1,2020-01-01\n", '{},"unclosed,1,1,2020-01-01\n',
    ]  # fmt: skip
    lines = (line.format(CLEAR_IDS[20 + number]).encode() for number, line in enumerate(broken))
    return b"".join((rows, CLEAR_IDS[40].encode() + b"\xff,caf\xe9,1,1,2020-01-01\n", *lines))


@pytest.mark.parametrize("key", [None, b"k" * 32])
def test_no_clear_id_leaves_the_scratch_folder(tmp_path: Path, key: bytes | None) -> None:
    """Neither the quarantine, nor the report, nor the hashed file holds a clear id, however a row was broken."""
    hasher = Hasher(("transaction_id",), key, "sha256")
    report = validated(hostile_file(), tmp_path, hasher=hasher)
    assert (report.valid, report.rejected) == (1, 15)
    hashed_rows(tmp_path, hasher=hasher)
    for leaving in (
        RunFolder(tmp_path).rejected.read_bytes(),
        repr(report).encode(),
        json.dumps(asdict(report)).encode(),
        (tmp_path / "it's hashed.parquet").read_bytes(),
    ):
        assert b"CLEAR" not in leaving


def test_quarantine_has_every_rejected_row(tmp_path: Path) -> None:
    """The quarantine holds every rejected row, in file order."""
    report = validated(csv_bytes([make_row(price="x"), make_row(), make_row(date="y")]), tmp_path)
    with RunFolder(tmp_path).rejected.open(encoding="utf-8", newline="") as file:
        assert [row["source_row"] for row in csv.DictReader(file)] == ["1", "3"]
    assert report.rejected == 2


def rules_id(validation: ValidationRules | None = None, **overrides: Any) -> str:
    """Return the id of the first feed's rules."""
    config = load_config()
    ingestion = config.ingestion.model_copy(update={"validation": validation or ValidationRules()})
    return feeds_of(config.model_copy(update={"ingestion": ingestion, **overrides}))[0].rules_id


class TestRulesId:
    """The name of the rules in the ledger."""

    @pytest.mark.parametrize(
        "rules",
        [
            {"required_fields": ["transaction_id"]},
            {"min_price": 1},
            {"max_quantity": 1},
            {"product_prefix": "Halal"},
            {"max_decimals": 2},
            {"min_date": "2000-01-01"},
            {"max_date": "2100-01-01"},
        ],
    )
    def test_differs_where_the_rules_differ(self, rules: dict[str, Any]) -> None:
        """Different rules have different names, so that a change of rules loads a file again."""
        assert rules_id(ValidationRules.model_validate(rules)) != rules_id(ValidationRules())

    def test_same_rules_have_one_name(self) -> None:
        """The same rules have one name, however numbers and lists are written."""
        one = ValidationRules(min_price=Decimal(1), required_fields=frozenset({"price", "date"}))
        other = ValidationRules.model_validate({"min_price": "1.00", "required_fields": ["date", "price"]})
        assert one == other
        assert rules_id(one) == rules_id(other)

    def test_is_the_same_in_every_process(self) -> None:
        """The name is the same in every process, although sets are ordered differently in each."""
        program = (
            "from txn_assets.config import load_config; from txn_assets.feeds.configured import feeds_of; "
            "print(feeds_of(load_config())[0].rules_id)"
        )
        other_process = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": "1"},
            cwd=project_root(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert other_process.stdout.strip() == rules_id(ValidationRules())
