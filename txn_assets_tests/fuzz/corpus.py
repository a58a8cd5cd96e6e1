"""The forms of the fuzzer: feeds with a format, and a small good file of each to begin with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from txn_assets.feeds.feed import Feed
from txn_assets.feeds.models import FieldSection, build_model
from txn_assets.feeds.refund import Refund
from txn_assets.feeds.transaction import Transaction
from txn_assets.rows.contract import Row
from txn_assets.rows.reader.file_format import FileFormat
from txn_assets.rows.reader.limits import FileLimits
from txn_assets_tests.unit.feeds import make_feed

CASES = Path(__file__).parent.parent / "cases"
HEADER = "transaction_id,product,price,quantity,date"
ROWS = (
    "T001,Halal Laptop,999.99,2,2023-10-01",
    'T002,"Desk, oak 48""",24.5,1,2024-02-29',
    "T003,Käse,0.0001,10,2024-03-02",
    "T004,,3.95,1,2024-03-02",
    "T005,😀 Tea,4.50,x,2024-13-01",
)

_KINDS: Mapping[str, Mapping[str, Any]] = {
    "id": {"kind": "identifier", "row_id": True, "pii": True},
    "note": {"kind": "text", "pii": True, "required": False},
    "count": {"kind": "whole"},
    "amount": {"kind": "money", "scale": 2},
    "exact": {"kind": "decimal", "scale": 9, "whole_digits": 25, "required": False},
    "day": {"kind": "date"},
    "at": {"kind": "timestamp", "required": False},
    "flag": {"kind": "boolean", "required": False},
    "mood": {"kind": "enumeration", "values": ["très bon", "a,b", "NULL", "it's"], "required": False},
}


@dataclass(frozen=True)
class Form:
    """A feed, and good files of it, as text in its encoding."""

    feed: Feed
    files: Sequence[bytes]


def _text(*lines: str, end: str = "\n") -> str:
    return "".join(line + end for line in lines)


def _form(model: type[Row], text: str, limits: FileLimits | None = None, **settings: Any) -> Form:
    unknown_columns = settings.pop("unknown_columns", "ignore")
    file_format = FileFormat(**settings)
    feed = make_feed(
        model, file_format=file_format, limits=limits or FileLimits(), unknown_columns=unknown_columns, batch_size=100
    )
    encoding = file_format.encoding
    return Form(feed, (text.encode(encoding, "replace"),))


@cache
def forms() -> Mapping[str, Form]:
    """Return the forms by name."""
    plain = _text(HEADER, *ROWS)
    dotted = _text(
        "Transaction ID;PRODUCT;Preis;quantity;date",
        "T1;Käse;3,95;10;02.03.2024",
        "T2;USV;1.499,90;1;03.03.2024 00:00:00",
        "T3;Brot;k. A.;1;03.03.2024",
        'T4;"a;b";"2,50";1;3.3.2024',
        end="\r\n",
    )
    tabbed = _text(HEADER, "T1,Lamp,1 024.50,2,3/2/2024", "T2,Tea,3.95,10,13/2/2024").replace(",", "\t")
    dump = _text("# a dump", "T1|Tea|3.95|10|20240302|x", '# T2|"', 'T2|Wine "€"|1.00|1|20240303|y')
    report = _text("Report", "of 2024", HEADER, "'T1','O''Neil',1 024.50,2,02-Mar-2024", "T2,Tea,'3.95',1,3-Mar-2024")
    refunds = _text(
        "refund_id,transaction_id,reason,amount,refunded_at,partial",
        "R1,T1,damaged,9.99,2024-03-02T10:00:00Z,true",
        "R2,T2,late,0.5,2024-03-02T23:59:59.999999+14:00,",
        "R3,T3,lost,1,2024-03-02,maybe",
    )
    kinds = _text(
        ",".join(_KINDS),
        "1,Ann,9223372036854775807,1.25,0.000000001,2024-02-29,1970-01-01T00:00:00Z,true,très bon",
        'x,"two\nlines",-1,0,,2024-01-01,,,"a,b"',
        "y,,0,1.5,1e3,2024-01-32,,yes,bad",
    )
    kinds_model = build_model("kinds", {name: FieldSection(**field) for name, field in _KINDS.items()})
    columns = {"Preis": "price"}
    small = FileLimits(
        file_bytes=1 << 16, expanded_bytes=1 << 18, expansion_ratio=2, line_bytes=200, field_bytes=50, columns=8
    )
    return {
        "transactions": _form(Transaction, plain),
        "mixed": Form(make_feed(batch_size=3), tuple(path.read_bytes() for path in sorted(CASES.glob("*.csv")))),
        "refused columns": _form(Transaction, plain, unknown_columns="refuse"),
        "small limits": _form(Transaction, plain, small),
        "refunds": _form(Refund, refunds),
        "kinds": _form(kinds_model, kinds),
        "german": _form(
            Transaction, dotted, delimiter=";", encoding="windows-1252", decimal=",", thousands=".",
            dates=("%d.%m.%Y", "%d.%m.%Y %H:%M:%S"), sep_line=True, header="loose", columns=columns,
            nulls=("NULL", "k. A."),
        ),
        "utf-16": _form(
            Transaction, tabbed, delimiter="\t", encoding="utf-16", thousands=",", dates=("%m/%d/%Y",)
        ),
        "dump": _form(
            Transaction, dump, delimiter="|", encoding="iso-8859-15", quote=None, comment="#", header="none",
            columns=("transaction_id", "product", "price", "quantity", "date", "ignored"), dates=("%Y%m%d",),
        ),
        "report": _form(
            Transaction, report, skip_lines=2, quote="'", thousands=" ", dates=("%d-%b-%Y",), encoding="iso-8859-1"
        ),
    }  # fmt: skip
