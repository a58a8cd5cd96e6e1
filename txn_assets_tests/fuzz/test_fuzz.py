"""A short round of `make fuzz`, always the same, and the proof that the fuzzer notices what it looks for."""

import os
import time
from itertools import islice
from pathlib import Path

import pyarrow.compute as pc
import pytest

from txn_assets.rows import validation
from txn_assets_tests.fuzz.__main__ import fuzz
from txn_assets_tests.fuzz.corpus import HEADER, forms
from txn_assets_tests.fuzz.examination import COUNTED, REFUSED, LostError, examine
from txn_assets_tests.fuzz.generation import Input, inputs
from txn_assets_tests.fuzz.watching import CRASH, HANG, MEMORY, Examine


def test_short_round(tmp_path: Path) -> None:
    """Every input of a short round ends with all its records accounted for, or with one sentence."""
    chosen = list(islice(inputs(1), 0, 1200, 30))
    results = [result for _, result in fuzz(chosen, tmp_path)]
    assert [result for result in results if result.kind not in {COUNTED, REFUSED}] == []
    assert {result.kind for result in results} == {COUNTED, REFUSED}
    assert len({one.form for one in chosen}) > 5


def test_good_files_are_counted(tmp_path: Path) -> None:
    """The files that the fuzzer damages are good ones, so that it tries more than refusals."""
    for number, (name, form) in enumerate(forms().items()):
        if name != "mixed":
            folder = tmp_path / str(number)
            folder.mkdir()
            assert examine(name, form.files[0], folder) == COUNTED


def _hangs(form: str, data: bytes, folder: Path) -> str:
    time.sleep(60)
    return COUNTED


def _dies(form: str, data: bytes, folder: Path) -> str:
    os.abort()


def _grows(form: str, data: bytes, folder: Path) -> str:
    return COUNTED if bytearray(b"x") * (1 << 30) else REFUSED


def _fails(form: str, data: bytes, folder: Path) -> str:
    raise KeyError(form)


@pytest.mark.parametrize(
    ("examine", "kind", "seconds"),
    [(_hangs, HANG, 3.0), (_dies, CRASH, 60.0), (_grows, MEMORY, 60.0), (_fails, CRASH, 60.0)],
)
def test_fault_is_found_and_the_next_input_tried(tmp_path: Path, examine: Examine, kind: str, seconds: float) -> None:
    """A hang, a crash, too much memory and an unknown error are reported, with the input in a file."""
    tried = [Input("refunds", b"one"), Input("refunds", b"two")]
    results = [result.kind for _, result in fuzz(tried, tmp_path, examine=examine, seconds=seconds)]
    assert results == [kind, kind]
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"one", b"two"]


def test_screen_that_accepts_too_much_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the screen accepted a row that Pydantic rejects, the two ways would differ."""
    monkeypatch.setattr(validation, "screen", lambda columns, _: pc.not_equal(columns["product"], "Desk"))
    file = f"{HEADER}\nT1,#N/A,1.00,1,2024-01-01\nT2,Desk,1.00,1,2024-01-01\n".encode()
    with pytest.raises(LostError, match="the report differs"):
        examine("transactions", file, tmp_path)


def test_lost_row_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is in neither file is found, whoever lost it."""
    real = validation._from_models
    monkeypatch.setattr(validation, "_from_models", lambda *given: real(*given).slice(1))
    with pytest.raises(LostError, match="row by row"):
        examine("transactions", forms()["transactions"].files[0], tmp_path)
