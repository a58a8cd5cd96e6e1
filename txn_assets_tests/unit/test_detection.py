"""What a refused file looks like: a form under which its rows are valid, and nothing that is only a guess."""

import datetime as dt
import gzip
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from txn_assets.feeds.refund import Refund
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.files.run_folder import RunFolder
from txn_assets.rows.contract import RowContract
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.processing import read_header, validate_file
from txn_assets.rows.reader.detection import HEAD_BYTES, looks_like
from txn_assets.rows.reader.file_format import FileFormat
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.reading import Reading
from txn_assets_tests.unit.csv_files import form
from txn_assets_tests.unit.rows import HEADER

CASES = Path(__file__).parent.parent / "cases"
TODAY = dt.date(2024, 9, 1)
REFUNDS = RowContract.of(Refund).on(TODAY)


def reading(contract: RowContract = CONTRACT, **settings: Any) -> Reading:
    return Reading(contract=contract.on(TODAY), file_format=form(**settings))


def file_of(*rows: str, header: str = HEADER, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    """Return a file of `rows`, written with commas, in which the delimiter is replaced."""
    return "".join(f"{line}\n" for line in (header, *rows)).replace(",", delimiter).encode(encoding)


def suggested(sentence: str) -> FileFormat:
    """Return the format that `sentence` suggests, as YAML reads it."""
    settings = yaml.safe_load(sentence.partition("`format: ")[2].partition("`")[0])
    return FileFormat.model_validate(settings)


def test_european_excel() -> None:
    """The sentence has the whole form of a file from a European Excel."""
    sentence = looks_like((CASES / "european_excel.csv").read_bytes(), reading())
    assert sentence == (
        "This looks like semicolon-separated windows-1252 with decimal commas, points between thousands and dates as "
        "%d.%m.%Y. If that is how this feed is sent, set `format: {delimiter: ';', encoding: windows-1252, "
        "decimal: ',', thousands: '.', dates: ['%d.%m.%Y']}`"
    )


GERMAN = ["Käse", "Brötchen", "Crème brûlée", "Öl", "Straßenkarte", "Möbel für Gärten"]
ROW = "T1,Käse,1.50,1,2024-01-31"


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (file_of(ROW, delimiter=";"), {"delimiter": ";"}),
        (file_of(ROW, delimiter="\t"), {"delimiter": "\t"}),
        (file_of(ROW, delimiter="|"), {"delimiter": "|"}),
        (file_of(ROW, encoding="cp1252"), {"encoding": "windows-1252"}),
        (file_of(ROW, delimiter="\t", encoding="utf-16"), {"delimiter": "\t", "encoding": "utf-16"}),
        (file_of(ROW, delimiter="\t", encoding="utf-16-le"), {"delimiter": "\t", "encoding": "utf-16"}),
        (file_of('T1,x,"3,95",1,2024-01-31'), {"decimal": ","}),
        (file_of('T1,x,"1,499.50",1,2024-01-31'), {"thousands": ","}),
        (file_of("T1,x,1'499.50,1,2024-01-31"), {"thousands": "'"}),
        (file_of("T1,x,1.50,1,01/31/2024"), {"dates": ["%m/%d/%Y"]}),
        (file_of("T1,x,1.50,1,31-Jan-2024"), {"dates": ["%d-%b-%Y"]}),
        (file_of("T1,x,1.50,1,20240131"), {"dates": ["%Y%m%d"]}),
        (file_of("T1,x,1.50,1,2024-01-31 00:00:00"), {"dates": ["%Y-%m-%d %H:%M:%S"]}),
        (file_of(ROW, header="Transaction ID,PRODUCT,Price,Quantity,Date"), {"header": "loose"}),
        (file_of(ROW, header=HEADER.replace("price", "prize")), {"columns": {"prize": "price"}}),
        (b"sep=;\n" + file_of(ROW, delimiter=";"), {"delimiter": ";", "sep_line": True}),
        (b"Sales\n\nof May\n" + file_of(ROW), {"skip_lines": 3}),
        (b"# Sales\n# of May\n" + file_of(ROW), {"comment": "#"}),
        (file_of(ROW, ROW, header=ROW), {"header": "none"}),
        (
            file_of(ROW, header="Beleg-Nr.,Artikel,Preis (€),Menge,date"),
            {
                "columns": {
                    "Beleg-Nr.": "transaction_id",
                    "Artikel": "product",
                    "Preis (€)": "price",
                    "Menge": "quantity",
                }
            },
        ),
        (
            file_of("'T1','Desk, oak','1.50','1','2024-01-31'", header="'" + HEADER.replace(",", "','") + "'"),
            {"quote": "'"},
        ),
        (gzip.compress(file_of(ROW, delimiter=";"), mtime=0), {"delimiter": ";"}),
    ],
)
def test_form_is_recognized(data: bytes, settings: dict[str, Any]) -> None:
    """The suggested format can be pasted, and all rows are valid with it."""
    assert suggested(looks_like(data, reading())) == form(**settings)


def test_refunds() -> None:
    """Timestamps and missing values of another feed are recognized too."""
    data = file_of(
        "R1,T1,late,3.50,31.01.2024 13:05:00+01:00,NULL",
        "R2,T1,other,3.50,31.01.2024 13:05:00+01:00,true",
        header="refund_id,transaction_id,reason,amount,refunded_at,partial",
        delimiter=";",
    )
    assert suggested(looks_like(data, reading(REFUNDS))) == form(
        delimiter=";", dates=["%d.%m.%Y %H:%M:%S%z"], nulls=["NULL"]
    )


def test_day_that_may_be_a_month() -> None:
    """If the rows do not tell a day from a month, the sentence has both patterns and leaves the choice."""
    sentence = looks_like(file_of("T1,x,1.50,1,02/03/2024"), reading())
    assert "with dates as %d/%m/%Y or %m/%d/%Y" in sentence
    assert sentence.endswith("with the dates that are meant: the first rows do not tell a day from a month")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"%PDF-1.7\n%\xe2\xe3",
        b"PK\x03\x04....",
        b"\x1f\x8b....",
        b"\x00\xff" * 100,
        file_of(ROW),
        file_of('T1,x,"1,499",1,2024-01-31'),
        file_of("T1,x,1.50,1,2024-01-31 10:00:00"),
        file_of("T1,x,free,1,2024-01-31", delimiter=";"),
        file_of(delimiter=";"),
        file_of("a,b,c", header="x,y,z"),
        file_of("T1,Сыр,1.50,1,2024-01-31", delimiter=";", encoding="koi8-r").replace(b"\xf3", b"\x81\x8d"),
    ],
)
def test_nothing_is_said(data: bytes) -> None:
    """Nothing is said of a file that is in order, that no format would load, or that could mean two things."""
    assert looks_like(data, reading()) == ""


def test_default_form_is_recognized() -> None:
    """A file in the standard form is recognized in a feed that is sent otherwise."""
    assert suggested(looks_like(file_of(ROW), reading(delimiter=";", decimal=","))) == FileFormat()


def test_no_value_is_shown() -> None:
    """The sentence has no value of a row, whatever the file is."""
    data = file_of("SECRET1,SECRET2,3,95,7,31.01.2024", delimiter=";", header=HEADER).replace(b"3;95", b"3,95")
    sentence = looks_like(data, reading())
    assert "semicolon" in sentence
    assert not any(value in sentence for value in ("SECRET", "3,95", "31.01"))


def test_names_are_shown_as_what_they_are() -> None:
    """A name with a character that would not show, or reorder the sentence, is escaped, and is still that name."""
    name = 'produc\u202et\u00a0\U000e0041"\\'
    sentence = looks_like(file_of("T1,Desk,1.50,1,2024-01-31", header=HEADER.replace("product", name)), reading())
    assert sentence.isprintable()
    assert suggested(sentence).columns == {name: "product"}


def test_long_names_are_not_suggested() -> None:
    """A form is suggested in a sentence, not in the kilobytes that a name may have."""
    header = ",".join("abcde")
    assert "columns: {a: transaction_id" in looks_like(file_of("T1,Desk,1.50,1,2024-01-31", header=header), reading())
    for long in (header.replace("a", "a" * 5000), HEADER.replace("product", f"product{' ' * 5000}s")):
        assert not looks_like(file_of("T1,Desk,1.50,1,2024-01-31", header=long), reading())


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("mac_roman", GERMAN),
        ("cp850", GERMAN),
        ("cp1250", ["Ser żółty", "Chleb żytni", "Krzesło dębowe", "Źródło światła", "Łóżko", "Książka"]),
    ],
)
def test_encoding_that_no_format_has(encoding: str, words: list[str]) -> None:
    """Text of a Macintosh, DOS or Poland is not taken for windows-1252, in which it would be other text."""
    rows = [f"T{number},{word},1.50,1,2024-01-31" for number, word in enumerate(words)]
    assert looks_like(file_of(*rows, delimiter=";", encoding=encoding), reading()) == ""


def test_western_text() -> None:
    """Western text in an encoding of Windows is taken for windows-1252."""
    rows = [f"T{number},{word},1.50,1,2024-01-31" for number, word in enumerate(GERMAN)]
    assert "windows-1252" in looks_like(file_of(*rows, delimiter=";", encoding="cp1252"), reading())


def test_first_part_is_enough() -> None:
    """Only the first part of a large file is looked at, and a row that is cut does not matter."""
    data = file_of(*[ROW] * 20_000, delimiter=";")
    assert suggested(looks_like(data[: HEAD_BYTES + 5], reading())) == form(delimiter=";")


@given(st.binary(max_size=300), st.sampled_from([b"", HEADER.encode() + b"\n", HEADER.replace(",", ";").encode()]))
@settings(max_examples=100, deadline=None)
def test_any_bytes(rest: bytes, start: bytes) -> None:
    """Whatever the bytes are, there is a sentence or none."""
    looks_like(start + rest, reading())


class TestRefusals:
    """The sentence is part of the messages about a file that is refused."""

    def test_header(self) -> None:
        """A header that is refused comes with the sentence, after what is wrong."""
        with pytest.raises(UnreadableFileError) as caught:
            read_header(io.BytesIO(file_of(ROW, delimiter=";")), reading())
        assert str(caught.value) == (
            "its header lacks the columns transaction_id, product, price, quantity, date: its fields are separated by "
            "';': separate them with commas. This looks like semicolon-separated UTF-8. If that is how this feed is "
            "sent, set `format: {delimiter: ';'}`"
        )

    def test_rows(self, tmp_path: Path) -> None:
        """A file most of whose rows are rejected comes with the sentence in its report."""
        hasher = Hasher(("transaction_id",), None, "sha256")
        data = file_of("T1,x,1.50,1,31.01.2024", "T2,x,1.50,1,31.01.2024", ROW)
        report = validate_file(io.BytesIO(data), RunFolder(tmp_path), reading=reading(), hasher=hasher)
        assert report.valid == 1
        assert suggested(report.looks_like) == form(dates=["%d.%m.%Y"])
        assert report.hint() in str(report.over_limit(Decimal("0.5"), "ingestion.max_invalid_ratio"))

    def test_good_file(self, tmp_path: Path) -> None:
        """A file whose rows are mostly valid has no sentence."""
        hasher = Hasher(("transaction_id",), None, "sha256")
        data = file_of("T1,x,1.50,1,31.01.2024", ROW, ROW)
        report = validate_file(io.BytesIO(data), RunFolder(tmp_path), reading=reading(), hasher=hasher)
        assert (report.looks_like, report.hint()) == ("", "")
