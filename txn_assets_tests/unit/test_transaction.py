"""The row contract: each field, and each rule that a deployment may add.

`test_validation.py` tests that files are validated by it.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from txn_assets.feeds.transaction import CONTRACT, Transaction, ValidationRules
from txn_assets.rows.kinds.whole import MAX_WHOLE
from txn_assets_tests.unit.rows import FIELDS, make_row


def codes(row: dict[str, str], **rules: Any) -> dict[str, str]:
    """Return field and code of each fault of `row` under `rules`; empty for a valid row."""
    try:
        ValidationRules(**rules).narrow(CONTRACT).model.model_validate(row)
    except ValidationError as error:
        return {str(fault["loc"][0]): fault["type"] for fault in error.errors()}
    return {}


def without(*names: str) -> dict[str, str]:
    """Return a valid row without the given fields."""
    return {name: value for name, value in make_row().items() if name not in names}


def test_valid_row_has_exact_values() -> None:
    """A valid row has exact values: text, money as a decimal, an integer and a date."""
    assert Transaction.model_validate(make_row()) == Transaction(
        transaction_id="T001",
        product="Halal Laptop",
        price=Decimal("999.99"),
        quantity=2,
        date=dt.date(2023, 10, 1),
    )


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_required(field: str) -> None:
    """Every field is required unless the rules say otherwise."""
    assert codes(without(field)) == {field: "missing"}


@pytest.mark.parametrize("field", FIELDS)
def test_field_that_is_not_required_may_be_missing(field: str) -> None:
    """A field that `required_fields` leaves out may be missing; its value is then null."""
    rules = ValidationRules(required_fields=frozenset(FIELDS) - {field})
    assert getattr(rules.narrow(CONTRACT).model.model_validate(without(field)), field) is None


def test_field_that_is_not_required_must_still_be_valid() -> None:
    """A field that is not required must still be valid if it is present."""
    required = frozenset(FIELDS) - {"price"}
    assert codes(make_row(price="dear"), required_fields=required) == {"price": "decimal_parsing"}


def test_unknown_field_is_refused() -> None:
    """An unknown field is refused, because the contract has five fields."""
    assert codes(make_row(note="x")) == {"note": "extra_forbidden"}


@pytest.mark.parametrize("field", ["transaction_id", "product"])
class TestText:
    """Transaction id and product."""

    @pytest.mark.parametrize(
        "value",
        ["x", "a,b", 'say "hi"', "two\nlines", "حلال", "=1+1", "0", '="', "#1", "#N/A!", "#n/a", "1E17", "1E-05", "'",
         "5'", "A+", "1.5+E", "a\u200bb", "नमस्ते", "\u0301"],
    )  # fmt: skip
    def test_any_text_is_taken_as_sent(self, field: str, value: str) -> None:
        """Text inside the field is taken unchanged."""
        assert getattr(Transaction.model_validate(make_row(**{field: value})), field) == value

    @pytest.mark.parametrize("value", [" x y ", "\tx y", "x y\n", "\u00a0x y\u2003", "\x1fx y\x85"])
    def test_blanks_at_both_ends_are_stripped(self, field: str, value: str) -> None:
        """Blanks at both ends are stripped, because two ids that differ in a blank would get two hashes for good."""
        assert getattr(Transaction.model_validate(make_row(**{field: value})), field) == "x y"

    @pytest.mark.parametrize(
        "value", ["", " ", "\t\n", "\u00a0\u2003", "\u200b", "\ufeff \u2060", "\u3164", "\u2800", "\ufe0f", "\x01"]
    )
    def test_invisible_text_is_refused(self, field: str, value: str) -> None:
        """Text of only white space, zero-width and control characters is refused."""
        assert codes(make_row(**{field: value})) == {field: "blank"}

    @pytest.mark.parametrize(
        "value",
        ['="S-7001"', '=""', ' ="S-7001" ', "#REF!", "#N/A", " #NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!"],
    )
    def test_spreadsheet_damage_is_refused(self, field: str, value: str) -> None:
        """A formula or an error value in place of the text is refused."""
        assert codes(make_row(**{field: value})) == {field: "spreadsheet_damage"}

    def test_nul_is_refused(self, field: str) -> None:
        """NUL is refused, because PostgreSQL cannot store it."""
        assert codes(make_row(**{field: "a\0b"})) == {field: "nul_character"}


@pytest.mark.parametrize("value", ["1.23457E+17", "1E+05", "1,2e+10", "'S-7001", " '7"])
def test_spreadsheet_damage_to_an_id(value: str) -> None:
    """An id that lost its digits or has a text cell's mark is refused; a product name may have either."""
    assert codes(make_row(transaction_id=value)) == {"transaction_id": "spreadsheet_damage"}
    assert codes(make_row(product=value)) == {}


class TestPrice:
    """Money: an exact decimal with at most 14 digits before the point and 4 after."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", "0"),
            ("999.99", "999.99"),
            (" 5 ", "5"),
            ("+5", "5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("0.1234", "0.1234"),
            ("1.50000", "1.5"),
            ("000000000000000000001", "1"),
            ("99999999999999.9999", "99999999999999.9999"),
        ],
    )
    def test_plain_decimal_is_taken_exactly(self, text: str, value: str) -> None:
        """A plain decimal, as people and programs write it, is taken exactly."""
        assert Transaction.model_validate(make_row(price=text)).price == Decimal(value)

    @pytest.mark.parametrize(
        "text",
        ["", " ", "dear", "1,5", "1 000", "1_000", "1E+03", "1e2", "NaN", "inf", "-inf", "0x10", "٣", "\uff11", "1.2.3",
         ".", "$5"],
    )  # fmt: skip
    def test_anything_else_is_refused(self, text: str) -> None:
        """Anything else is refused; an exponent means that a spreadsheet lost digits."""
        assert codes(make_row(price=text)) == {"price": "decimal_parsing"}

    def test_number_of_absurd_length_is_refused_unread(self) -> None:
        """A number of absurd length is refused without parsing it, which would take quadratic time."""
        assert codes(make_row(price="1" * 101)) == {"price": "decimal_parsing"}

    def test_negative_price_is_refused(self) -> None:
        """A negative price is refused; zero is the minimum."""
        assert codes(make_row(price="-0.01")) == {"price": "greater_than_equal"}

    def test_fifth_decimal_is_refused(self) -> None:
        """A fifth decimal is refused, because NUMERIC(18,4) would drop it."""
        assert codes(make_row(price="0.12345")) == {"price": "decimal_max_places"}

    def test_fifteenth_whole_digit_is_refused(self) -> None:
        """A fifteenth whole digit is refused, because it does not fit into NUMERIC(18,4)."""
        assert codes(make_row(price="100000000000000")) == {"price": "decimal_whole_digits"}


class TestQuantity:
    """An integer from 1."""

    @pytest.mark.parametrize(
        ("text", "value"), [("1", 1), (" 7\t", 7), ("+3", 3), ("007", 7), ("2.0", 2), (str(MAX_WHOLE), MAX_WHOLE)]
    )
    def test_whole_number_is_taken(self, text: str, value: int) -> None:
        """An integer is taken, and so is 2.0, which pandas writes for columns with gaps."""
        assert Transaction.model_validate(make_row(quantity=text)).quantity == value

    @pytest.mark.parametrize(
        "text", ["", "two", "1.5", "1.000", "1.00", "5.", "1e3", "1_000", "1,000", "٣", "0x10", "True", "9" * 101]
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        """Anything else is refused, because nothing is rounded. The message is the contract's own, not Pydantic's."""
        with pytest.raises(ValidationError) as caught:
            Transaction.model_validate(make_row(quantity=text))
        faults = [(fault["type"], fault["msg"]) for fault in caught.value.errors()]
        assert faults == [("int_parsing", "Input should be a whole number such as 2")]

    @pytest.mark.parametrize("text", ["0", "-1", "-0"])
    def test_less_than_one_is_refused(self, text: str) -> None:
        """A quantity below one is refused."""
        assert codes(make_row(quantity=text)) == {"quantity": "greater_than_equal"}

    def test_more_than_the_stores_hold_is_refused(self) -> None:
        """A quantity above 2^63 - 1, the maximum of INT64 and bigint, is refused."""
        assert codes(make_row(quantity=str(MAX_WHOLE + 1))) == {"quantity": "less_than_equal"}


class TestDate:
    """An ISO 8601 date that exists in the calendar."""

    @pytest.mark.parametrize("text", ["2023-10-01", " 2024-02-29 ", "1970-01-01", "9999-12-31"])
    def test_iso_date_is_taken(self, text: str) -> None:
        """An ISO date is taken, with or without surrounding blanks."""
        assert Transaction.model_validate(make_row(date=text)).date == dt.date.fromisoformat(text.strip())

    @pytest.mark.parametrize(
        "text",
        ["", "01.10.2023", "10/01/2023", "20231001", "2023-10-1", "2023-W40-7", "2023-10-01T00:00:00", "1696118400"],
    )  # fmt: skip
    def test_other_form_is_refused(self, text: str) -> None:
        """Any other format is refused, because the order of day and month is never guessed."""
        assert codes(make_row(date=text)) == {"date": "date_format"}

    @pytest.mark.parametrize("text", ["2023-02-29", "2023-04-31", "2023-13-01", "0000-01-01", "2023-00-10"])
    def test_date_that_does_not_exist_is_refused(self, text: str) -> None:
        """A date in the right format that does not exist is refused."""
        assert codes(make_row(date=text)) == {"date": "date_parsing"}

    @pytest.mark.parametrize("text", ["1969-12-31", "0001-01-01"])
    def test_day_before_1970_is_refused(self, text: str) -> None:
        """A date before 1970, the default of `min_date`, is refused: most are a column of zeros or a mistyped year."""
        assert codes(make_row(date=text)) == {"date": "date_out_of_range"}


class TestRules:
    """`ingestion.validation`: what a deployment requires beyond the default."""

    def test_judge_is_derived_from_the_row_model(self) -> None:
        """The judge is derived from the row model, so that validators of the model apply under any rules."""
        assert issubclass(ValidationRules().narrow(CONTRACT).model, Transaction)

    @pytest.mark.parametrize(("price", "found"), [("9.99", {"price": "greater_than_equal"}), ("10", {})])
    def test_min_price(self, price: str, found: dict[str, str]) -> None:
        """`min_price` allows the bound itself."""
        assert codes(make_row(price=price), min_price="10") == found

    @pytest.mark.parametrize(("quantity", "found"), [("101", {"quantity": "less_than_equal"}), ("100", {})])
    def test_max_quantity(self, quantity: str, found: dict[str, str]) -> None:
        """`max_quantity` allows the bound itself."""
        assert codes(make_row(quantity=quantity), max_quantity=100) == found

    @pytest.mark.parametrize("price", ["1.234", "0.001"])
    def test_max_decimals_refuses_more(self, price: str) -> None:
        """`max_decimals` refuses more decimals."""
        assert codes(make_row(price=price), max_decimals=2) == {"price": "decimal_max_places"}

    @pytest.mark.parametrize("price", ["1", "1.23", "1.2300"])
    def test_max_decimals_allows_as_many(self, price: str) -> None:
        """`max_decimals` ignores trailing zeros."""
        assert codes(make_row(price=price), max_decimals=2) == {}

    def test_max_decimals_leaves_the_whole_digits(self) -> None:
        """Fewer decimals do not allow more digits before the point."""
        assert codes(make_row(price="99999999999999"), max_decimals=0) == {}
        assert codes(make_row(price="100000000000000"), max_decimals=0) == {"price": "decimal_max_digits"}

    @pytest.mark.parametrize(
        ("date", "found"),
        [
            ("1899-12-30", {"date": "date_out_of_range"}),
            ("1899-12-31", {}),
            ("2024-02-29", {}),
            ("2024-03-01", {"date": "date_out_of_range"}),
        ],
    )
    def test_min_date_and_max_date(self, date: str, found: dict[str, str]) -> None:
        """`min_date` and `max_date` allow the bounds themselves."""
        assert codes(make_row(date=date), min_date="1899-12-31", max_date="2024-02-29") == found

    @pytest.mark.parametrize(
        ("rules", "last"), [({}, dt.date(2025, 3, 1)), ({"max_date": "2024-06-30"}, dt.date(2024, 6, 30))]
    )
    def test_max_date_of_a_run(self, rules: dict[str, Any], last: dt.date) -> None:
        """`max_date` of a run is a year after its day unless the configuration sets one."""
        contract = ValidationRules.model_validate(rules).narrow(CONTRACT).on(dt.date(2024, 2, 29))
        assert contract.kinds["date"].bounds[1] == str(last)

    @pytest.mark.parametrize("product", ["halal Laptop", "Laptop Halal"])
    def test_product_prefix_refuses_others(self, product: str) -> None:
        """The product must start with the exact prefix."""
        assert codes(make_row(product=product), product_prefix="Halal") == {"product": "string_pattern_mismatch"}

    def test_product_prefix_ignores_blanks_around_the_product(self) -> None:
        """Blanks around the product are ignored when the prefix is compared."""
        assert codes(make_row(product=" Halal Laptop"), product_prefix="Halal") == {}

    @given(prefix=st.text(max_size=8), rest=st.text(max_size=3))
    @example(prefix="".join(map(chr, range(1, 256))), rest="")
    @settings(max_examples=60, deadline=None)
    def test_product_prefix_is_not_a_pattern(self, prefix: str, rest: str) -> None:
        """The prefix is text, not a pattern, whatever characters it has."""
        prefix = prefix.replace("\0", "0").lstrip()
        product = f"{prefix}x{rest}".replace("\0", "0")
        # The row may be wrong in another way: ="x" is.
        assert codes(make_row(product=product), product_prefix=prefix) == codes(make_row(product=product))

    @pytest.mark.parametrize(
        "rules",
        [
            {"required_fields": []},
            {"required_fields": ["color"]},
            {"min_price": -1},
            {"min_price": "1E+80"},
            {"min_price": "9" * 19},
            {"min_price": "0." + "0" * 18 + "1"},
            {"max_quantity": 0},
            {"max_decimals": 5},
            {"max_price": 3},
            {"product_prefix": " Halal"},
            {"min_date": "2023-02-29"},
            {"min_date": "2024-01-02", "max_date": "2024-01-01"},
        ],
    )
    def test_contradictory_rules_are_refused(self, rules: dict[str, Any]) -> None:
        """Contradictory rules are refused when the configuration is read, not when a file arrives."""
        with pytest.raises(ValidationError):
            ValidationRules.model_validate(rules)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transaction_id", "7777777\0"),
        ("product", "7777777"),
        ("product", "\0 7777777"),
        ("transaction_id", '="7777777"'),
        ("transaction_id", "'7777777"),
        ("transaction_id", "7.77E+77"),
        ("price", "7777777.77777"),
        ("price", "-7777777"),
        ("price", "777777777777777"),
        ("price", "7777777 EUR"),
        ("quantity", "7777777"),
        ("quantity", "-7777777"),
        ("quantity", "7777777.5"),
        ("date", "7777777"),
        ("date", "2023-77-77"),
        ("date", "1777-07-07"),
    ],
)
def test_no_message_contains_the_value(field: str, value: str) -> None:
    """No message carries the value, so that messages may be logged."""
    rules = ValidationRules(min_price=Decimal(10), max_quantity=5, product_prefix="Halal", max_decimals=2)
    with pytest.raises(ValidationError) as caught:
        rules.narrow(CONTRACT).model.model_validate(make_row(**{field: value}))
    assert "77" not in str(caught.value)
