"""Files and names that a hostile sender would choose, landed in the bucket: loaded exactly, or refused in a sentence.

docs/security.md, 'Hostile files', has them in a table. `make fuzz` makes up many more.
"""

import gzip
import io
import random
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from txn_assets.files.shown import printable
from txn_assets_tests.deployment import HEADER, Deployment, failure, make_config, make_file, make_row

ROW = make_row()
GOOD = make_file(ROW)


@dataclass(frozen=True)
class Hostile:
    """A landed file, and what becomes of it.

    Attributes:
        products: the products that the stores hold afterwards.
        codes: the reasons against the rejected rows, in file order.
        refusal: a part of the sentence with which the file is refused; it is then not loaded.
    """

    name: str
    content: bytes
    products: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    refusal: str = ""


def zipped(*names: str, content: bytes = GOOD, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive with `content` under each of `names`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


def lying(offset: int, archive: bytes, value: int) -> bytes:
    """Return `archive` with the 32-bit number at `offset` of its first header replaced."""
    return archive[:offset] + struct.pack("<I", value) + archive[offset + 4 :]


CRC, PACKED, UNPACKED = 14, 18, 22
"""Offsets in a local header: APPNOTE.TXT, 4.3.7."""

LINE_MEMBER = gzip.compress(b"x" * (64 << 20))
"""64 MiB of one line; 64 of them are a line of 4 GiB in a file of 4 MiB."""

FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\uff1d1+1", "x;=1+1")

HOSTILE = (
    Hostile("bomb.csv.gz", gzip.compress(GOOD) + gzip.compress(b"\n" * (20 << 20)), refusal="limits.expansion_ratio"),
    Hostile("line.csv.gz", gzip.compress(GOOD) + 64 * LINE_MEMBER, refusal="limits.expansion_ratio"),
    Hostile("bomb.zip", zipped("a.csv", content=GOOD + b"\n" * (20 << 20)), refusal="limits.expansion_ratio"),
    Hostile("two.zip", zipped("a.csv", "b.csv"), refusal="more than one file"),
    Hostile("path.zip", zipped("../../../../tmp/a.csv"), ("Halal Laptop",)),
    Hostile("root.zip", zipped("/etc/cron.d/a"), ("Halal Laptop",)),
    Hostile("false_sum.zip", lying(CRC, zipped("a.csv"), 1), refusal="damaged"),
    Hostile("false_size.zip", lying(UNPACKED, zipped("a.csv"), 7), ("Halal Laptop",)),
    Hostile(
        "false_stored_size.zip",
        lying(PACKED, lying(UNPACKED, zipped("a.csv", method=zipfile.ZIP_STORED), 60), 60),
        refusal="damaged",
    ),
    Hostile(
        "endless_stored_size.zip", lying(PACKED, zipped("a.csv", method=zipfile.ZIP_STORED), 1 << 31), refusal="damaged"
    ),
    Hostile("columns.csv", (HEADER + ",c" * 1_000_000 + "\n").encode(), refusal="limits.columns"),
    Hostile("header.csv", (HEADER + ",c" + "c" * 2_000_000 + "\n").encode(), refusal="longer than 1 MiB"),
    Hostile("control.csv", b"\x1b]0;owned\x07\x1b[2J,\x08\n" + ROW.encode(), refusal="its header lacks the columns"),
    Hostile("names.csv", make_file(f"{ROW},x,y", header=f"{HEADER},\u202egnp,\x1b[31m"), ("Halal Laptop",)),
    Hostile("quotes.csv", b'"' * 5001, refusal="not a header"),
    Hostile("quotes_below.csv", GOOD + b'"' * 5001, ("Halal Laptop",), ("unclosed_quote",)),
    Hostile("nul.csv", make_file(make_row(product="a\0b"), ROW), ("Halal Laptop",), ("nul_character",)),
    Hostile("nul_only.csv", b"\0" * 5000, refusal="lacks the columns"),
    Hostile("surrogate.csv", GOOD + b"T2,\xed\xa0\x80,1,1,2023-10-01\n", ("Halal Laptop",), ("not_utf8",)),
    Hostile("formulas.csv", make_file(*(make_row(product=value) for value in FORMULAS)), FORMULAS),
    Hostile(
        "rejected_formulas.csv",
        make_file(*[ROW] * 6, *(make_row(product=value, price="=1+1") for value in FORMULAS)),
        ("Halal Laptop",) * 6,
        ("price",) * len(FORMULAS),
    ),
    Hostile("'; DROP TABLE transactions; --.csv", GOOD, ("Halal Laptop",)),
    Hostile('" OR 1=1 $(id) `id` %s {0}.csv', GOOD, ("Halal Laptop",)),
    Hostile("..%2f..%2fetc/passwd.csv", GOOD, ("Halal Laptop",)),
    Hostile("\u043erders.csv", GOOD, ("Halal Laptop",)),
    Hostile("or\u202evsc.ders.csv", GOOD, refusal=r"the invisible character \u202e"),
    Hostile("or\x1b[2Jders.csv", GOOD, refusal=r"the invisible character \u001b"),
)


@dataclass(frozen=True)
class Loaded:
    """The deployment that has loaded the files, and what the run has said."""

    deployment: Deployment
    said: str


@pytest.fixture(scope="module")
def loaded(stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Land all files, and load them in one run."""
    config = tmp_path_factory.mktemp("hostile") / "pipeline_config.yaml"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TXN_HOME": stack_home, "TXN_TARGET": "local", "TXN_CONFIG": config}.items():
            patch.setenv(name, str(value))
        for name in ("BUCKET_NAME", "TXN_EXECUTOR", "TXN_HASH_KEY", "TXN_HASH_KEY_PREVIOUS", "TXN_LOG_FORMAT"):
            patch.delenv(name, raising=False)
        make_config(config)
        with Deployment.temporary(config) as deployment:
            for one in HOSTILE:
                deployment.land(one.name, one.content)
            result = deployment.materialize_batch(*(one.name for one in HOSTILE))
            logged = [event.user_message for event in deployment.instance.all_logs(result.run_id)]
            checks = [check.description or "" for check in result.get_asset_check_evaluations()]
            yield Loaded(deployment, "\n".join([*logged, *checks]))


@pytest.mark.parametrize("one", HOSTILE, ids=lambda one: ascii(one.name))
def test_hostile_file(loaded: Loaded, one: Hostile) -> None:
    """The valid rows are in the three stores exactly, the others in the quarantine, or the sentence says why not."""
    rows = loaded.deployment.rows_everywhere(one.name)
    assert sorted(row[1] for row in rows) == sorted(one.products)
    quarantined = loaded.deployment.quarantined(one.name)
    assert [code in row["reasons"] for row, code in zip(quarantined, one.codes, strict=True)] == [True] * len(one.codes)
    if one.refusal:
        sentences = [line for line in loaded.said.splitlines() if printable(one.name) in line]
        assert any(one.refusal in sentence for sentence in sentences)


def test_quarantine_is_safe_in_a_spreadsheet(loaded: Loaded) -> None:
    """Formulas in rejected rows are quoted; the same text in a valid row is exact in every store, see above."""
    quarantined = loaded.deployment.quarantined("rejected_formulas.csv")
    assert [row["product"] for row in quarantined] == [
        *(f"'{value}" for value in FORMULAS if value[0] != "x"),
        "x;'=1+1",
    ]
    assert {row["price"] for row in quarantined} == {"'=1+1"}


def test_what_is_said_can_be_shown(loaded: Loaded) -> None:
    """Neither the log nor a check has a control or direction character, and a name in disguise is pointed out."""
    assert [line for line in loaded.said.split("\n") if not line.isprintable()] == []
    assert r"only look like others: \u043erders.csv. Check who sent it." in loaded.said
    assert r"unknown columns, not loaded: \u202egnp, \u001b[31m" in loaded.said


def test_file_that_outgrows_the_scratch_space(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose beginning promises to be small ends at the room that there is, not at a full disk."""
    monkeypatch.setenv("TXN_SCRATCH_LIMIT", "25Mi")
    draw = random.Random(1)
    rows = (make_row(transaction_id=draw.randbytes(32).hex()) for _ in range(10_000))
    deployment.land("liar.csv.gz", gzip.compress(make_file(*rows)) + gzip.compress(b"\n" * (12 << 20)))
    result = deployment.materialize("liar.csv.gz", raise_on_error=False)
    assert "unpacks to more than 10 MiB, what limits.expanded_bytes and the scratch space" in failure(result)
