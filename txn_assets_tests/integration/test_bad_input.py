"""Files as people really send them: each is loaded, or refused in one clear sentence."""

import datetime as dt
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from txn_assets_tests.deployment import (
    HEADER,
    Deployment,
    failed_checks,
    failure,
    make_file,
    make_row,
    many_rows,
)

CASES = Path(__file__).parent.parent / "cases"
ROW = make_row()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"\xff\xfet\x00", "UTF-16"),
        (b"PK\x03\x04....", "a ZIP archive or an Excel workbook"),
        (make_file(ROW, header="transaction_id,product,price,quantity"), "lacks the column date"),
        (make_file(ROW, header=f"{HEADER},price"), "its header names the column price 2 times"),
        (make_file(ROW, header=HEADER.replace(",", ";")), "separated by ';'"),
        (make_file(header="Transaction ID,product,price,quantity,date"), "looks like 'transaction_id'"),
        (gzip.compress(make_file(ROW) * 5000)[:-20], "its gzip data is damaged"),
        (gzip.compress(gzip.compress(make_file(ROW))), "it is compressed twice"),
        ((CASES / "utf16_without_bom.csv").read_bytes(), "it is UTF-16 text"),
        (b"sep=,\n" + make_file(ROW), "line 2 looks like the header"),
        (make_file(), "bad.csv has a header and no rows, but an earlier version had rows"),
    ],
)
def test_refused_file(deployment: Deployment, content: bytes, sentence: str) -> None:
    """A file that is not a transaction file fails with one sentence, and no sink is touched."""
    deployment.load("bad.csv", ROW)
    deployment.land("bad.csv", content)

    result = deployment.materialize("bad.csv", raise_on_error=False)

    assert sentence in failure(result)
    assert len(deployment.rows_everywhere("bad.csv")) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + make_file(ROW),
        make_file(ROW).replace(b"\n", b"\r\n"),
        gzip.compress(make_file(ROW)),
        make_file("", ROW, "", ""),
        make_file(ROW).rstrip(b"\n"),
        make_file("2023-10-01,2,999.99,Halal Laptop,T001", header=",".join(reversed(HEADER.split(",")))),
        make_file(f"{ROW},x", header=f"{HEADER},note"),
    ],
    ids=["bom", "crlf", "gzip", "blank lines", "no last newline", "reordered", "extra column"],
)
def test_accepted_file(deployment: Deployment, content: bytes) -> None:
    """Harmless differences in format load the same row."""
    deployment.land("odd.csv", content)

    deployment.materialize("odd.csv")

    ((_, product, price, quantity, date),) = deployment.rows_everywhere("odd.csv")
    assert (product, str(price), quantity, date) == ("Halal Laptop", "999.9900", 2, "2023-10-01") or price == 999.99


@pytest.mark.parametrize(
    ("case", "products", "ids"),
    [
        ("blank_before_quote.csv", ["Desk Lamp", "Shelf, oak"], ["S-7001", "S-7003"]),
        ("bom_inside.csv", ["Milk", "Tea"], ["B-1", "B-2"]),
        ("excel_empty_lines.csv", ["Pen"] * 5, [f"E-{number}" for number in range(1, 6)]),
    ],
)
def test_case_is_loaded(deployment: Deployment, case: str, products: list[str], ids: list[str]) -> None:
    """Blanks before quotes, a byte order mark inside the file, and a spreadsheet's empty lines are accepted."""
    deployment.land(case, (CASES / case).read_bytes())

    deployment.materialize(case)

    rows = deployment.rows_everywhere(case)
    assert sorted(row[1] for row in rows) == products
    assert {row[0] for row in rows} == {hashlib.sha256(text.encode()).hexdigest() for text in ids}


def test_stray_quotes_are_a_warning(deployment: Deployment) -> None:
    """An inch sign is loaded as text; a row that lost the comma before a quoted field is not loaded."""
    content = make_file('T1,Pipe 48",1.00,1,2024-01-31', 'T2"Desk, oak",1.00,1,2024-01-31')
    deployment.configure({"ingestion": {"max_invalid_ratio": 1}})
    deployment.land("a.csv", content)

    result = deployment.materialize("a.csv")

    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert [row[1] for row in deployment.rows_everywhere("a.csv")] == ['Pipe 48"']
    assert checks["no_stray_quotes"].description == (
        "a.csv: rows with a quote inside an unquoted field, loaded as text: 1"
    )


def test_text_survives(deployment: Deployment) -> None:
    """Quotes, commas, newlines and any script arrive in each store as sent, except for blanks at either end."""
    products = ['24" Monitor, "new"', "two\nlines", " padded ", "سجادة صلاة", "=1+1", "'quoted'", "\\N", "NULL"]

    deployment.load("t.csv", *[make_row(transaction_id=f"T{n}", product=p) for n, p in enumerate(products)])

    assert sorted(row[1] for row in deployment.rows_everywhere("t.csv")) == sorted(p.strip() for p in products)


def test_grouped_thousands(deployment: Deployment) -> None:
    """A file whose 4.500 means 4500 is refused, and each store keeps what it had."""
    deployment.load("g.csv", ROW)
    deployment.land("g.csv", (CASES / "grouped_thousands.csv").read_bytes())

    result = deployment.materialize("g.csv", raise_on_error=False)

    assert "decimal comma (rows: 2)" in failure(result)
    assert len(deployment.rows_everywhere("g.csv")) == 1


@pytest.mark.parametrize(
    ("case", "ids"), [("spreadsheet_ids.csv", [b"X-1"]), ("one_id_five_ways.csv", [b"S-7001"] * 3)]
)
def test_spreadsheet_damage(deployment: Deployment, case: str, ids: list[bytes]) -> None:
    """A destroyed id is rejected with its own code; the others are loaded without blanks and quotes."""
    deployment.configure({"ingestion": {"max_invalid_ratio": 1}})
    deployment.land("s.csv", (CASES / case).read_bytes())

    deployment.materialize("s.csv")

    loaded = [row[0] for row in deployment.rows_everywhere("s.csv")]
    assert loaded == [hashlib.sha256(id_).hexdigest() for id_ in ids]
    reasons = [json.loads(row["reasons"])[0]["code"] for row in deployment.quarantined("s.csv")]
    assert reasons == ["spreadsheet_damage"] * 2


def test_dates_that_block_a_table(deployment: Deployment) -> None:
    """A date far from today is rejected, because it would create a permanent partition."""
    today = dt.datetime.now(dt.UTC).date()
    days = [dt.date(1, 1, 1), dt.date(1970, 1, 1), today + dt.timedelta(days=360), today + dt.timedelta(days=370)]

    deployment.load("d.csv", *[make_row(transaction_id=f"T{n}", date=str(day)) for n, day in enumerate(days)])

    assert sorted(row[4] for row in deployment.rows_everywhere("d.csv")) == [str(day) for day in days[1:3]]
    assert {json.loads(row["reasons"])[0]["code"] for row in deployment.quarantined("d.csv")} == {"date_out_of_range"}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_scratch_too_small(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, compress: Callable[[bytes], bytes]
) -> None:
    """A file that does not fit is refused by its size before its first row; a file that fits is still loaded."""
    monkeypatch.setenv("TXN_SCRATCH_LIMIT", "60Ki")
    # These prices refuse the file as well, but only once all rows are read.
    prices = [make_row(price="3,95"), make_row(price="4.500")]
    deployment.land("large.csv", compress(make_file(*many_rows(1000), *prices)))
    deployment.land("small.csv", make_file(ROW))

    result = deployment.materialize("large.csv", select="raw_csv+", raise_on_error=False)
    batch = deployment.materialize_batch("large.csv", "small.csv")

    assert "large.csv does not fit into the scratch space: it needs about" in failure(result)
    assert not deployment.quarantined("large.csv")
    assert "matches_hashed_transactions" in failed_checks(batch)
    assert (len(deployment.rows_everywhere("large.csv")), len(deployment.rows_everywhere("small.csv"))) == (0, 1)


def test_unknown_columns_refused(deployment: Deployment) -> None:
    """With unknown_columns: refuse, an extra column fails the file."""
    deployment.configure({"ingestion": {"unknown_columns": "refuse"}})
    deployment.land("a.csv", make_file(f"{ROW},x", header=f"{HEADER},note"))

    result = deployment.materialize("a.csv", raise_on_error=False)

    assert "unknown columns (note)" in failure(result)


def test_never_landed(deployment: Deployment) -> None:
    """A partition that never landed is refused by name."""
    with pytest.raises(Exception, match=r"never\.csv"):
        deployment.materialize("never.csv")


def test_landed_then_deleted(deployment: Deployment) -> None:
    """A registered file that was deleted fails with a sentence that says what to do."""
    deployment.load("a.csv", ROW)
    deployment.bucket.blob("landing/transactions/a.csv").delete()

    result = deployment.materialize("a.csv", raise_on_error=False)

    assert failure(result).startswith("No file 'a.csv' has landed in gs://")


def test_two_files_for_one_object(deployment: Deployment) -> None:
    """Of two landed names that would share an object in the data lake, the second is refused and the first stays."""
    deployment.load("a.csv.gz.csv", ROW)
    deployment.land("a.csv.gz", make_file(make_row(transaction_id="T9")))

    result = deployment.materialize("a.csv.gz", raise_on_error=False)

    assert "already holds the landed file 'a.csv.gz.csv'" in failure(result)
    assert len(deployment.rows("gcs_raw", "a.csv.gz.csv")) == 1


def test_name_that_is_too_long(deployment: Deployment) -> None:
    """A name that fits the landing zone is refused if the names derived from it would not fit the bucket."""
    name = f"{'d/' * 493}a.csv"
    deployment.land(name, make_file(make_row()))

    result = deployment.materialize(name, raise_on_error=False)

    assert "has 991 bytes" in failure(result)
    assert "land the file under a name of at most 987 bytes" in failure(result)
