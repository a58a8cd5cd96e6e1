"""`txn check`: what it says about a file, its exit codes, and what it leaves alone."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from txn_assets.cli import main
from txn_assets.environment import project_root
from txn_assets_tests.deployment import make_config

HEADER = "transaction_id,product,price,quantity,date\n"
VALID = "T1,Desk,1.50,2,2024-01-31\n"
SECRET = "ID-OF-A-PERSON"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a TXN_HOME that does not exist; use a configuration with the feed `refunds`."""
    make_config(tmp_path / "pipeline_config.yaml")
    _configure(tmp_path, feeds={"refunds": {}})
    monkeypatch.setenv("TXN_CONFIG", str(tmp_path / "pipeline_config.yaml"))
    monkeypatch.setenv("TXN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _configure(folder: Path, **sections: Any) -> None:
    config = folder / "pipeline_config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | sections))


def _check(capsys: pytest.CaptureFixture[str], file: Path, *options: str) -> tuple[int, str]:
    code = main(["check", str(file), *options])
    out, err = capsys.readouterr()
    return code, out + err


def _check_json(capsys: pytest.CaptureFixture[str], file: Path, *options: str) -> dict[str, Any]:
    code, out = _check(capsys, file, "--json", *options)
    content: dict[str, Any] = json.loads(out)
    assert content["exit_code"] == code
    return content


def _write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    file = folder / "a.csv"
    file.write_text(header + "".join(rows))
    return file


class TestFile:
    """The verdict on a whole file."""

    def test_all_rows_are_valid(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A file of valid rows gets its counts and exit code 0."""
        assert _check(capsys, _write(tmp_path, VALID)) == (
            0,
            "a.csv\n  read as     utf-8, comma\n"
            "  rows in              1\n  valid                1\n  rejected             0\n",
        )

    def test_rejected_rows(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Rejected rows are shown as `make run` shows them, and the exit code is 1."""
        code, out = _check(capsys, project_root() / "data" / "transactions.csv")

        assert code == 1
        assert "  rejected             1\n              record 4 rejected: product missing (Field required)\n" in out
        assert "FAILED" not in out

    def test_many_rejected_rows(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """The first 20 rejected rows are shown, then the count of each reason; the check of the share fails."""
        code, out = _check(capsys, _write(tmp_path, VALID, *[VALID.replace("1.50", "x")] * 30))

        assert code == 1
        assert out.startswith("FAILED  rejected_share_within_limit: 96.8% of the rows are rejected")
        assert out.count(" rejected: price decimal_parsing") == 20
        assert "30 records rejected in total: price: decimal_parsing 30\n" in out

    def test_no_valid_row(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A file without a valid row fails."""
        code, out = _check(capsys, _write(tmp_path, VALID.replace("Desk", "")))

        assert code == 1
        assert "FAILED  no row is valid" in out

    def test_warnings(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """Repeated ids and unknown columns are warnings, with exit code 0."""
        rows = [row.replace("\n", ",x\n") for row in (VALID, VALID)]
        code, out = _check(capsys, _write(tmp_path, *rows, header=HEADER.replace("\n", ",channel\n")))

        assert code == 0
        assert "  warning     transaction_ids_unique: 1 ids are on more than one row\n" in out
        assert "  warning     header_as_expected: unknown columns, not loaded: channel\n" in out

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"transaction_id,product\n", "its header lacks the columns price, quantity, date"),
            (b"\x1f\x8bnot gzip at all", "its gzip data is damaged or incomplete"),
            (b"", "it is empty"),
        ],
    )
    def test_refused_file(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, sentence: str
    ) -> None:
        """A file that a load would refuse gets the sentence of the load, and exit code 2."""
        file = tmp_path / "a.csv"
        file.write_bytes(content)

        code, out = _check(capsys, file)

        assert code == 2
        assert out.startswith(f"a.csv is not a transaction file: {sentence}")
        assert out.count("\n") == 1

    @pytest.mark.parametrize("options", [(), ("--explain", "1")], ids=["check", "explain"])
    def test_refused_file_of_another_feed(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        """The sentence names the feed that the file is not for."""
        code, out = _check(capsys, _write(tmp_path, VALID), "--feed", "refunds", *options)
        assert code == 2
        assert out.startswith("a.csv is not a file of the feed refunds: its header lacks the columns refund_id")

    def test_no_verdict(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A file that does not exist and a feed that does not exist get a sentence each, and exit code 2."""
        assert _check(capsys, tmp_path / "b.csv") == (
            2,
            f"{tmp_path}/b.csv cannot be checked: No such file or directory.\n",
        )
        code, out = _check(capsys, _write(tmp_path, VALID), "--feed", "refund")
        assert code == 2
        assert out.startswith("There is no feed 'refund' in ")
        assert out.endswith("Did you mean 'refunds'?\n")

    def test_another_feed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """`--feed` checks the rows of that feed."""
        code, out = _check(capsys, project_root() / "data" / "refunds.csv", "--feed", "refunds")

        assert code == 1
        assert "  rows in             20\n  valid               16\n  rejected             4\n" in out
        assert "record 7 rejected: reason literal_error" in out

    def test_other_form(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A file in another form is told what it looks like, whether it is refused or most rows are rejected."""
        refused = _write(tmp_path, "T1;Desk;3,95;1;2024-03-02\n", header=HEADER.replace(",", ";"))
        code, out = _check(capsys, refused)
        assert code == 2
        assert "set `format: {delimiter: ';', decimal: ','}`.\n" in out

        content = _check_json(capsys, _write(tmp_path, 'T1,Desk,"3,95",1,02.03.2024\n'))
        assert content["exit_code"] == 1
        assert content["looks_like"].endswith("set `format: {decimal: ',', dates: ['%d.%m.%Y']}`")

    def test_header_only(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A file with a header and no rows is valid, as it is for a load of a new name."""
        code, out = _check(capsys, _write(tmp_path))

        assert code == 0
        assert "  rows in              0\n" in out
        assert "FAILED" not in out

    def test_form_of_the_feed(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A file is read in the form that is configured for its feed, and the output says which that is."""
        _configure(tmp_path, ingestion={"format": {"delimiter": ";", "encoding": "windows-1252", "decimal": ","}})
        rows = [HEADER.replace(",", ";"), "T001;Schöner Tisch;1,50;2;2024-01-31\n", "T002;;1,50;2;2024-01-31\n"]
        file = tmp_path / "a.csv.gz"
        file.write_bytes(gzip.compress("".join(rows).encode("cp1252")))

        code, out = _check(capsys, file)

        assert code == 1
        assert "a.csv.gz\n  read as     windows-1252, semicolon, gzip\n  rows in              2\n" in out
        content = _check_json(capsys, file, "--explain", "1")
        values = {field["name"]: field["value"] for field in content["fields"]}
        assert (values["product"], values["price"]) == ("Schöner Tisch", "1.5000")

    def test_optional_column_that_the_file_lacks(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """An optional column may be absent, and the output says so."""
        header = "refund_id,transaction_id,reason,amount,refunded_at\n"
        file = _write(tmp_path, "R1,T1,late,1.00,2024-01-31T00:00:00Z\n", header=header)

        code, out = _check(capsys, file, "--feed", "refunds")

        assert code == 0
        assert "  note        optional columns that the file lacks: partial\n" in out

    def test_json(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """`--json` prints an object with everything that the text says."""
        rows = [VALID.replace("\n", ",x\n"), ",Desk,1.50,2,2024-01-31,x\n"]
        file = _write(tmp_path, *rows, header=HEADER.replace("\n", ",channel\n"))

        assert _check_json(capsys, file) == {
            "file": "a.csv",
            "feed": "transactions",
            "exit_code": 1,
            "refused": None,
            "form": {"encoding": "utf-8", "delimiter": "comma", "compression": ""},
            "columns": ["transaction_id", "product", "price", "quantity", "date", "channel"],
            "unknown_columns": ["channel"],
            "missing_columns": [],
            "rows": {"in": 2, "valid": 1, "rejected": 1},
            "reasons": {"transaction_id: missing": 1},
            "rejected_rows": [
                {
                    "source_row": 2,
                    "reasons": [{"field": "transaction_id", "code": "missing", "message": "Field required"}],
                }
            ],
            "repeated_ids": 0,
            "looks_like": None,
            "failed_checks": [
                {"name": "no_rejected_rows", "sentence": "1 of 2 rows rejected", "is_error": False},
                {
                    "name": "header_as_expected",
                    "sentence": "unknown columns, not loaded: channel",
                    "is_error": False,
                },
            ],
        }

    def test_json_of_a_refused_file(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """`--json` prints an object with the sentence for a file without a verdict."""
        content = _check_json(capsys, _write(tmp_path, header="a,b\n"))

        assert content["refused"].startswith("a.csv is not a transaction file: ")
        assert set(content) == {"file", "feed", "exit_code", "refused"}


@pytest.mark.parametrize(
    ("feed", "header", "valid"),
    [
        ("transactions", HEADER, VALID),
        ("refunds", "refund_id,transaction_id,reason,amount,refunded_at\n", "R1,T1,late,1,2024-01-31T00:00:00Z\n"),
    ],
)
def test_checks_have_their_names_in_dagster(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, feed: str, header: str, valid: str
) -> None:
    """Every check that fails is a check of the asset with the valid rows, with the same severity."""
    import dagster as dg

    from txn_assets.config import load_config
    from txn_assets.definitions import build

    rows = [row.replace("\n", ',6"\n') for row in (valid, valid, *[valid.replace("T1", "").replace("Desk", "")] * 9)]
    file = _write(tmp_path, *rows, header=header.replace("\n", ",size\n"))

    failed = _check_json(capsys, file, "--feed", feed)["failed_checks"]

    asset = dg.AssetKey([*(["refunds"] if feed == "refunds" else []), f"validated_{feed}"])
    blocking = {spec.name: spec.blocking for spec in build(load_config()).get_assets_def(asset).check_specs}
    assert {check["name"]: check["is_error"] for check in failed} | {"every_row_accounted_for": True} == blocking


def test_failed_check_without_rejected_rows() -> None:
    """A check that would fail the load gives exit code 1, also if no row is rejected."""
    from txn_assets.files.report import ValidationReport
    from txn_assets.senders.check import FailedCheck, Outcome

    report = ValidationReport(2, 1, 0, {}, (), (), 0)
    failed = (FailedCheck("every_row_accounted_for", "2 in, 1 valid, 0 rejected", is_error=True),)
    outcome = Outcome(
        file="a.csv", feed="transactions", form={}, columns=(), missing_columns=(), report=report, failed=failed
    )

    assert outcome.exit_code == 1
    assert outcome.text().startswith("FAILED  every_row_accounted_for: 2 in, 1 valid, 0 rejected\n")


class TestRecord:
    """`--explain`: the verdict on one record."""

    def test_rejected_record(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Each field is valid, or has its reason and its rule."""
        code, out = _check(capsys, project_root() / "data" / "transactions.csv", "--explain", "4")

        assert code == 1
        assert out.splitlines() == [
            "record 4 of transactions.csv: rejected",
            "  transaction_id  valid    (hidden)",
            "  product         invalid  (empty)",
            "                           missing: Field required",
            "                           rule: text with a visible character, but no spreadsheet formula or error value",
            '  price           valid    "29.99"',
            '  quantity        valid    "3"',
            '  date            valid    "2023-10-04"',
        ]

    def test_valid_record(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A valid record is shown as it would be loaded, with exit code 0."""
        content = _check_json(capsys, _write(tmp_path, VALID, " T2 ,Desk,01.5,2.0,2024-02-29\n"), "--explain", "2")

        assert content["is_valid"]
        values = {field["name"]: field["value"] for field in content["fields"]}
        assert values == {
            "transaction_id": "(hidden)",
            "product": "Desk",
            "price": "1.5000",
            "quantity": "2",
            "date": "2024-02-29",
        }

    def test_record_that_cannot_be_split(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """A record with too few fields has a reason, and no fields: any of them may hold PII."""
        code, out = _check(capsys, _write(tmp_path, VALID, "T002,Desk\n"), "--explain", "2")

        assert code == 1
        assert out == ("record 2 of a.csv: rejected\n  too_few_fields: The row has 2 fields, the header 5\n")

    @pytest.mark.parametrize("row", ["0", "-1", "3"])
    def test_no_such_record(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, row: str) -> None:
        """A record that the file does not have is a sentence and exit code 2."""
        assert _check(capsys, _write(tmp_path, VALID, VALID), "--explain", row) == (2, f"a.csv has no record {row}.\n")

    def test_record_far_down(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """Records are counted across the blocks of a large file."""
        rows = [VALID] * 400_000 + [VALID.replace("1.50", "x"), VALID]
        content = _check_json(capsys, _write(tmp_path, *rows), "--explain", "400001")

        assert [field["name"] for field in content["fields"] if field["reason"]] == ["price"]


@pytest.mark.parametrize("options", [[], ["--json"], ["--explain", "1"], ["--explain", "2", "--json"]])
def test_no_pii(capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str]) -> None:
    """No value of a PII column is in the output, whether its row is valid or not."""
    rows = [VALID.replace("T1", SECRET), VALID.replace("T1", SECRET).replace("Desk", ""), f"'{SECRET},,,,\n"]

    _, out = _check(capsys, _write(tmp_path, *rows), *options)

    assert "a.csv" in out
    assert SECRET not in out


def test_nothing_is_started_or_written(home: Path, tmp_path: Path) -> None:
    """The command neither imports Dagster or a client, nor writes below TXN_HOME or leaves a file behind."""
    file = _write(tmp_path, VALID, VALID.replace("Desk", ""))
    (tmp_path / "tmp").mkdir()
    code = (
        "import sys, tempfile; from txn_assets.cli import main; "
        f"tempfile.tempdir = {str(tmp_path / 'tmp')!r}; main(['check', {str(file)!r}]); "
        "print({'dagster', 'google.cloud', 'psycopg', 'txn_assets.stores.clients'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"
    assert not home.exists()
    assert list((tmp_path / "tmp").iterdir()) == []
