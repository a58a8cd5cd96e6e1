"""The values between the assets: their JSON and their parts."""

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal

import pytest
from pydantic import ValidationError

from txn_assets.files.ledger import FileVersion, LoadDetails, LoadRecord, Totals
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
SUMS = {"amount": Decimal("99999999999999.9999"), "pieces": Decimal(2**70)}
TOTALS = Totals(2, SUMS, dt.date(2023, 10, 1), None, 2**60 - 1)

MOMENT = dt.datetime(2026, 11, 26, 6, 1, 2, 345678, tzinfo=dt.UTC)
DETAILS = LoadDetails(3, 1, {"product: missing": 1}, MOMENT, MOMENT, {"validate": 0.25})


def make_version(name: str = "a.csv") -> FileVersion:
    """Return a landed file; generations have 16 digits."""
    return FileVersion(name, 1_700_000_000_000_001, 300, "AAAAAA==")


def make_hashed(name: str = "a.csv") -> HashedFile:
    """Return a hashed file that is not stored yet."""
    return HashedFile(make_version(name), "rules", "sha256", TOTALS, 0, 0)


@pytest.mark.parametrize(
    "value",
    [
        RawFiles((RawFile(make_version("حلال 1.csv")), RawFile(make_version()))),
        ValidatedFiles((ValidatedFile(make_version(), "rules", REPORT, MOMENT, 0.25),)),
        HashedFiles((replace(make_hashed(), details=DETAILS),)),
        HashedFiles((make_hashed().at("gs://bucket/staging/a.parquet", rejects_uri="gs://bucket/a.rejects.parquet"),)),
        HashedFiles(()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_json_gives_back_the_same_value(value: FileValues) -> None:
    """JSON gives back the same value of the same kind, with exact money, large numbers, dates and nulls."""
    back = from_json(to_json(value))
    assert type(back) is type(value)
    assert back == value


def test_json_names_its_kind() -> None:
    """The JSON names its kind, for people who open the object."""
    assert list(json.loads(to_json(RawFiles(())))) == ["RawFiles"]


def test_money_is_text_in_json() -> None:
    """Money is text in JSON, because other readers would turn a number into a binary float."""
    (file,) = json.loads(to_json(HashedFiles((make_hashed(),))))["HashedFiles"]["files"]
    assert file["totals"]["sums"]["amount"] == "99999999999999.9999"


def test_value_of_an_earlier_release_is_refused() -> None:
    """A value with other totals, as an earlier release wrote it, is refused with an error that staging expects."""
    (data,) = json.loads(to_json(HashedFiles((make_hashed(),)))).values()
    totals = data["files"][0]["totals"]
    totals["price"] = totals.pop("sums")["amount"]
    with pytest.raises(ValidationError):
        from_json(json.dumps({"HashedFiles": data}).encode())


def test_value_without_details_can_be_read() -> None:
    """A value that a release without details has stored is read as it is."""
    (data,) = json.loads(to_json(HashedFiles((make_hashed(),)))).values()
    del data["files"][0]["details"]
    assert from_json(json.dumps({"HashedFiles": data}).encode()) == HashedFiles((make_hashed(),))


def test_files_of_some_partitions() -> None:
    """A run of several files gives each consumer its own files."""
    files = HashedFiles((make_hashed("a.csv"), make_hashed("b.csv"), make_hashed("c.csv")))
    assert [file.version.name for file in files.of({"a.csv", "c.csv"})] == ["a.csv", "c.csv"]
    assert (len(files), len(files.of([]))) == (3, 0)


def test_map_makes_files_of_files() -> None:
    """`map` returns new files and leaves the original value unchanged."""
    files = HashedFiles((make_hashed(),))
    assert [file.uri for file in files.map(lambda file: file.at("gs://b/x"))] == ["gs://b/x"]
    assert [file.uri for file in files] == [""]


def test_load_record_says_what_a_load_puts_into_a_store() -> None:
    """The load record describes this version, under this key and these rules, by this run."""
    assert make_hashed().load_record("run") == LoadRecord(make_version(), "run", "sha256", "rules", TOTALS)
