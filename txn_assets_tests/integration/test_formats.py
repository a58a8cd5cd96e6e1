"""The forms in which people send files, one by one: loaded exactly, or refused in a sentence that says what to do.

The files of a format share a run, and each form is a test of its own. docs/formats.md has the same forms in a table.
"""

import gzip
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from txn_assets.environment import project_root
from txn_assets_tests.deployment import HEADER, Deployment, make_config

CASES = Path(__file__).parent.parent / "cases"

type Value = tuple[str, str, int, str]
"""Product, price, quantity and date of a row."""

LAMP: Value = ("Lamp", "24.50", 2, "2024-03-02")
TEA: Value = ("Käse", "3.95", 10, "2024-03-02")
USV: Value = ("Brötchen", "1499.90", 1, "2024-03-03")


@dataclass(frozen=True)
class Form:
    """A file, and what becomes of it.

    Attributes:
        name: the file's name.
        rows: the rows that the stores hold afterwards.
        rejected: field, code and message of the reason against each rejected row, and the field as sent.
        refusal: parts of the sentence with which the file is refused; it is then not loaded.
    """

    name: str
    content: bytes
    rows: tuple[Value, ...] = ()
    rejected: tuple[tuple[str, str, str, str], ...] = ()
    refusal: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sent:
    """Files that are sent in one format."""

    settings: dict[str, Any]
    forms: tuple[Form, ...] = field(default_factory=tuple)


def text(*lines: str, header: str = HEADER, delimiter: str = ",", encoding: str = "utf-8", end: str = "\n") -> bytes:
    """Return a file of `lines`; the names in its header are separated by `delimiter`."""
    names = [header.replace(",", delimiter)] if header else []
    return "".join(f"{line}{end}" for line in [*names, *lines]).encode(encoding)


def zipped(**files: bytes) -> bytes:
    """Return a ZIP archive of CSV files."""
    return archived({f"{name}.csv": content for name, content in files.items()})


def archived(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive of any files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def encrypted(archive: bytes) -> bytes:
    """Return `archive` with its file marked as encrypted."""
    return archive[:6] + bytes([archive[6] | 1]) + archive[7:]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


PLAIN = "T1,Lamp,24.50,2,2024-03-02"
MANY = text(*[f"T{number},Lamp {number},{number}.50,2,2024-03-02" for number in range(2000)])

STANDARD = Sent(
    {},
    (
        Form("byte_order_mark.csv", b"\xef\xbb\xbf" + text(PLAIN, end="\r\n"), (LAMP,)),
        Form(
            "quoted.csv",
            text('"T1","Lamp, ""large""\nand round","24.50","2","2024-03-02"'),
            (('Lamp, "large"\nand round', "24.50", 2, "2024-03-02"),),
        ),
        Form(
            "reordered.csv",
            text("2024-03-02,2,24.50,Lamp,T1,x", header="date,quantity,price,product,transaction_id,note"),
            (LAMP,),
        ),
        Form("blank_lines.csv", text("", PLAIN, "", ",,,,", ",,,,"), (LAMP,)),
        Form("packed.csv.gz", gzip.compress(text(PLAIN)), (LAMP,)),
        Form("packed.zip", zipped(any=text(PLAIN)), (LAMP,)),
        Form("packed.csv.zst", zstd(text(PLAIN)), (LAMP,)),
        Form("header_only.csv", (CASES / "header_only.csv").read_bytes()),
        Form(
            "european_excel.csv",
            (CASES / "european_excel.csv").read_bytes(),
            refusal=(
                "This looks like semicolon-separated windows-1252 with decimal commas",
                "set `format: {delimiter: ';', encoding: windows-1252, decimal: ',', thousands: '.', "
                "dates: ['%d.%m.%Y']}`",
            ),
        ),
        Form(
            "workbook.csv",
            archived({"[Content_Types].xml": b"<xml/>", "xl/workbook.xml": b""}),
            refusal=("it is an Excel workbook: send a CSV file in UTF-8",),
        ),
        Form(
            "two_files.zip",
            zipped(a=text(PLAIN), b=text(PLAIN)),
            refusal=("it is a ZIP archive with more than one file in it: send one file per archive",),
        ),
        Form(
            "encrypted.zip",
            encrypted(zipped(any=text(PLAIN))),
            refusal=("it is an encrypted ZIP archive: send it without a password",),
        ),
        Form("cut_off.csv.gz", gzip.compress(MANY)[:-30], refusal=("its gzip data is damaged or incomplete",)),
        Form(
            "unicode_text_unknown.csv",
            text(PLAIN.replace(",", "\t"), delimiter="\t", encoding="utf-16"),
            refusal=("it is UTF-16 text", "set `format: {delimiter: tab, encoding: utf-16}`"),
        ),
        Form(
            "no_header.csv",
            text(PLAIN, header=""),
            refusal=("its first line looks like data", "set `format: {header: none}`"),
        ),
        Form(
            "display_names.csv",
            text(PLAIN, header="Transaction ID,Product,Price,Quantity,Date"),
            refusal=("rename the column that looks like 'transaction_id'", "set `format: {header: loose}`"),
        ),
        Form(
            "title_lines.csv",
            text("", "EUR", HEADER, PLAIN, header="Sales of March"),
            refusal=("line 4 looks like the header", "set `format: {skip_lines: 3}`"),
        ),
        Form(
            "us_dates.csv",
            text("T1,Lamp,24.50,2,03/22/2024"),
            refusal=("No valid transactions", "dates as %m/%d/%Y", "set `format: {dates: ['%m/%d/%Y']}`"),
        ),
        Form(
            "decimal_commas.csv",
            text('T1,Lamp,"24,50",2,2024-03-02'),
            refusal=("No valid transactions", "decimal commas", "set `format: {decimal: ','}`"),
        ),
        Form(
            "grouped_thousands.csv",
            (CASES / "grouped_thousands.csv").read_bytes(),
            refusal=("it mixes amounts with a decimal comma (rows: 2) and amounts with exactly three decimals",),
        ),
    ),
)


def german(*lines: str, **options: str) -> bytes:
    """Return a file as a German Excel saves it."""
    return text(*lines, **{"delimiter": ";", "encoding": "cp1252", "end": "\r\n", **options})


TEA_LINE, USV_LINE = "G-1;Käse;3,95;10;02.03.2024", "G-2;Brötchen;1.499,90;1;03.03.2024"

EUROPEAN = Sent(
    {
        "delimiter": ";",
        "encoding": "windows-1252",
        "decimal": ",",
        "thousands": ".",
        "dates": ["%d.%m.%Y", "%d.%m.%Y %H:%M:%S"],
        "sep_line": True,
        "header": "loose",
        "columns": {"Beleg-Nr.": "transaction_id", "Artikel": "product", "Preis": "price", "Menge": "quantity"},
        "nulls": ["NULL", "k. A."],
    },
    (
        Form("german_excel.csv", (CASES / "european_excel.csv").read_bytes(), (USV, TEA)),
        Form("sep_line.csv", german("sep=;", HEADER.replace(",", ";"), TEA_LINE, header=""), (TEA,)),
        Form("loose_names.csv", german(TEA_LINE, header="Transaction ID,PRODUCT,price,Quan-tity,date"), (TEA,)),
        Form("german_names.csv", german(TEA_LINE, header="beleg-nr.,Artikel,PREIS,Menge,Date"), (TEA,)),
        Form("midnight.csv", german("G-1;Käse;3,95;10;02.03.2024 00:00:00", USV_LINE), (USV, TEA)),
        Form(
            "undefined_byte.csv",
            german(TEA_LINE, "G-3;Bre?ze;1,00;1;02.03.2024").replace(b"?", b"\x81"),
            (TEA,),
            (("product", "not_windows_1252", "The bytes are not windows-1252 text", r"Bre\x81ze"),),
        ),
        Form(
            "other_numbers.csv",
            german(TEA_LINE, USV_LINE, "G-3;Tee;3.95;1;02.03.2024", "G-4;Tee;1.49,90;1;02.03.2024"),
            (USV, TEA),
            tuple(
                (
                    "price",
                    "decimal_parsing",
                    "Input should be a number with a decimal comma, grouped by '.' or not at all, such as 1.499,90",
                    sent,
                )
                for sent in ("3.95", "1.49,90")
            ),
        ),
        Form(
            "missing_values.csv",
            german(TEA_LINE, "G-3;k. A.;3,95;10;02.03.2024"),
            (TEA,),
            (("product", "missing", "Field required", "k. A."),),
        ),
        Form(
            "german_dates.csv",
            german(TEA_LINE, "G-3;Käse;3,95;10;2024-03-02"),
            (TEA,),
            (
                (
                    "date",
                    "date_format",
                    "Input should be a date in the form %d.%m.%Y or %d.%m.%Y %H:%M:%S, at midnight if it has a time",
                    "2024-03-02",
                ),
            ),
        ),
    ),
)

SHEET = ['T1\tLamp\t"1,024.50"\t2\t3/2/2024', "T2\tTeppich £\t24.50\t2\t3/2/2024"]
SHEET_ROWS: tuple[Value, ...] = (("Lamp", "1024.50", 2, "2024-03-02"), ("Teppich £", "24.50", 2, "2024-03-02"))
UNICODE_TEXT = Sent(
    {"delimiter": "tab", "encoding": "utf-16", "thousands": ",", "dates": ["%m/%d/%Y"]},
    (
        Form("unicode_text.csv", text(*SHEET, delimiter="\t", encoding="utf-16", end="\r\n"), SHEET_ROWS),
        Form("utf16_no_mark.csv", text(*SHEET, delimiter="\t", encoding="utf-16-le"), SHEET_ROWS),
        Form("big_endian.csv", b"\xfe\xff" + text(*SHEET, delimiter="\t", encoding="utf-16-be"), SHEET_ROWS),
        Form("sheet.tsv", text(*SHEET, delimiter="\t", encoding="utf-16"), SHEET_ROWS),
    ),
)

DUMP = Sent(
    {
        "delimiter": "|",
        "encoding": "iso-8859-15",
        "quote": None,
        "comment": "#",
        "header": "none",
        "columns": ["transaction_id", "date", "warehouse", "product", "quantity", "price"],
        "dates": ["%Y%m%d"],
    },
    (
        Form(
            "database_dump.csv",
            text("# rows: 1", "T1|20240302|4|Lamp|2|24.50", "#T9|deleted", header=""),
            (LAMP,),
        ),
        Form(
            "euro_sign.csv",
            text('T1|20240302|4|5 € "off|2|24.50', header="", encoding="iso8859-15"),
            (('5 € "off', "24.50", 2, "2024-03-02"),),
        ),
    ),
)

REPORT = Sent(
    {"skip_lines": 2, "quote": "'", "thousands": " ", "dates": ["%d-%b-%Y"]},
    (
        Form(
            "report.csv",
            text("EUR", HEADER, "T1,'Lamp, large',1 024.50,2,02-Mar-2024", header="Sales of March"),
            (("Lamp, large", "1024.50", 2, "2024-03-02"),),
        ),
        Form(
            "single_quotes.csv",
            text("", HEADER, "'T1','Lamp','24.50','2','2-MAR-2024'", header="'Sales, March'"),
            (LAMP,),
        ),
    ),
)

ALL = (STANDARD, EUROPEAN, UNICODE_TEXT, DUMP, REPORT)
FORMS = [form for sent in ALL for form in sent.forms]


@dataclass(frozen=True)
class Loaded:
    """A deployment that all forms have been loaded into, and what was said about the files that were refused."""

    deployment: Deployment
    sentences: str


@pytest.fixture(scope="module")
def loaded(stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Land all forms, and load those of each format in one run."""
    config = tmp_path_factory.mktemp("formats") / "pipeline_config.yaml"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TXN_HOME": stack_home, "TXN_TARGET": "local", "TXN_CONFIG": config}.items():
            patch.setenv(name, str(value))
        for name in ("BUCKET_NAME", "TXN_EXECUTOR", "TXN_HASH_KEY", "TXN_LOG_FORMAT"):
            patch.delenv(name, raising=False)
        make_config(config)
        with Deployment.temporary(config) as deployment:
            sentences = []
            for sent in ALL:
                content = yaml.safe_load(config.read_text())
                content["ingestion"]["format"] = sent.settings
                config.write_text(yaml.safe_dump(content, sort_keys=False))
                for form in sent.forms:
                    deployment.land(form.name, form.content)
                result = deployment.materialize_batch(*(form.name for form in sent.forms))
                sentences += [check.description or "" for check in result.get_asset_check_evaluations()]
            yield Loaded(deployment, "\n".join(sentences))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_form(loaded: Loaded, form: Form) -> None:
    """The file is in the three stores exactly as it was meant, or none of it is and the sentence says why."""
    deployment = loaded.deployment

    rows = deployment.rows_everywhere(form.name)
    found = sorted((product, f"{price:.2f}", quantity, date) for _, product, price, quantity, date in rows)
    assert found == sorted(form.rows)

    rejected = deployment.quarantined(form.name) if form.rejected else []
    assert [_reason(row) for row in rejected] == list(form.rejected)

    said = loaded.sentences.partition(f"{form.name}: not loaded: ")[2].partition(": not loaded: ")[0]
    assert [part for part in form.refusal if part not in said] == []
    assert bool(said) == bool(form.refusal)


def _reason(row: dict[str, str]) -> tuple[str, str, str, str]:
    (reason,) = json.loads(row["reasons"])
    return reason["field"], reason["code"], reason["message"], row[reason["field"]]


def test_every_form_is_documented() -> None:
    """The table in docs/formats.md has the forms that are tested, in their order, and no others."""
    document = (project_root() / "docs" / "formats.md").read_text(encoding="utf-8")
    _, _, tables = document.partition("## What becomes of real files")
    listed = [line.split("`")[1] for line in tables.splitlines() if line.startswith("| `")]
    assert listed == [form.name for form in FORMS]
