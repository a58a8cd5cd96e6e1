"""The settings of a file's form: what they accept, and which contradictions they refuse."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from txn_assets.rows.reader.file_format import DEFAULT_FORMAT
from txn_assets_tests.unit.csv_files import form


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"decimal": ",", "thousands": ","}, "format.decimal and format.thousands are both ','"),
        ({"decimal": ",", "quote": None}, "format.decimal is also the delimiter"),
        ({"thousands": ",", "quote": None}, "format.thousands is also the delimiter"),
        ({"thousands": "'", "quote": "'"}, "format.thousands and format.quote are both"),
        ({"comment": ",x"}, "format.comment begins with the delimiter or the quote"),
        ({"comment": '"'}, "format.comment begins with the delimiter or the quote"),
        ({"columns": ["price"]}, "format.columns must be a map of header name: field"),
        ({"header": "none", "columns": {"Preis": "price"}}, "format.columns must be a list of fields"),
        ({"header": "none", "columns": ["price", "price"]}, "format.columns names a field twice"),
        ({"sep_line": True, "skip_lines": 1}, "format.sep_line is the first line, but format.skip_lines leaves it out"),
        ({"dates": ["%d/%m/%Y", "%m/%d/%Y"]}, "a date could mean two days"),
        ({"dates": ["%d.%m"]}, "needs a day, one month and one year"),
        ({"dates": ["%d.%m.%Y %m"]}, "has a directive twice"),
        ({"dates": ["%d.%m.%Y %j"]}, "%j in a date pattern is not supported"),
        ({"dates": ["%d.%m.%Y %I:%M"]}, "needs either %H, or %I with %p"),
        ({"dates": ["%d.%m.%Y %z"]}, "has a part of a time without an hour"),
        ({"dates": ["%d.%m.%Y %H.%S"]}, "leaves out a part of the time"),
        ({"delimiter": ":"}, "Input should be"),
        ({"encoding": "ebcdic"}, "Input should be"),
        ({"separator": ";"}, "Extra inputs are not permitted"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], sentence: str) -> None:
    """A form in which a value could mean two things, or none, is refused in one sentence."""
    with pytest.raises(ValidationError, match=f"(?s).*{sentence.replace('(', '.')}"):
        form(**settings)


def test_decimal_comma_with_commas_between_fields() -> None:
    """A decimal comma in a file separated by commas is possible, because its numbers can be quoted."""
    assert form(decimal=",").decimal == ","


def test_tab_may_be_written_as_a_word() -> None:
    """A tab may be written as the word, because it is invisible in YAML."""
    assert form(delimiter="tab") == form(delimiter="\t")


def test_unknown_fields_are_named() -> None:
    """A header name that is mapped to a field that the feed does not have is a fault."""
    fields = ("price", "date")
    assert form(columns={"Preis": "price", "Tag": "day"}).faults(fields, optional=()) == [
        "format.columns names the unknown field 'day': fields are price, date"
    ]
    assert not form(header="none", columns=["price", "note", "date"]).faults(fields, optional=())


def test_positions_have_each_field() -> None:
    """Positions that lack a field are a fault, unless files may lack it."""
    positions = form(header="none", columns=["price", "note"])
    assert positions.faults(("price", "date"), optional=()) == [
        "format.columns lacks the field date, and the files have no header"
    ]
    assert not positions.faults(("price", "date"), optional=("date",))
    assert not form(header="none").faults(("price", "date"), optional=())


def test_settings_are_those_that_differ() -> None:
    """The settings that differ are shown as a configuration has them."""
    assert DEFAULT_FORMAT.settings() == {}
    assert form(delimiter=";", dates=["%d.%m.%Y"]).settings() == {"delimiter": ";", "dates": ("%d.%m.%Y",)}


def test_configuration_needs_no_arrow() -> None:
    """The form of files is part of the configuration, which must load without Arrow."""
    program = "import sys, txn_assets.rows.reader.file_format; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
