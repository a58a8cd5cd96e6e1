"""A landed file without a person's records: the other records keep their bytes, in every form that a feed may have."""

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.feeds.transaction import CONTRACT
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.reader.compression import Unpacked
from txn_assets.rows.reader.csv_file import CsvFile
from txn_assets.rows.reader.file_format import FileFormat
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets.rows.reading import Reading
from txn_assets.rows.rewriting import Survey, survey, write_without
from txn_assets.rows.validation import validate
from txn_assets_tests.deployment import HEADER
from txn_assets_tests.integration.test_formats import ALL, Form

HASHER = Hasher(("transaction_id",), None, "sha256")
FORMS = [(sent.settings, form) for sent in ALL for form in sent.forms if not form.refusal]


def reading_of(settings: dict[str, object]) -> Reading:
    """Return how files in the form `settings` are read."""
    return Reading(contract=CONTRACT.with_pii(["transaction_id"]), file_format=FileFormat.model_validate(settings))


def rows_of(data: bytes, reading: Reading) -> list[list[object]]:
    """Return the values of every record of a file, valid or rejected; nulls for one that is not split into fields."""
    found: dict[int, list[object]] = {}
    for verdict in validate(
        CsvFile(io.BytesIO(data), reading.contract, reading.file_format), reading.contract, batch_size=10, threads=1
    ):
        found |= {row["source_row"]: list(row.values())[1:] for row in verdict.valid.to_pylist()}
        fields = verdict.rejected.fields.to_pylist()
        found |= {
            number: list(row.values())
            for number, row in zip(verdict.rejected.source_row.to_pylist(), fields, strict=True)
        }
    return [found[number] for number in sorted(found)]


def without(data: bytes, records: set[int], reading: Reading, folder: Path, *, block_bytes: int = 8 << 20) -> bytes:
    """Return a file without `records`."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(data)
    write_without(source, target, reading, records, block_bytes=block_bytes)
    return target.read_bytes()


def unpacked(data: bytes) -> bytes:
    """Return the bytes of a file without its compression."""
    return Unpacked(io.BytesIO(data)).read(1 << 24)


@pytest.mark.parametrize(("settings", "form"), FORMS, ids=lambda value: value.name if isinstance(value, Form) else "")
def test_each_record_of_each_form(settings: dict[str, object], form: Form, tmp_path: Path) -> None:
    """Whichever record is left out, the file still has its form and exactly the other records."""
    reading = reading_of(settings)
    before = rows_of(form.content, reading)
    for number in range(len(before), max(len(before) - 5, 0), -1):
        left = without(form.content, {number}, reading, tmp_path)

        assert rows_of(left, reading) == before[: number - 1] + before[number:]
        assert left[:2] == form.content[:2] or not before[number:]
        assert len(unpacked(left)) < len(unpacked(form.content))


LINES = st.sampled_from(
    [
        "T1,Lamp,1.50,2,2024-03-02",
        '"T2","Lamp, ""large""\r\nand round",1.50,2,2024-03-02',
        '"T3,never closed,1.50,2,2024-03-02',
        'T4,19" screen,1.50,2,2024-03-02',
        "T5,too,few",
        "T6,too,1.50,2,2024-03-02,many",
        "T7,,bad,0,2024-13-02",
        ",,,,",
        "",
        "# a comment, or a record",
        "\ufeffT8,Käse,1.50,2,2024-03-02",
        "\ufeff",
    ]
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
FILES = st.tuples(st.lists(st.tuples(LINES, ENDS).map("".join), max_size=8).map("".join), st.just("") | LINES).map(
    "".join
)


@given(
    text=FILES,
    leaves=st.sets(st.integers(1, 9), max_size=3),
    block_bytes=st.sampled_from([7, 16, 64, 1 << 20]),
    comment=st.sampled_from([None, "#"]),
)
def test_any_file(
    tmp_path_factory: pytest.TempPathFactory, text: str, leaves: set[int], block_bytes: int, comment: str | None
) -> None:
    """A file without some records has the other records, in order, wherever its blocks end."""
    data = f"{HEADER}\n{text}".encode()
    reading = reading_of({"comment": comment} if comment else {})
    folder = tmp_path_factory.getbasetemp()
    before = rows_of(data, reading)

    left = without(data, leaves, reading, folder, block_bytes=block_bytes)

    assert rows_of(left, reading) == [row for number, row in enumerate(before, start=1) if number not in leaves]


def test_nothing_to_leave_out(tmp_path: Path) -> None:
    """A file without anybody to leave out keeps every byte."""
    for settings, form in FORMS:
        if unpacked(form.content) == form.content:
            assert without(form.content, set(), reading_of(settings), tmp_path) == form.content


@pytest.mark.parametrize(("settings", "form"), FORMS, ids=lambda value: value.name if isinstance(value, Form) else "")
def test_survey_finds_a_person(settings: dict[str, object], form: Form, tmp_path: Path) -> None:
    """A person is found by hash in valid and in rejected records, and the rest is proven to be the same."""
    reading = reading_of(settings)
    before = rows_of(form.content, reading)
    id_ = next((str(row[0]) for row in before if row[0]), "nobody")
    digest = hashlib.sha256(id_.strip().encode()).hexdigest()
    (folder := tmp_path / "work").mkdir()

    def surveyed(data: bytes) -> Survey:
        return survey(io.BytesIO(data), reading, [(HASHER, {"transaction_id": [digest]})], folder)

    found = surveyed(form.content)
    assert found.persons == {number for number, row in enumerate(before, start=1) if row[0] == id_}
    assert surveyed(without(form.content, set(found.persons), reading, tmp_path)).is_without(found)
    others = [number for number, row in enumerate(before, start=1) if row[0] != id_]
    if others:
        assert not surveyed(without(form.content, {*found.persons, others[0]}, reading, tmp_path)).is_without(found)


def test_refused_file(tmp_path: Path) -> None:
    """A file that cannot be read as rows is not written again."""
    with pytest.raises(UnreadableFileError, match="its header lacks the columns"):
        without(b"a,b\n1,2\n", {1}, reading_of({}), tmp_path)
