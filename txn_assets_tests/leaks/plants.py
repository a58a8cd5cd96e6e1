"""Files with planted ids: valid rows, rows of every kind of rejection, and files that are refused as a whole."""

import gzip
import io
import secrets
import zipfile
from dataclasses import dataclass, field

HEADER = "transaction_id,product,price,quantity,date"
SWAPPED_HEADER = "order_id,pieces,placed"
REFUNDS_HEADER = "refund_id,transaction_id,reason,amount,refunded_at,partial"


@dataclass
class Plants:
    """Makes ids, and remembers for each what it was planted as."""

    mark: str = field(default_factory=lambda: f"Zk{secrets.token_hex(4)}")
    labels: list[str] = field(default_factory=list)

    def id(self, label: str) -> str:
        """Return a new id; `label` says where it is planted."""
        self.labels.append(label)
        return f"{self.mark}{len(self.labels) - 1:06d}"

    def label(self, found: str) -> str:
        """Return what an id was planted as, given what a hit shows of it."""
        digits = found[len(self.mark) :][:6]
        is_whole = found.startswith(self.mark) and digits.isdecimal() and int(digits) < len(self.labels)
        return self.labels[int(digits)] if is_whole else "an id that is not readable"


def mixed(plants: Plants, file: str, valid: int = 30) -> bytes:
    """Return a file of valid rows, and one row for each way in which a row can be rejected."""
    rows = [f"{plants.id(f'{file}: valid row')},Halal Laptop,999.99,2,2023-10-01" for _ in range(valid)]
    return _file(HEADER, *rows, *_rejected(plants, file))


def _rejected(plants: Plants, file: str) -> list[bytes]:
    def one(reason: str, row: str) -> bytes:
        return row.replace("ID", plants.id(f"{file}: {reason}")).encode()

    return [
        one("no product", "ID,,1.00,1,2023-10-01"),
        one("blank product", "ID,   ,1.00,1,2023-10-01"),
        one("price is text", "ID,Halal Mouse,cheap,1,2023-10-01"),
        one("price is negative", "ID,Halal Mouse,-1.00,1,2023-10-01"),
        one("price is not a number", "ID,Halal Mouse,NaN,1,2023-10-01"),
        one("price has too many digits", "ID,Halal Mouse,123456789012345678.00,1,2023-10-01"),
        one("price has too many decimals", "ID,Halal Mouse,1.123456,1,2023-10-01"),
        one("no price", "ID,Halal Mouse,,1,2023-10-01"),
        one("quantity is zero", "ID,Halal Mouse,1.00,0,2023-10-01"),
        one("quantity is a fraction", "ID,Halal Mouse,1.00,1.5,2023-10-01"),
        one("quantity is text", "ID,Halal Mouse,1.00,many,2023-10-01"),
        one("quantity is too large", "ID,Halal Mouse,1.00,99999999999999999999,2023-10-01"),
        one("no such date", "ID,Halal Mouse,1.00,1,2023-02-30"),
        one("date in another form", "ID,Halal Mouse,1.00,1,01.10.2023"),
        one("no date", "ID,Halal Mouse,1.00,1,"),
        one("everything wrong", "ID,,cheap,none,never"),
        one("a field too many", "ID,Halal Mouse,1.00,1,2023-10-01,more"),
        one("a field too few", "ID,Halal Mouse,1.00"),
        one("the id alone", "ID"),
        one("a line break in the id", '"ID\nID",,1.00,1,2023-10-01'),
        one("quotes in the id", '"ID""x""",,1.00,1,2023-10-01'),
        one("text after the quotes", '"ID"x,Halal Mouse,1.00,1,2023-10-01'),
        one("a formula as the id", "=ID+1,,1.00,1,2023-10-01"),
        one("an id of 5,000 characters", f"ID{'x' * 5000},Halal Mouse,1.00,1,2023-10-01"),
        one("not UTF-8", "ID,Halal ?,1.00,1,2023-10-01").replace(b"?", b"\xff\xfe"),
        one("a NUL in the id", "ID\0,Halal Mouse,1.00,1,2023-10-01"),
        one("quotes that never end", 'ID,"Halal Mouse,1.00,1,2023-10-01'),
    ]


def refused(plants: Plants) -> dict[str, bytes]:
    """Return files that cannot be files of the feed, by name."""

    def rows(file: str, row: str, count: int = 5) -> list[str]:
        return [row.replace("ID", plants.id(file)) for _ in range(count)]

    plain = "ID,Halal Laptop,999.99,2,2023-10-01"
    two = io.BytesIO()
    with zipfile.ZipFile(two, "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, _file(HEADER, *rows("two-members.zip", plain)))
    return {
        "none-valid.csv": _file(HEADER, *rows("none-valid.csv", "ID,,cheap,0,never")),
        "no-header.csv": _file(*rows("no-header.csv", plain)),
        "semicolons.csv": _file(HEADER.replace(",", ";"), *rows("semicolons.csv", "ID;Halal Laptop;1,99;2;2023-10-01")),
        "other-columns.csv": _file("order;customer", *rows("other-columns.csv", "1;ID")),
        "twice.csv": _file(f"{HEADER},transaction_id", *rows("twice.csv", f"{plain},ID")),
        "mixed-amounts.csv": _file(
            HEADER,
            *rows("mixed-amounts.csv", 'ID,Halal Laptop,"3,95",1,2023-10-01'),
            *rows("mixed-amounts.csv", "ID,Halal Laptop,4.500,1,2023-10-01"),
        ),
        "utf-16.csv": _file(HEADER, *rows("utf-16.csv", plain)).decode().encode("utf-16"),
        "cut.csv.gz": gzip.compress(_file(HEADER, *rows("cut.csv.gz", plain, 2000)))[:-2000],
        "two-members.zip": two.getvalue(),
        "page.csv": _file("<html><body>", *rows("page.csv", "<p>ID</p>")),
        "object.csv": _file("[", *rows("object.csv", '{"transaction_id": "ID"},')),
    }


def many(plants: Plants, file: str, rows: int) -> bytes:
    """Return a valid file that takes some time to load."""
    return _file(HEADER, *(f"{plants.id(file)},Halal Laptop,999.99,2,2023-10-{n % 28 + 1:02d}" for n in range(rows)))


def refunds(plants: Plants) -> bytes:
    """Return a file of the second feed, which has two columns of PII."""
    good = "ID,ID,late,1.00,2023-10-03T09:15:00Z,false"
    bad = ("ID,ID,unknown,1.00,2023-10-03T09:15:00Z,false", "ID,,late,1.00,2023-10-03T09:15:00Z,false",
           "ID,ID,late,cheap,yesterday,perhaps")  # fmt: skip
    rows = [row.replace("ID", plants.id("refunds.csv"), 1) for row in (good, good, good, *bad)]
    return _file(REFUNDS_HEADER, *(row.replace("ID", plants.id("refunds.csv")) for row in rows))


def swapped(plants: Plants) -> bytes:
    """Return a file of the feed whose row model has a defect."""
    return _file(SWAPPED_HEADER, *(f"{plants.id('swapped.csv')},2,2024-05-01" for _ in range(5)))


def _file(*lines: str | bytes) -> bytes:
    return b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
