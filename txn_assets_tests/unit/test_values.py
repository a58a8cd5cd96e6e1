"""The values between the assets: their JSON, and their parts."""

import datetime as dt
import json
from decimal import Decimal

import pytest

from txn_assets.files.ledger import FileVersion, LoadRecord, Totals
from txn_assets.files.report import Reason, RejectedSample, ValidationReport
from txn_assets.files.values import (
    FileValues,
    HashedFile,
    HashedFiles,
    RawFile,
    RawFiles,
    ValidatedFile,
    ValidatedFiles,
    from_json,
    to_json,
)

REPORT = ValidationReport(
    records=3,
    valid=2,
    rejected=1,
    reasons={"product: missing": 1},
    sample=(RejectedSample(2, (Reason("product", "missing", "Field required"),)),),
    extra_columns=("note",),
    repeated_ids=0,
)
TOTALS = Totals(2, Decimal("99999999999999.9999"), 2**70, dt.date(2023, 10, 1), None, 2**60 - 1)


def make_version(name: str = "a.csv") -> FileVersion:
    """A landed file; generations have 16 digits."""
    return FileVersion(name, 1_700_000_000_000_001, 300, "AAAAAA==")


def make_hashed(name: str = "a.csv") -> HashedFile:
    """A hashed file that is not stored yet."""
    return HashedFile(make_version(name), "rules", "sha256", TOTALS, 0, 0)


@pytest.mark.parametrize(
    "value",
    [
        RawFiles((RawFile(make_version("حلال 1.csv")), RawFile(make_version()))),
        ValidatedFiles((ValidatedFile(make_version(), "rules", REPORT),)),
        HashedFiles((make_hashed().at("gs://bucket/staging/a.parquet"),)),
        HashedFiles(()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_gives_back_the_same_value(value: FileValues) -> None:
    """Of the same kind, with exact money, large numbers and dates, and nulls."""
    back = from_json(to_json(value))
    assert type(back) is type(value)
    assert back == value


def test_json_names_its_kind() -> None:
    """A person who opens the object sees what it is."""
    assert list(json.loads(to_json(RawFiles(())))) == ["RawFiles"]


def test_money_is_text_in_json() -> None:
    """A number of JSON would become a binary float in other readers."""
    assert json.loads(to_json(HashedFiles((make_hashed(),))))["HashedFiles"]["files"][0]["totals"]["price"] == (
        "99999999999999.9999"
    )


def test_files_of_some_partitions() -> None:
    """A run of several files hands each consumer its own."""
    files = HashedFiles((make_hashed("a.csv"), make_hashed("b.csv"), make_hashed("c.csv")))
    assert [file.version.name for file in files.of({"a.csv", "c.csv"})] == ["a.csv", "c.csv"]
    assert (len(files), len(files.of([]))) == (3, 0)


def test_map_makes_files_of_files() -> None:
    """The value itself is not changed."""
    files = HashedFiles((make_hashed(),))
    assert [file.uri for file in files.map(lambda file: file.at("gs://b/x"))] == ["gs://b/x"]
    assert [file.uri for file in files] == [""]


def test_address_of_a_stored_file() -> None:
    """Bucket and object of its URI; the object's name may have slashes."""
    file = make_hashed().at("gs://bucket/staging/a b/x.parquet")
    assert (file.bucket, file.object_name) == ("bucket", "staging/a b/x.parquet")


def test_load_record_says_what_a_load_puts_into_a_store() -> None:
    """Of this version, under this key and these rules, by this run."""
    assert make_hashed().load_record("run") == LoadRecord(make_version(), "run", "sha256", "rules", TOTALS)
