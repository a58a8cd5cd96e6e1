"""Values in the configured form become the values that they mean; no other value becomes a valid one."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from txn_assets.rows.contract import Day, Number, Row, RowContract, Text, Timestamp, Whole
from txn_assets.rows.reader.columns import ParsedBlock
from txn_assets.rows.reader.file_format import DEFAULT_FORMAT, FileFormat
from txn_assets.rows.reader.normalization import normalize
from txn_assets.rows.validation import Verdict, validate_records
from txn_assets_tests.unit.csv_files import form


class Sample(Row):
    number: Number | None = None
    count: Whole | None = None
    day: Day | None = None
    moment: Timestamp | None = None
    note: Text


CONTRACT = RowContract.of(Sample)


def judged(name: str, texts: list[str], file_format: FileFormat) -> list[Any]:
    """Return the value that each of `texts` has as the field `name`, or the reason against it."""
    columns = {field: pa.array([b""] * len(texts)) for field in CONTRACT.names}
    columns["note"] = pa.array([b"x"] * len(texts))
    columns[name] = pa.array([text.encode() for text in texts], pa.binary())
    parsed = ParsedBlock(len(texts), pa.RecordBatch.from_pydict(columns), pa.array(range(len(texts)), pa.int64()), ())
    verdict: Verdict = validate_records(parsed, CONTRACT, file_format, batch_size=3)
    found: dict[int, Any] = {row["source_row"]: row[name] for row in verdict.valid.to_pylist()}
    rejected = verdict.rejected
    for row, reasons, sent in zip(
        rejected.source_row.to_pylist(), rejected.reasons, rejected.fields[name].to_pylist(), strict=True
    ):
        assert sent == texts[row - 1]
        found[row] = reasons[0]
    return [found[row] for row in range(1, len(texts) + 1)]


def judged_one(name: str, text: str, file_format: FileFormat) -> Any:
    (result,) = judged(name, [text], file_format)
    return result


def test_default_form_rewrites_nothing() -> None:
    """With the default form, the columns are passed on as they are."""
    columns = pa.RecordBatch.from_pydict(dict.fromkeys(CONTRACT.names, pa.array(["1,5"])))
    assert normalize(columns, CONTRACT, DEFAULT_FORMAT) is columns


class TestNumbers:
    """Decimal mark and grouping."""

    @pytest.mark.parametrize(
        ("settings", "text", "value"),
        [
            ({"decimal": ","}, "3,95", "3.95"),
            ({"decimal": ","}, " 3,95 ", "3.95"),
            ({"decimal": ","}, "-3,95", "-3.95"),
            ({"decimal": ","}, "3", "3"),
            ({"decimal": ","}, "1,499", "1.499"),
            ({"decimal": ",", "thousands": "."}, "1.499", "1499"),
            ({"decimal": ",", "thousands": "."}, "1.499,90", "1499.90"),
            ({"decimal": ",", "thousands": "."}, "1499,90", "1499.90"),
            ({"decimal": ",", "thousands": "."}, "1.234.567,8", "1234567.8"),
            ({"thousands": ","}, "1,499.90", "1499.90"),
            ({"thousands": ","}, "1,499", "1499"),
            ({"thousands": "'"}, "1'499.90", "1499.90"),
            ({"thousands": "\u2019"}, "1\u2019499.90", "1499.90"),
            ({"decimal": ",", "thousands": " "}, " 1 499,90 ", "1499.90"),
            ({"decimal": ",", "thousands": "\u00a0"}, "1\u00a0499,90", "1499.90"),
            ({"decimal": ",", "thousands": "\u202f"}, "1\u202f499,90", "1499.90"),
        ],
    )
    def test_number_in_its_form(self, settings: dict[str, Any], text: str, value: str) -> None:
        """A number in the configured form has the value that it means there."""
        assert judged_one("number", text, form(**settings)) == Decimal(value)

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({"decimal": ","}, "3.95"),
            ({"decimal": ","}, "1.499,90"),
            ({"decimal": ","}, "1,2,3"),
            ({"decimal": ",", "thousands": "."}, "3.95"),
            ({"decimal": ",", "thousands": "."}, "1.49,90"),
            ({"decimal": ",", "thousands": "."}, "1499.900"),
            ({"decimal": ",", "thousands": "."}, "1,499.90"),
            ({"decimal": ",", "thousands": "."}, ".988"),
            ({"decimal": ",", "thousands": "."}, "1..499"),
            ({"thousands": ","}, "3,95"),
            ({"thousands": ","}, "1'499.90"),
            ({"thousands": "'"}, "1,499.90"),
            ({"decimal": ","}, "?"),
            ({"decimal": ","}, "EUR 3,95"),
        ],
    )
    @pytest.mark.parametrize("name", ["number", "count"])
    def test_number_in_another_form(self, name: str, settings: dict[str, Any], text: str) -> None:
        """A number in another form is rejected, and the reason names the configured one and not the value."""
        file_format = form(**settings)
        reason = judged_one(name, text, file_format)
        mark = "comma" if file_format.decimal == "," else "point"
        kind = "a whole number, " if name == "count" else f"a number with a decimal {mark}"
        grouped = f"grouped by {file_format.thousands!r} or not at all" if file_format.thousands else "without grouping"
        assert reason.message.startswith(f"Input should be {kind}")
        assert grouped in reason.message
        assert not (name == "count" and reason.message.endswith("90")), "the example of a whole number has decimals"
        assert text not in reason.message

    def test_whole_numbers(self) -> None:
        """Whole numbers may be grouped; one zero after the mark is allowed, as in the standard form."""
        file_format = form(decimal=",", thousands=".")
        assert judged("count", ["1.000", "2,0", "-3", "1.234.567"], file_format) == [1000, 2, -3, 1_234_567]
        assert judged_one("count", "1,000", file_format).code == "int_parsing"

    @given(
        st.lists(st.text("0123456789.,' +-\u00a0x?", max_size=10), min_size=1, max_size=5),
        st.sampled_from([",", "."]),
        st.sampled_from([None, ".", ",", "'", " ", "\u00a0"]),
    )
    @example(["1.499", "3,9", ""], ",", ".")
    @settings(max_examples=500, deadline=None)
    def test_numbers_mean_what_the_form_says(self, texts: list[str], decimal: str, thousands: str | None) -> None:
        """Every number is read as the configured grammar says, and everything else is rejected."""
        if decimal == thousands:
            return
        file_format = form(decimal=decimal, thousands=thousands)
        group = re.escape(thousands) if thousands else "(?!)"
        grammar = re.compile(
            rf"([+-]?)((?:[0-9]+|[0-9]{{1,3}}(?:{group}[0-9]{{3}})+)?)(?:{re.escape(decimal)}([0-9]*))?"
        )
        for text, found in zip(texts, judged("number", texts, file_format), strict=True):
            fits = grammar.fullmatch(text.strip(" \t"))
            sign, whole, rest = fits.groups() if fits else ("", "", "")
            if text and fits and (whole or rest):
                whole = whole.replace(thousands, "") if thousands else whole
                expected = Decimal(f"{sign}{whole or 0}.{rest or 0}")
                assert found == expected or found.code.startswith("decimal_")
                assert not hasattr(found, "code") or found.code != "decimal_parsing"
            elif text:
                assert found.code == "decimal_parsing"


class TestDates:
    """Patterns of dates and timestamps."""

    @pytest.mark.parametrize(
        ("pattern", "text"),
        [
            ("%d.%m.%Y", "02.03.2024"),
            ("%d.%m.%Y", "2.3.2024"),
            ("%d.%m.%Y", " 02.03.2024 "),
            ("%m/%d/%Y", "03/02/2024"),
            ("%m/%d/%y", "3/2/24"),
            ("%Y%m%d", "20240302"),
            ("%d-%b-%Y", "02-MAR-2024"),
            ("%d %b %Y", "2 Mar 2024"),
            ("%Y-%m-%d %H:%M:%S", "2024-03-02 00:00:00"),
            ("%Y-%m-%dT%H:%M:%S.%f", "2024-03-02T00:00:00.000"),
            ("%d.%m.%Y %H:%M", "2.3.2024 0:00"),
            ("%m/%d/%Y %I:%M:%S %p", "3/2/2024 12:00:00 AM"),
            ("%Y-%m-%dT%H:%M:%S%z", "2024-03-02T00:00:00+01:00"),
        ],
    )
    def test_date_in_its_form(self, pattern: str, text: str) -> None:
        """A date in the configured form is the day that it means, and a time at midnight is dropped."""
        assert judged_one("day", text, form(dates=[pattern])) == dt.date(2024, 3, 2)

    @pytest.mark.parametrize(
        ("pattern", "text"),
        [
            ("%d.%m.%Y", "2024-03-02"),
            ("%d.%m.%Y", "02/03/2024"),
            ("%d.%m.%Y", "aa.bb.2024"),
            ("%d.%m.%Y", "02.13.2024"),
            ("%d.%m.%Y", "02.03.2024 00:00"),
            ("%d.%m.%Y", "02.03.24"),
            ("%d.%m.%Y", "?"),
            ("%Y%m%d", "202\u00d7101"),
            ("%Y-%m-%d %H:%M:%S", "2024-03-02 00:00:01"),
            ("%Y-%m-%d %H:%M:%S", "2024-03-02"),
            ("%m/%d/%Y %I:%M:%S %p", "3/2/2024 12:00:00 PM"),
            ("%d-%b-%Y", "02-MRZ-2024"),
        ],
    )
    def test_date_in_another_form(self, pattern: str, text: str) -> None:
        """A date in another form, or with a time of the day, is rejected with the configured patterns."""
        reason = judged_one("day", text, form(dates=[pattern]))
        assert reason.code == "date_format"
        assert reason.message == f"Input should be a date in the form {pattern}, at midnight if it has a time"

    def test_years_with_two_digits(self) -> None:
        """Years with two digits are those from 1969 to 2068, as in POSIX."""
        early, first, last = judged("day", ["31.12.69", "01.01.70", "31.12.68"], form(dates=["%d.%m.%y"]))
        assert early.code == "date_out_of_range"
        assert (first, last) == (dt.date(1970, 1, 1), dt.date(2068, 12, 31))

    def test_day_that_does_not_exist(self) -> None:
        """A day that does not exist is rejected as in the standard form."""
        assert judged_one("day", "31.02.2024", form(dates=["%d.%m.%Y"])).code == "date_parsing"

    @pytest.mark.parametrize(
        ("pattern", "text"),
        [
            ("%d.%m.%Y %H:%M:%S%z", "02.03.2024 13:05:00Z"),
            ("%d.%m.%Y %H:%M:%S%z", "2.3.2024 14:05:00+01:00"),
            ("%d.%m.%Y %H:%M:%S%z", "02.03.2024 14:05:00+0100"),
            ("%m/%d/%Y %I:%M %p %z", "3/2/2024 1:05 pm +00:00"),
            ("%Y%m%dT%H%M%S.%f%z", "20240302T130500.000Z"),
        ],
    )
    def test_timestamp_in_its_form(self, pattern: str, text: str) -> None:
        """A timestamp in the configured form is the moment that it means."""
        assert judged_one("moment", text, form(dates=[pattern])) == dt.datetime(2024, 3, 2, 13, 5, tzinfo=dt.UTC)

    def test_timestamp_without_a_zone(self) -> None:
        """A timestamp without a zone is rejected, because nobody can know the zone."""
        texts = ["2024-03-02 13:05:00", "2.3.2024"]
        reasons = judged("moment", texts, form(dates=["%Y-%m-%d %H:%M:%S", "%d.%m.%Y"]))
        assert {reason.message for reason in reasons} == {
            "Input should be a time with a zone (%z) in the form %Y-%m-%d %H:%M:%S or %d.%m.%Y"
        }

    def test_several_patterns_in_one_column(self) -> None:
        """Each value may have another of the patterns, with empty values between them."""
        texts = ["02.03.2024", "", "2024-03-02", "2.3.2024", "x", "02.03.2024"]
        day = dt.date(2024, 3, 2)
        found = judged("day", texts, form(dates=["%d.%m.%Y", "%Y-%m-%d"]))
        assert [*found[:4], found[5]] == [day, None, day, day, day]

    @given(
        st.lists(
            st.one_of(
                st.dates(dt.date(1970, 1, 1), dt.date(2068, 12, 31)),
                st.text("0123456789.-/: aMé", max_size=10),
                st.from_regex(r"[0-9]{2}\.[0-9]{2}\.[0-9]{4}", fullmatch=True),
            ),
            min_size=1,
            max_size=6,
        ),
        st.lists(
            st.sampled_from(["%d.%m.%Y", "%Y/%m/%d", "%b %d %Y", "%y-%m-%d", "%Y-%m-%d %H:%M:%S"]),
            min_size=1,
            max_size=3,
            unique=True,
        ),
        st.data(),
    )
    @settings(max_examples=500, deadline=None)
    def test_dates_are_what_strptime_says(
        self, values: list[dt.date | str], patterns: list[str], data: st.DataObject
    ) -> None:
        """Every value is the day that Python's strptime reads with the first pattern that fits, or is rejected."""
        file_format = form(dates=patterns)
        texts = [
            value if isinstance(value, str) else value.strftime(data.draw(st.sampled_from(patterns)))
            for value in values
        ]
        for text, found in zip(texts, judged("day", texts, file_format), strict=True):
            expected = next(filter(None, (_strptime(text, pattern) for pattern in patterns)), None)
            if isinstance(found, dt.date):
                assert found == expected
            elif isinstance(text, str) and expected:
                # The contract bounds days, and strptime takes blanks that the patterns do not have.
                assert found.code == "date_out_of_range" or re.search(r"\s", text)


def _strptime(text: str, pattern: str) -> dt.date | None:
    try:
        found = dt.datetime.strptime(text.strip(), pattern)  # noqa: DTZ007 - only the day is looked at
    except ValueError:
        return None
    return found.date() if found.time() == dt.time() else None


class TestNulls:
    """Spellings of "missing"."""

    def test_missing_values(self) -> None:
        """A configured spelling is a missing value in every kind, with blanks around it or without."""
        file_format = form(nulls=["NULL", "-", "n/a"], dates=["%d.%m.%Y"], decimal=",")
        for name in ("number", "count", "day", "moment"):
            assert judged(name, ["NULL", " - ", "n/a"], file_format) == [None] * 3

    def test_missing_value_of_a_required_field(self) -> None:
        """A configured spelling in a required field rejects its row as missing."""
        assert judged_one("note", "NULL", form(nulls=["NULL"])).code == "missing"

    def test_other_spellings_are_values(self) -> None:
        """Only the configured spellings count, with their case."""
        assert judged("note", ["null", "NULLS", ""], form(nulls=["NULL"]))[:2] == ["null", "NULLS"]


@pytest.mark.parametrize(
    ("encoding", "code"), [("utf-8", "not_utf8"), ("windows-1252", "not_windows_1252"), ("utf-16", "not_utf_16")]
)
def test_bytes_that_are_not_text(encoding: str, code: str) -> None:
    """A value that is not text in the configured encoding rejects its row, also in a field that may be empty."""
    columns = {name: pa.array([b"", b"", b""]) for name in ("number", "count", "moment")}
    columns |= {"day": pa.array([b"", b"\xff", b""]), "note": pa.array([b"x", b"x", b"x"])}
    batch = pa.RecordBatch.from_pydict(columns).select(list(CONTRACT.names))
    parsed = ParsedBlock(3, batch, pa.array([0, 1, 2]), ())
    verdict = validate_records(parsed, CONTRACT, form(encoding=encoding), batch_size=2)
    ((reason,),) = verdict.rejected.reasons
    assert verdict.rejected.source_row.to_pylist() == [2]
    assert (reason.field, reason.code) == ("day", code)
    assert verdict.rejected.fields["day"].to_pylist() == [r"\xff"]
