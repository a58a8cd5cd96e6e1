"""The fast path and the row contract agree: whatever a file holds, the verdicts match a row-by-row loop.

`test_transaction.py` tests the contract itself, `test_csv_records.py` the reading of records.
"""

import datetime as dt
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError, model_validator

from txn_assets.feeds.transaction import CONTRACT, ValidationRules
from txn_assets.files.report import Reason
from txn_assets.rows import kinds
from txn_assets.rows.contract import Identifier, Pii, Row, RowContract, Text
from txn_assets.rows.kinds.text import SHEET_ERRORS
from txn_assets.rows.kinds.whole import MAX_WHOLE
from txn_assets.rows.reader.columns import ParsedBlock
from txn_assets.rows.reader.file_format import DEFAULT_FORMAT
from txn_assets.rows.schemas import valid_schema
from txn_assets.rows.screen import screen
from txn_assets.rows.validation import (
    Verdict,
    count_other_decimals,
    count_reasons,
    validate,
    validate_records,
)
from txn_assets_tests.unit.csv_files import form
from txn_assets_tests.unit.rows import (
    FIELDS,
    HEADER,
    Rejected,
    Values,
    csv_bytes,
    hostile_csv,
    make_row,
    open_csv,
    read_all,
    rejected_list,
    rejected_rows,
)

type Outcome = tuple[Any, ...] | frozenset[tuple[str, str]]
"""The values of a valid row, or field and code of each reason against it."""

NUMBER = st.text("0123456789.+- \t\n", max_size=8)
TEXT = st.one_of(
    st.sampled_from(
        ["T001", "Halal Laptop", "", " ", "\t", "\n", "x\n", "\u00a0", "\u200b", "\u2028", "\x85", "é", "حلال", "\0",
         "x\0", " x", "x\u2003", "\u3164", "\u200bx", "नमस्ते", "1.23457E+17", "1E+5", "1+E5", "'S-7001", "'", "#1",
         *SHEET_ERRORS]
    ),
    st.text('="x', max_size=4),
    st.text("0123456789.,eE+- ", max_size=8),
    st.text(max_size=4),
)  # fmt: skip
VALUES = {
    kinds.IdentifierKind: TEXT,
    kinds.TextKind: TEXT,
    kinds.MoneyKind: st.one_of(
        st.sampled_from(
            ["5", "0", "-0", "+5", ".5", "5.", "1.2345", "1.23456", "1.50000", "9.99", "10", "10.0000", "9.9999",
             "1\n", "", "99999999999999.9999", "99999999999999", "100000000000000", "00000000000001",
             "0000000000000001", "1e3", "NaN", "٣"]
        ),
        st.decimals(0, 20, places=4).map(str),
        NUMBER,
    ),
    kinds.WholeKind: st.one_of(
        st.sampled_from(
            ["1", "0", "2.0", "2.", "2.00", "007", "+1", "1\n", "", "9" * 18, "9" * 19, str(MAX_WHOLE),
             str(MAX_WHOLE + 1)]
        ),
        st.integers(-2, 200).map(str),
        NUMBER,
    ),
    kinds.DateKind: st.one_of(
        st.builds("{:04}-{:02}-{:02}".format, st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32)),
        st.dates(dt.date(1969, 12, 30), dt.date(1970, 1, 2)).map(str),
        st.dates(dt.date(2024, 2, 27), dt.date(2024, 3, 2)).map(str),
        st.sampled_from(
            ["2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "2023-04-31", "2023-11-31", "2023-02-30",
             "2023-10-01\n", " 2023-10-01", "2023-1-1", ""]
        ),
    ),
}  # fmt: skip
FIELD_VALUES = {name: VALUES[type(kind)] for name, kind in CONTRACT.kinds.items()}
RULES = {
    "required_fields": st.frozensets(st.sampled_from(FIELDS), min_size=1),
    "min_price": st.sampled_from(["0.00001", "1", "9.99", "1E+1", "10.00", "100000000000000", "1E+17"]).map(Decimal),
    "max_quantity": st.sampled_from([1, 100, 10**18, MAX_WHOLE - 1]),
    "product_prefix": st.sampled_from(["Halal", "x", "x ", "é", "."]),
    "max_decimals": st.integers(0, 3),
    "min_date": st.sampled_from([dt.date.min, dt.date(999, 12, 31), dt.date(2024, 2, 28)]),
    "max_date": st.sampled_from([dt.date.max, dt.date(2024, 2, 28), dt.date(2024, 2, 29), dt.date(2024, 3, 1)]),
}


def few_of(named: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw up to three of `named`; with more, hardly any row would be on the border between valid and invalid."""
    pairs = [st.tuples(st.just(name), values) for name, values in named.items()]
    return st.lists(st.one_of(*pairs), max_size=3).map(dict)


def make_rules(settings: Mapping[str, Any]) -> ValidationRules:
    """Return the default rules with `settings`; of contradicting dates the last one counts."""
    if "max_date" in settings and settings["max_date"] < settings.get("min_date", dt.date(1970, 1, 1)):
        settings = {**settings, "min_date": settings["max_date"]}
    return ValidationRules(**settings)


ROWS = st.lists(few_of(FIELD_VALUES).map(lambda overrides: make_row(**overrides)), max_size=12)
ANY_RULES = few_of(RULES).map(make_rules)
DEFAULT_RULES = ValidationRules()


@functools.cache
def under(rules: ValidationRules) -> RowContract:
    """Return the contract of a transaction under `rules`."""
    return rules.narrow(CONTRACT)


def judged_alone(values: Sequence[bytes], rules: ValidationRules) -> Outcome:
    """Return the contract's verdict on a single row: the reference."""
    row, wrong = {}, set()
    for name, value in zip(FIELDS, values, strict=True):
        try:
            if value:
                row[name] = value.decode()
        except UnicodeDecodeError:
            wrong.add((name, "not_utf8"))
    try:
        transaction = under(rules).model.model_validate(row)
    except ValidationError as error:
        undecoded = {name for name, _ in wrong}
        wrong |= {(str(fault["loc"][0]), fault["type"]) for fault in error.errors() if fault["loc"][0] not in undecoded}
    return frozenset(wrong) if wrong else tuple(getattr(transaction, name) for name in FIELDS)


def by_loop(records: Iterable[Values | str], rules: ValidationRules) -> dict[int, Outcome]:
    """Return the outcome of each record from a loop with the model."""
    return {
        number: frozenset({("", record)}) if isinstance(record, str) else judged_alone(record, rules)
        for number, record in enumerate(records, start=1)
    }


def by_path(verdicts: Iterable[Verdict]) -> dict[int, Outcome]:
    """Return the outcome of each record from the product's own path."""
    outcomes: dict[int, Outcome] = {}
    for verdict in verdicts:
        assert verdict.records == verdict.valid.num_rows + len(verdict.rejected)
        assert verdict.valid.schema == valid_schema(CONTRACT)
        numbers = verdict.valid["source_row"].to_pylist()
        assert numbers == sorted(numbers)
        for number, *values in zip(*(column.to_pylist() for column in verdict.valid.columns), strict=True):
            assert number not in outcomes
            outcomes[number] = tuple(values)
        rejected = verdict.rejected.source_row.to_pylist()
        assert rejected == sorted(rejected)
        for number, reasons in zip(rejected, verdict.rejected.reasons, strict=True):
            assert number not in outcomes
            outcomes[number] = frozenset((reason.field, reason.code) for reason in reasons)
    return outcomes


def columns_of(rows: Sequence[Mapping[str, str]]) -> pa.RecordBatch:
    """Return `rows` as columns of text."""
    arrays = [pa.array([row[name] for row in rows], pa.string()) for name in FIELDS]
    return pa.RecordBatch.from_arrays(arrays, names=list(FIELDS))


def parsed(rows: Sequence[Mapping[str, str]]) -> ParsedBlock:
    """Return `rows` as the reader passes them on."""
    arrays = [pa.array([row[name].encode() for row in rows], pa.binary()) for name in FIELDS]
    fields = pa.RecordBatch.from_arrays(arrays, names=list(FIELDS))
    return ParsedBlock(len(rows), fields, pa.array(range(len(rows)), pa.int64()), ())


def outcomes_of(data: bytes, rules: ValidationRules = DEFAULT_RULES, **sizes: int) -> dict[int, Outcome]:
    """Return the outcome of each record of the CSV file `data`."""
    return by_path(validate(open_csv(data, **sizes), under(rules), batch_size=3, threads=2))


def rejections_of(data: bytes, rules: ValidationRules = DEFAULT_RULES) -> list[Rejected]:
    """Return the rejected rows of the CSV file `data`."""
    verdicts = validate(open_csv(data), under(rules), batch_size=3, threads=1)
    return [row for verdict in verdicts for row in rejected_list(verdict.rejected)]


class TestOneTruth:
    """The screen and the judge agree."""

    @given(ROWS, ANY_RULES)
    @settings(max_examples=200, deadline=None)
    def test_contract_accepts_what_the_screen_accepts(self, rows: list[dict[str, str]], rules: ValidationRules) -> None:
        """Screen and judge agree under any rules; the next test compares the values."""
        accepted = screen(columns_of(rows), under(rules)).to_pylist()
        for row, plainly_valid in zip(rows, accepted, strict=True):
            if plainly_valid:
                assert isinstance(judged_alone([row[name].encode() for name in FIELDS], rules), tuple), row

    @given(ROWS, ANY_RULES, st.integers(1, 40))
    @settings(max_examples=200, deadline=None)
    def test_rows_get_the_verdicts_and_values_of_a_loop(
        self, rows: list[dict[str, str]], rules: ValidationRules, batch_size: int
    ) -> None:
        """The outcome is the same whichever of the two decides, and however many rows Pydantic gets at once."""
        found = by_path([validate_records(parsed(rows), under(rules), batch_size=batch_size)])
        assert found == by_loop([tuple(row[name].encode() for name in FIELDS) for row in rows], rules)

    @given(ROWS, ANY_RULES, st.integers(1, 200))
    @settings(max_examples=100, deadline=None)
    def test_file_gets_the_verdicts_of_a_loop(
        self, rows: list[dict[str, str]], rules: ValidationRules, block_bytes: int
    ) -> None:
        """A well-formed file becomes the right numbered rows, in small blocks and two threads."""
        data = csv_bytes(rows)
        expected = by_loop([tuple(row[name].encode() for name in FIELDS) for row in rows], rules)
        assert outcomes_of(data, rules, block_bytes=block_bytes, field_bytes=200) == expected

    @given(hostile_csv(), ANY_RULES, st.integers(1, 100))
    @example(b"\xff,x,1,1,2020-01-01\nT1,x,1,1,2020-01-01\n", DEFAULT_RULES, 20)
    @settings(max_examples=150, deadline=None)
    def test_hostile_file_gets_the_verdicts_of_a_loop(
        self, body: bytes, rules: ValidationRules, block_bytes: int
    ) -> None:
        """No record is lost, counted twice or numbered wrongly, whatever the file holds."""
        data = HEADER.encode() + b"\n" + body
        expected = by_loop(read_all(data, field_bytes=100).records, rules)
        assert outcomes_of(data, rules, block_bytes=block_bytes, field_bytes=100) == expected

    @pytest.mark.parametrize("pattern", ["{}", "{}x", "x{}", "5E{}7", '{}"x"', "{}REF!"])
    def test_every_common_character(self, pattern: str) -> None:
        """For every common character, alone or at either end, the judge takes unchanged what the screen accepts."""
        codes = [*range(0xD800), *range(0xE000, 0x11000), *range(0xE0000, 0xE0200)]  # except surrogates and the rare
        characters = [chr(code) for code in codes]
        texts = pa.array([pattern.format(character) for character in characters], pa.string())
        others = {name: pa.repeat(value, len(texts)) for name, value in make_row().items()}
        judges = {"transaction_id": TypeAdapter(list[Identifier]), "product": TypeAdapter(list[Text])}
        for field, judge in judges.items():
            columns = pa.RecordBatch.from_pydict(others | {field: texts})
            accepted = texts.filter(screen(columns, under(DEFAULT_RULES))).to_pylist()
            assert judge.validate_python(accepted) == accepted


class TestScreen:
    """The screen has to be worth its cost."""

    @pytest.mark.parametrize(
        "row",
        [
            make_row(),
            make_row(product="حلال", price="99999999999999.9999", quantity="9" * 18, date="2024-01-31"),
            make_row(product="a,\nb.", price="0", quantity="1", date="1970-01-01"),
            make_row(transaction_id="0A-", product="नमस्ते"),
            make_row(transaction_id="A+B=", product="Caffè ® (½)"),
            make_row(transaction_id="550e8400-e29b-41d4-a716-446655440000", product="'s 5' + 1E+5"),
        ],
    )
    def test_plain_rows_need_no_judge(self, row: dict[str, str]) -> None:
        """Plain rows need no judge; a screen that accepts nothing would pass every property."""
        assert screen(columns_of([row]), under(DEFAULT_RULES)).to_pylist() == [True]

    def test_plain_rows_need_no_judge_under_narrow_rules(self) -> None:
        """Plain rows need no judge at each bound."""
        day = dt.date(2023, 10, 1)
        rules = ValidationRules(
            min_price=Decimal("9.99"),
            max_quantity=5,
            product_prefix="Halal",
            max_decimals=2,
            min_date=day,
            max_date=day,
        )
        row = make_row(price="9.99", quantity="5", date=str(day))
        assert screen(columns_of([row]), under(rules)).to_pylist() == [True]

    @pytest.mark.parametrize("min_price", ["0.00001", "1E+17", "9" * 18, "0." + "0" * 17 + "1"])
    def test_bound_of_any_size_can_be_screened(self, min_price: str) -> None:
        """Any `min_price` that the configuration accepts can be screened without ending a run."""
        rules = ValidationRules(min_price=Decimal(min_price))
        expected = {1: judged_alone([value.encode() for value in make_row().values()], rules)}
        assert by_path([validate_records(parsed([make_row()]), under(rules), batch_size=1)]) == expected


class TestRejectedRows:
    """What is said about a row that did not pass."""

    def test_each_fault_of_a_row_is_a_reason(self) -> None:
        """Each fault of a row is a reason, so that its sender can fix all at once."""
        (row,) = rejections_of(csv_bytes([make_row(product="", price="dear", quantity="0", date="soon")]))
        assert {(reason.field, reason.code) for reason in row.reasons} == {
            ("product", "missing"),
            ("price", "decimal_parsing"),
            ("quantity", "greater_than_equal"),
            ("date", "date_format"),
        }

    def test_fields_are_kept_as_sent(self) -> None:
        """Fields are as sent, because the quarantine shows them and hashes what identifies a person."""
        sent = make_row(product=" x ", price="1,5")
        (row,) = rejections_of(csv_bytes([sent]))
        assert row.fields == tuple(sent.values())

    def test_bytes_that_are_not_text_are_shown_escaped(self) -> None:
        """Bytes that are not text are shown escaped, so that whoever fixes the file can find them."""
        (row,) = rejections_of(f"{HEADER}\nT1,".encode() + b"caf\xe9,1,1,2020-01-01\n")
        assert row.fields == ("T1", r"caf\xe9", "1", "1", "2020-01-01")
        assert row.reasons == (Reason("product", "not_utf8", "The bytes are not UTF-8 text"),)

    def test_field_that_is_not_required_must_still_be_text(self) -> None:
        """The bytes of an optional field are not taken for a missing value."""
        rules = ValidationRules(required_fields=frozenset({"price"}))
        data = f"{HEADER}\n".encode() + b"T1,caf\xe9,1,1,2020-01-01\nT2,,1,1,2020-01-01\n"
        assert outcomes_of(data, rules) == {
            1: frozenset({("product", "not_utf8")}),
            2: ("T2", None, Decimal(1), 1, dt.date(2020, 1, 1)),
        }

    def test_unreadable_record_has_no_fields(self) -> None:
        """An unreadable record has no fields, because its parts cannot be told apart."""
        (row,) = rejections_of(f"{HEADER}\nT1,x,1,1\n".encode())
        assert row == Rejected(1, (None,) * 5, (Reason("", "too_few_fields", "The row has 4 fields, the header 5"),))

    def test_rows_are_numbered_across_blocks(self) -> None:
        """Rows are numbered by their record in the file across blocks, from 1, without the header."""
        rows = [make_row(price="dear" if number % 7 == 0 else "1") for number in range(1, 60)]
        outcomes = outcomes_of(csv_bytes(rows), block_bytes=100, field_bytes=100)
        assert [number for number, found in outcomes.items() if isinstance(found, frozenset)] == [
            7, 14, 21, 28, 35, 42, 49, 56,
        ]  # fmt: skip

    def test_reasons_are_counted(self) -> None:
        """Reasons are counted by field and code."""
        rows = [make_row(price="dear"), make_row(price="x", quantity="0")]
        assert count_reasons(rejected_rows(rejections_of(csv_bytes(rows)))) == {
            ("price", "decimal_parsing"): 2,
            ("quantity", "greater_than_equal"): 1,
        }

    @pytest.mark.parametrize(
        ("price", "others"),
        [
            ("3,95", 1),
            ("1.499,90", 1),
            ("-3,9 ", 1),
            ("1.234.567,891", 1),
            ("1,499", 0),
            ("1,499.90", 0),
            ("3,95 EUR", 0),
        ],
    )
    def test_other_decimal_marks_are_counted(self, price: str, others: int) -> None:
        """A comma counts as a decimal comma unless it may be grouping; in a feed with commas, so does a point."""
        rejected = rejected_rows(rejections_of(csv_bytes([make_row(price=price)])))
        assert count_other_decimals(rejected, CONTRACT, DEFAULT_FORMAT) == others
        swapped = price.translate(str.maketrans(",.", ".,"))
        rejected = rejected_rows([Rejected(1, ("T1", "x", swapped, "1", "2024-01-31"), ())])
        assert count_other_decimals(rejected, CONTRACT, form(decimal=",")) == others

    def test_no_message_contains_a_value(self) -> None:
        """No message carries a value, whether or not the row is readable."""
        body = b'7777,"7777"7,7,7\n"7777\n7777,7\n7777,\xff7777,7777.77777,77.7,2077-77-77\n'
        rows = rejections_of(f"{HEADER}\n".encode() + body)
        assert len(rows) == 4
        assert not [reason for row in rows for reason in row.reasons if "77" in reason.message]

    @pytest.mark.parametrize("sentence", ["{} is unknown", "no customer {} in the list"])
    def test_message_of_a_validator_that_quotes_pii_is_left_out(self, sentence: str) -> None:
        """A validator of a row model may quote a value of a PII column; other messages of validators are kept."""

        class Order(Row):
            customer: Annotated[Text, Pii]
            note: Text

            @model_validator(mode="after")
            def _is_known(self) -> "Order":
                raise ValueError(sentence.format(self.customer) if self.note == "x" else "nobody is known")

        rows = pa.RecordBatch.from_pylist([{"customer": b" Ann ", "note": b"x"}, {"customer": b"Bob", "note": b"y"}])
        block = ParsedBlock(2, rows, pa.array([0, 1]), ())
        verdict = validate_records(block, RowContract.of(Order), batch_size=10)
        (hidden,), (shown,) = verdict.rejected.reasons
        assert "ann" not in hidden.message.lower()
        assert "it quotes PII" in hidden.message
        assert shown.message == "Value error, nobody is known"


@given(st.lists(st.one_of(VALUES[kinds.MoneyKind], st.from_regex(r"\A[+ ]?[0-9]{0,2}\.[0-9]{2,4} ?\Z")), max_size=20))
@example(["999", "4.500", " 4.500", "+.500", "0.5000", "1.50", "x.500"])
@settings(max_examples=100, deadline=None)
def test_three_decimals_are_counted(prices: list[str]) -> None:
    """Three decimals are counted among valid rows only, whichever of screen and judge decided."""
    rows = [make_row(price=price) for price in prices]
    verdict = validate_records(parsed(rows), under(DEFAULT_RULES), batch_size=3)
    valid = [prices[number - 1] for number in verdict.valid["source_row"].to_pylist()]
    assert verdict.three_decimals == sum(re.search(r"\.[0-9]{3}[ \t]*\Z", price) is not None for price in valid)


def test_giving_up_early_ends_the_threads() -> None:
    """A consumer that stops early, for instance because its disk is full, is not delayed by the read-ahead."""
    verdicts = validate(
        open_csv(csv_bytes([make_row()] * 500), block_bytes=100, field_bytes=100),
        under(DEFAULT_RULES),
        batch_size=10,
        threads=2,
    )
    assert next(verdicts).records > 0
    verdicts.close()  # type: ignore[attr-defined]  # a generator
