"""The log of invalid records: bounded, and masked as the quarantine masks them."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.ledger import FileVersion
from txn_assets.files.log_files import LogFile
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows import invalid_records, processing
from txn_assets.rows.hashing import make_hasher
from txn_assets.rows.reading import Reading

VERSION = FileVersion("a.csv", 17, 1, "")
HASHER = make_hasher(CONTRACT.pii_fields, algorithm="sha256", key_id="", key=None)


def logged(tmp_path: Path, *rows: str) -> list[dict[str, Any]]:
    """Return what is in the log after a file of `rows` was validated."""
    folder = RunFolder(tmp_path)
    content = "\n".join([",".join(CONTRACT.names), *rows, ""]).encode()
    processing.validate_file(io.BytesIO(content), folder, reading=Reading(contract=CONTRACT), hasher=HASHER)
    log = LogFile(tmp_path / "logs" / "invalid_records.log")
    invalid_records.log_invalid_records(log, VERSION, folder.rejected, run_id="run")
    return [json.loads(line) for line in log.path.read_text().splitlines()] if log.path.exists() else []


def test_masked_record(tmp_path: Path) -> None:
    """A record has its number, its reasons and its fields, with PII hashed and formulas quoted."""
    (record,) = logged(tmp_path, "TSECRET,=1+1,x,1,2023-10-01", "T2,Mouse,1,1,2023-10-01")

    assert (record["file"], record["generation"], record["run_id"], record["source_row"]) == ("a.csv", "17", "run", 1)
    assert record["reasons"][0]["field"] == "price"
    assert record["fields"]["product"] == "'=1+1"
    assert record["fields"]["transaction_id"] == HASHER.hexdigest("TSECRET")
    assert "TSECRET" not in json.dumps(record)


def test_no_rejected_rows(tmp_path: Path) -> None:
    """A file without rejected rows adds nothing."""
    assert logged(tmp_path, "T2,Mouse,1,1,2023-10-01") == []


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first rows of a file are logged, fields are cut, and line breaks inside a field stay in its line."""
    monkeypatch.setattr(invalid_records, "MAX_RECORDS", 2)
    long = f'"a\n{"x" * 5000}"'
    records = logged(tmp_path, *(f"T{number},{long},x,1,2023-10-01" for number in range(5)))

    assert [record["source_row"] for record in records] == [1, 2]
    assert {len(record["fields"]["product"]) for record in records} == {invalid_records.MAX_CHARACTERS}
