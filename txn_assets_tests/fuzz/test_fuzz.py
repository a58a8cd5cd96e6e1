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
from txn_assets_tests.fuzz.watching import CRASH, HANG, MEMORY


def test_short_round(tmp_path: Path) -> None:
    """Every input of a short round ends with all its records accounted for, or with one sentence."""
    chosen = list(islice(inputs(1, in_a_row=4), 40))
    results = [result for _, result in fuzz(chosen, tmp_path)]
    assert [result for result in results if result.kind not in {COUNTED, REFUSED}] == []
    assert {result.kind for result in results} == {COUNTED, REFUSED}
    assert {one.form for one in chosen} == {*forms()}


def test_good_files_are_counted(tmp_path: Path) -> None:
    """The files that the fuzzer damages are good ones, so that it tries more than refusals."""
    for number, (name, form) in enumerate(forms().items()):
        if name != "mixed":
            folder = tmp_path / str(number)
            folder.mkdir()
            assert examine(name, form.files[0], folder) == COUNTED


def _misbehave(form: str, data: bytes, folder: Path) -> str:
    match data:
        case b"fail":
            raise KeyError(form)
        case b"die":
            os.abort()
        case b"grow":
            return COUNTED if bytearray(b"x") * (1 << 30) else REFUSED
        case b"hang":
            time.sleep(60)
    return COUNTED


def test_fault_is_found_and_the_next_input_tried(tmp_path: Path) -> None:
    """An unknown error, a crash, too much memory and a hang are reported, with the input in a file."""
    tried = [Input("refunds", data) for data in (b"fail", b"die", b"grow", b"hang", b"good")]
    results = [result.kind for _, result in fuzz(tried, tmp_path, examine=_misbehave, seconds=5.0)]
    assert results == [CRASH, CRASH, MEMORY, HANG, COUNTED]
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"die", b"fail", b"grow", b"hang"]


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
