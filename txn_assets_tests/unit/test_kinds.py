"""Every kind of values: the screen accepts only what Pydantic accepts with the same values, under any settings.

`test_transaction.py` has the rules of the first feed's fields one by one.
"""

import datetime as dt
import traceback
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError, create_model, field_validator, model_validator

from txn_assets.errors import RowModelError
from txn_assets.feeds.refund import Refund
from txn_assets.files.ledger import FileVersion
from txn_assets.rows.contract import Identifier, Money, PartitionKey, Pii, Row, RowContract, RowId, Text
from txn_assets.rows.hashed_rows import read_lake, write_lake
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.kinds import (
    KINDS,
    BooleanKind,
    DateKind,
    DecimalKind,
    EnumerationKind,
    FieldRules,
    IdentifierKind,
    Kind,
    MoneyKind,
    TextKind,
    TimestampKind,
    WholeKind,
)
from txn_assets.rows.processing import hash_file
from txn_assets.rows.reader.columns import ParsedBlock
from txn_assets.rows.schemas import valid_schema
from txn_assets.rows.screen import screen
from txn_assets.rows.validation import validate_records

NUMBERS = st.one_of(
    st.integers(-200, 200).map(str),
    st.decimals(-20, 20, places=4).map(str),
    st.text("0123456789.+- \t\n", max_size=8),
    st.sampled_from(["-0", "+5", ".5", "5.", "1.50000", "007", "1\n", "", "1e3", "NaN", "٣", "9" * 18, "9" * 19,
                     str(2**63 - 1), str(-(2**63)), str(2**63), "-" + "9" * 18, "99999999999999.9999"]),
)  # fmt: skip
DAYS = st.one_of(
    st.builds("{:04}-{:02}-{:02}".format, st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32)),
    st.dates(dt.date(1969, 12, 30), dt.date(1970, 1, 2)).map(str),
    st.sampled_from(["2024-02-29", "2023-02-29", "2000-02-29", "2023-04-31", " 2023-10-01", "2023-1-1", ""]),
)
TIMES = st.one_of(
    st.builds("{}{}{}{}".format, DAYS, st.sampled_from(["T", " ", "t"]),
              st.builds("{:02}:{:02}:{:02}".format, st.integers(0, 25), st.integers(0, 61), st.integers(0, 61)),
              st.sampled_from(["Z", ".5Z", ".123456Z", ".1234567Z", "+01:00", "-23:59", "+00:00", "", "z", "Z\n"])),
    st.builds("2024-02-{:02}T{:02}:{:02}:{:02}Z".format, st.sampled_from([1, 28, 29, 30]),
              st.sampled_from([0, 23, 24]), st.sampled_from([0, 59, 60]), st.sampled_from([0, 59, 60])),
    st.datetimes(timezones=st.just(dt.UTC)).map(lambda moment: moment.isoformat().replace("+00:00", "Z")),
    st.sampled_from(["1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"]),
)  # fmt: skip
FLAGS = st.sampled_from(["true", "false", "True", "FALSE", "yes", "no", "1", "0", "", "t", "true\n", " true", "null"])
TEXTS = st.one_of(
    st.sampled_from(["T001", "", " ", "x\n", "\u200b", "é", "\0", " x", "1E+5", "'", "#N/A", '="x"', "a|b", "a", "b"]),
    st.text(max_size=4),
)
VALUES: dict[type[Kind], st.SearchStrategy[str]] = {
    TextKind: TEXTS, IdentifierKind: TEXTS, EnumerationKind: TEXTS, MoneyKind: NUMBERS, DecimalKind: NUMBERS,
    WholeKind: NUMBERS, DateKind: DAYS, TimestampKind: TIMES, BooleanKind: FLAGS,
}  # fmt: skip
"""Texts near the border between valid and invalid, for each kind."""

PREFIXES = st.sampled_from(["", "T", "é", ".", "x "])
BOUND = st.one_of(st.none(), st.decimals(-20, 20, places=2), st.sampled_from([Decimal(0), Decimal("0.00001")]))
DATES = st.sampled_from([dt.date.min, dt.date(1970, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)])


def ordered(kind: type[Kind], least: Any, most: Any, **options: Any) -> Kind:
    """Return a kind with bounds in order."""
    names = {WholeKind: ("minimum", "maximum"), DateKind: ("first", "last"), TimestampKind: ("first", "last")}
    first, second = names.get(kind, ("minimum", "maximum"))
    if least is not None and most is not None and most < least:
        least, most = most, least
    bounds = {name: value for name, value in ((first, least), (second, most)) if value is not None}
    return kind(**bounds, **options)


def exact(kind: type[Kind]) -> st.SearchStrategy[Kind]:
    """Generate exact decimals of any size that the stores hold."""

    def build(whole: int, scale: int, decimals: int | None, least: Decimal | None, most: Decimal | None) -> Kind:
        fewer = None if decimals is None else min(decimals, scale)
        if least is None and most is not None and kind is MoneyKind:
            most = abs(most)
        return ordered(kind, least, most, whole_digits=whole, scale=scale, max_decimals=fewer)

    return st.builds(build, st.integers(1, 25), st.integers(0, 9), st.none() | st.integers(0, 9), BOUND, BOUND)


ANY_KIND: dict[type[Kind], st.SearchStrategy[Kind]] = {
    TextKind: st.builds(TextKind, PREFIXES),
    IdentifierKind: st.builds(IdentifierKind, PREFIXES),
    EnumerationKind: st.lists(
        TEXTS.map(str.strip).filter(lambda text: bool(text) and "\0" not in text), min_size=1, max_size=4
    ).map(lambda values: EnumerationKind(tuple(values))),
    MoneyKind: exact(MoneyKind),
    DecimalKind: exact(DecimalKind),
    WholeKind: st.builds(
        lambda least, most: ordered(WholeKind, least, most),
        st.sampled_from([0, 1, 5, -100, -(2**63), 2**63 - 1]),
        st.sampled_from([None, 0, 100, 10**18, 2**63 - 1]),
    ),
    DateKind: st.builds(lambda least, most: ordered(DateKind, least, most), DATES, st.none() | DATES),
    TimestampKind: st.builds(lambda least, most: ordered(TimestampKind, least, most), DATES, st.none() | DATES),
    BooleanKind: st.just(BooleanKind()),
}
LIGHT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def contract_of(*kinds: Kind, required: bool = True) -> RowContract:
    """Return the contract of a model with a field for each of `kinds`, `c0`, `c1` and so on."""
    fields: dict[str, Any] = {"row": (Text, ...)}
    for number, kind in enumerate(kinds):
        annotation: Any = Annotated[kind.python_type, kind]
        fields[f"c{number}"] = (annotation, ...) if required else (annotation | None, None)
    return RowContract.of(create_model("Generated", __base__=Row, **fields))


def test_every_kind_is_tested() -> None:
    """Every kind has texts and settings here, so that a new one cannot be forgotten."""
    assert set(KINDS.values()) == set(VALUES) == set(ANY_KIND)


@pytest.mark.parametrize("kind", ANY_KIND, ids=lambda kind: str(kind.name))
def test_screen_accepts_what_pydantic_accepts_with_equal_values(kind: type[Kind]) -> None:
    """The screen accepts only texts that Pydantic accepts, and both make the same value of them."""

    @given(ANY_KIND[kind], st.lists(VALUES[kind], min_size=1, max_size=20))
    @LIGHT
    def check(one: Kind, texts: list[str]) -> None:
        contract = contract_of(one)
        columns = pa.RecordBatch.from_pydict({"row": ["x"] * len(texts), "c0": texts})
        mask = screen(columns, contract)
        accepted = columns["c0"].filter(mask)
        annotation: Any = Annotated[one.python_type, one]
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        judged = [one.stored(adapter.validate_python(text)) for text in accepted.to_pylist()]
        assert accepted.cast(one.arrow_type()).to_pylist() == judged

    check()


@st.composite
def feeds(draw: st.DrawFn) -> tuple[RowContract, list[dict[str, str]]]:
    """Generate a contract with up to five columns of any kind, and rows for it."""
    kinds = draw(st.lists(st.sampled_from(list(ANY_KIND)), min_size=1, max_size=5))
    contract = contract_of(*(draw(ANY_KIND[kind]) for kind in kinds), required=draw(st.booleans()))
    values = {"row": st.just("x")} | {f"c{number}": VALUES[kind] for number, kind in enumerate(kinds)}
    return contract, draw(st.lists(st.fixed_dictionaries(values), min_size=1, max_size=8))


def by_model(contract: RowContract, row: dict[str, str]) -> Any:
    """Return the values of a row, or field and code of each reason against it, by the model alone."""
    try:
        model = contract.model.model_validate({name: text for name, text in row.items() if text})
    except ValidationError as error:
        return frozenset((str(fault["loc"][0]) if fault["loc"] else "", fault["type"]) for fault in error.errors())
    return tuple(kind.stored(getattr(model, name)) for name, kind in contract.kinds.items())


def by_path(contract: RowContract, rows: list[dict[str, str]], *, batch_size: int = 3) -> list[Any]:
    """Return the same for each row, by the product's own path."""
    arrays = [pa.array([row[name].encode() for row in rows], pa.binary()) for name in contract.names]
    fields = pa.RecordBatch.from_arrays(arrays, names=list(contract.names))
    parsed = ParsedBlock(len(rows), fields, pa.array(range(len(rows)), pa.int64()), ())
    verdict = validate_records(parsed, contract, batch_size=batch_size)
    assert verdict.valid.schema == valid_schema(contract)
    outcomes: dict[int, Any] = {row.pop("source_row"): tuple(row.values()) for row in verdict.valid.to_pylist()}
    for number, reasons in zip(verdict.rejected.source_row.to_pylist(), verdict.rejected.reasons, strict=True):
        outcomes[number] = frozenset((reason.field, reason.code) for reason in reasons)
    return [outcomes[number] for number in range(1, len(rows) + 1)]


@given(feeds())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_feed_gets_the_verdicts_of_its_model(feed: tuple[RowContract, list[dict[str, str]]]) -> None:
    """Rows of any feed get the verdicts and values of its model, whether the screen or the judge decides."""
    contract, rows = feed
    assert by_path(contract, rows) == [by_model(contract, row) for row in rows]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (TextKind(), "Desk"),
        (IdentifierKind(), "R-1"),
        (MoneyKind(scale=2), "9.99"),
        (MoneyKind(minimum=Decimal(-5)), "-1.5"),
        (DecimalKind(), "-0.123456789"),
        (WholeKind(), "-12"),
        (WholeKind(minimum=0), "0"),
        (DateKind(), "2024-03-01"),
        (TimestampKind(), "2024-03-01T09:30:00.5Z"),
        (BooleanKind(), "true"),
        (EnumerationKind(("a b", "x|y")), "x|y"),
    ],
)
def test_plain_values_need_no_judge(kind: Kind, text: str) -> None:
    """Plain values need no judge; a screen that accepts nothing would pass every property."""
    columns = pa.RecordBatch.from_pydict({"row": ["x"], "c0": [text]})
    assert screen(columns, contract_of(kind)).to_pylist() == [True]


def test_empty_optional_value_needs_no_judge() -> None:
    """An empty value of an optional column needs no judge, and is null."""
    contract = contract_of(MoneyKind(), required=False)
    columns = pa.RecordBatch.from_pydict({"row": ["x"], "c0": [""]})
    assert screen(columns, contract).to_pylist() == [True]
    assert by_path(contract, [{"row": "x", "c0": ""}]) == [("x", None)]


class TestDecimal:
    """Exact decimals of any size."""

    @pytest.mark.parametrize("text", ["9" * 25 + "." + "9" * 9, "+" + "9" * 25 + ".000000001"])
    def test_as_many_digits_as_a_column(self, text: str) -> None:
        """A number with more digits than Python's default context keeps each of them."""
        ((_, value),) = by_path(contract_of(DecimalKind(whole_digits=25)), [{"row": "x", "c0": text}])
        assert value == Decimal(text)

    @pytest.mark.parametrize("bound", [Decimal("1e-13"), Decimal("1e28"), Decimal("-1e28")])
    def test_bound_that_a_kind_accepts_can_be_screened(self, bound: Decimal) -> None:
        """A bound may have more digits than a column, but no more than the screen can compare."""
        kind = DecimalKind(whole_digits=25, scale=9, minimum=min(bound, Decimal(0)), maximum=max(bound, Decimal(0)))
        assert by_path(contract_of(kind), [{"row": "x", "c0": "0"}]) == [("x", 0)]
        with pytest.raises(ValueError, match="too many digits to compare"):
            replace(kind, minimum=Decimal("1e-14"), maximum=None)

    @pytest.mark.parametrize(
        ("scale", "text", "in_lake"),
        [
            (0, "7", "7"),
            (1, "-7", "-7.0"),
            (2, "7.1", "7.10"),
            (3, "7.1", "7.10"),
            (3, "7.125", "7.125"),
            (4, "7.125", "7.125"),
            (9, "7.125", "7.125"),
            (9, "-0.000000001", "-0.000000001"),
            (9, "100", "100.00"),
        ],
    )
    def test_text_in_the_lake(self, scale: int, text: str, in_lake: str) -> None:
        """The lake's CSV has at least two decimals, if the column has them, and no zeros after them."""
        kind = DecimalKind(scale=scale)
        query = f"SELECT {kind.csv_sql('number')} FROM (SELECT CAST('{text}' AS {kind.duckdb}) AS number)"
        with duckdb.connect() as connection:
            assert connection.execute(query).fetchone() == (in_lake,)


class TestTimestamp:
    """Moments with a time zone."""

    @pytest.mark.parametrize(
        ("text", "utc"),
        [
            ("2024-03-01T09:30:00Z", "2024-03-01T09:30:00"),
            ("2024-03-01 09:30:00+01:00", "2024-03-01T08:30:00"),
            ("2024-01-01T00:30:00.25+01:00", "2023-12-31T23:30:00.250000"),
        ],
    )
    def test_moment_is_kept_in_utc(self, text: str, utc: str) -> None:
        """A moment is kept in UTC, whatever its zone."""
        (outcome,) = by_path(contract_of(TimestampKind()), [{"row": "x", "c0": text}])
        assert outcome[1] == dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("2024-03-01T09:30:00", "timestamp_format"),
            ("2024-03-01", "timestamp_format"),
            ("2024-02-30T09:30:00Z", "timestamp_parsing"),
            ("1969-12-31T23:00:00-00:30", "date_out_of_range"),
        ],
    )
    def test_other_times_are_refused(self, text: str, code: str) -> None:
        """A time without a zone is refused, because nobody knows which moment it is."""
        assert by_path(contract_of(TimestampKind()), [{"row": "x", "c0": text}]) == [frozenset({("c0", code)})]

    def test_day_of_the_run_bounds_it(self) -> None:
        """The last valid day is 366 days after the run, in UTC."""
        contract = contract_of(TimestampKind()).on(dt.date(2023, 1, 1))
        texts = ["2024-01-02T23:59:59.999999Z", "2024-01-03T00:59:59+01:00", "2024-01-03T00:00:00Z"]
        *valid, late = by_path(contract, [{"row": "x", "c0": text} for text in texts])
        assert [moment.date() for _, moment in valid] == [dt.date(2024, 1, 2)] * 2
        assert late == frozenset({("c0", "date_out_of_range")})


class TestModel:
    """A row model with rules of its own."""

    def test_validators_of_the_model_apply(self) -> None:
        """Validators of the model decide too, so nothing is accepted by the screen alone."""

        class Order(Row):
            order_id: Identifier
            net: Money
            gross: Money

            @field_validator("order_id")
            @classmethod
            def _known_prefix(cls, value: str) -> str:
                if not value.startswith("O-"):
                    message = "an order id begins with O-"
                    raise ValueError(message)
                return value

            @model_validator(mode="after")
            def _gross_is_not_less(self) -> "Order":
                if self.gross < self.net:
                    message = "gross is less than net"
                    raise ValueError(message)
                return self

        contract = RowContract.of(Order)
        rows = [
            {"order_id": "O-1", "net": "1", "gross": "2"},
            {"order_id": "1", "net": "1", "gross": "2"},
            {"order_id": "O-2", "net": "2", "gross": "1"},
        ]
        assert by_path(contract, rows) == [
            ("O-1", Decimal(1), Decimal(2)),
            frozenset({("order_id", "value_error")}),
            frozenset({("", "value_error")}),
        ]

    def test_validator_that_fails_is_named_without_the_value(self) -> None:
        """A validator that raises anything but ValueError is named with its line, and its text is left out."""

        class Order(Row):
            order_id: Annotated[Identifier, Pii]

            @field_validator("order_id")
            @classmethod
            def _known(cls, value: str) -> str:
                return {"O-1": "O-1"}[value]

        with pytest.raises(
            RowModelError, match=r"row model Order fails with KeyError in .*test_kinds.py, line"
        ) as raised:
            by_path(RowContract.of(Order), [{"order_id": "O-1"}, {"order_id": "O" * 20}])
        assert "O" * 20 not in "".join(traceback.format_exception(raised.value))

    def test_constraints_next_to_the_kind_apply(self) -> None:
        """A constraint next to the kind applies under any rules."""

        class Short(Row):
            code: Annotated[Text, Field(max_length=3)]

        contract = RowContract.of(Short).under({"code": FieldRules(prefix="A")})
        assert by_path(contract, [{"code": "ABC"}, {"code": "ABCD"}]) == [
            ("ABC",),
            frozenset({("code", "too_long")}),
        ]

    def test_marks_may_be_around_an_optional_kind(self) -> None:
        """A mark may be around `Text | None` as well as next to the kind."""

        class Inside(Row):
            code: Text
            name: Annotated[Text, Pii] | None = None

        class Around(Row):
            code: Text
            name: Annotated[Text | None, Pii] = None

        assert RowContract.of(Around).columns == RowContract.of(Inside).columns

    def test_constraints_are_part_of_the_identity(self) -> None:
        """A changed constraint changes what is valid, so the contract has another identity; a description does not."""

        def identity(**options: Any) -> list[str]:
            model = create_model("Short", __base__=Row, code=(Annotated[Text, Field(**options)], ...))
            return RowContract.of(model).identity()

        assert identity(max_length=3) == identity(max_length=3, description="A code.")
        assert identity(max_length=3) != identity(max_length=4)

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"a": (str, ...)}, "The field a has no kind"),
            ({"a": (Annotated[Text, RowId], ...), "b": (Annotated[Text, RowId], ...)}, "more than one row_id: a, b"),
            ({"a": (Annotated[Text, PartitionKey], ...)}, "a cannot be the partition key"),
            (
                {"a": (Annotated[Money, Pii], ...), "b": (Text, ...)},
                "a cannot be hashed: only text and identifiers can",
            ),
            ({"source_row": (Text, ...)}, "'source_row' cannot be the name of a field, because the platform"),
            ({"xmin": (Text, ...)}, "'xmin' cannot be the name of a field, because the platform or PostgreSQL"),
            ({"Amount": (Money, ...)}, "'Amount' cannot be the name of a field: use a lower-case letter"),
            ({"a" * 60: (Money, ...)}, "at most 59 in all"),
            ({"a": (Text, ...), "b": (Text, "none")}, "The field b has a default"),
            ({"a": (Text | None, None)}, "no required field"),
        ],
    )
    def test_model_that_cannot_be_used_is_refused(self, fields: dict[str, Any], sentence: str) -> None:
        """A model that cannot be used is refused with a sentence that names the field."""
        with pytest.raises(TypeError, match=sentence):
            RowContract.of(create_model("Wrong", __base__=Row, **fields))

    @pytest.mark.parametrize("is_required", [True, False])
    def test_constraint_next_to_a_kind_applies(self, is_required: bool) -> None:
        """A constraint of the model applies to a required and to an optional field, so the judge sees every row."""
        short = Annotated[Text, Field(max_length=2)]
        field: Any = (short, ...) if is_required else (short | None, None)
        contract = RowContract.of(create_model("Short", __base__=Row, row_id=(Identifier, ...), code=field))

        plain = RowContract.of(create_model("Plain", __base__=Row, row_id=(Identifier, ...), code=(Text | None, None)))

        assert contract.identity() != plain.under({}, [*contract.required]).identity()
        assert not contract.can_be_screened
        assert by_path(contract, [{"row_id": "x", "code": "abc"}]) == [frozenset({("code", "too_long")})]

    def test_refund_in_the_lake(self, tmp_path: Path) -> None:
        """Every value of a refund is in the lake's CSV as text that reads back as the same value."""
        contract = RowContract.of(Refund)
        rows = [
            {"refund_id": "R1", "transaction_id": "T1", "reason": "late", "amount": "2.5",
             "refunded_at": "2024-01-01 00:30:00.25+01:00", "partial": "Yes"},
            {"refund_id": "R2", "transaction_id": "T2", "reason": "other", "amount": "10",
             "refunded_at": "2024-01-01T10:00:00Z", "partial": ""},
        ]  # fmt: skip
        folder = tmp_path / "run" / "file"
        folder.mkdir(parents=True)
        with pa.OSFile(str(folder / "valid"), "wb") as sink, pa.ipc.new_stream(sink, valid_schema(contract)) as writer:
            values = [dict(zip(contract.names, by_model(contract, row), strict=True)) for row in rows]
            writer.write_batch(
                pa.RecordBatch.from_pylist(
                    [{"source_row": number, **row} for number, row in enumerate(values, start=1)],
                    schema=valid_schema(contract),
                )
            )
        hasher = Hasher(contract.pii_fields, None, "sha256")
        hash_file(
            folder / "valid",
            folder / "hashed",
            file=FileVersion("r.csv", 1, 1, ""),
            names=contract.names,
            hasher=hasher,
        )
        write_lake(folder / "hashed", folder / "lake", contract, file_format="csv")
        lines = (folder / "lake").read_text().splitlines()
        assert lines[1].partition(",")[2].partition(",")[2] == "late,2.50,2023-12-31T23:30:00.250000Z,true"
        assert lines[2].endswith("other,10.00,2024-01-01T10:00:00.000000Z,")
        found = read_lake((folder / "lake").read_bytes(), contract, file_format="csv").to_pylist()
        hashed = {name: [hasher.hexdigest(row[name]) for row in rows] for name in contract.pii_fields}
        expected = [row | {name: hashed[name][place] for name in hashed} for place, row in enumerate(values)]
        assert found == expected
