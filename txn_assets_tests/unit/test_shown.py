"""What a sender chose is shown as what it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.files.shown import MAX_NAME, disguised, listed, printable, shown_name, unshowable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Käse_№ 1 (neu)", "Käse_№ 1 (neu)"),
        ("отчет за март", "отчет за март"),
        ("price", "price"),
        ("\u0440rice", r"\u0440rice"),
        ("\uff50rice", r"\uff50rice"),
        ("pri\u202ece", r"pri\u202ece"),
        ("a\x1b[2Jb\x7f\x9b", r"a\u001b[2Jb\u007f\u009b"),
        ("x" * 200, "x" * MAX_NAME + "…"),
    ],
)
def test_shown_name(name: str, shown: str) -> None:
    """Names in any language stay; control, direction and look-alike characters are escaped."""
    assert shown_name(name) == shown


@given(st.text())
def test_everything_is_printable(text: str) -> None:
    """Whatever is shown is one printable line, and a JSON text stays the same text."""
    assert shown_name(text).isprintable()
    written = json.dumps(text, ensure_ascii=False)
    assert printable(written).isprintable()
    assert json.loads(printable(written)) == text


@pytest.mark.parametrize(
    ("name", "is_unshowable", "is_disguised"),
    [
        ("orders.csv", False, False),
        ("Screenshot 10.00\u202fAM.csv", False, False),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.csv", False, False),
        ("отчет_Q1.csv", False, False),
        ("\u043erders.csv", False, True),
        ("\uff4frders.csv", False, True),
        ("or\u200bders.csv", True, False),
        ("\u202evsc.exe.csv", True, False),
        ("or\x07ders.csv", True, False),
    ],
)
def test_names_of_files(name: str, is_unshowable: bool, is_disguised: bool) -> None:
    """Names in any language are loaded; invisible characters are not, and disguised letters are said."""
    assert (bool(unshowable(name)), disguised(name)) == (is_unshowable, is_disguised)


def test_listed() -> None:
    """A message names the first, because a header may have thousands of names."""
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(1020)]).endswith(", 18, 19 and 1,000 more")
