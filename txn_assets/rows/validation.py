"""Decide which rows of a file are valid: first with a fast screen over columns, then with the row contract.

`transaction.py` defines what a valid row is, and `csv_columns.py` turns bytes into fields. See docs/data-contract.md.

The screen accepts a row only if the contract provably accepts it with the same values. Every other row goes to
Pydantic, the judge, for a decision with reasons. A property test checks that the two agree.
"""

import functools
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from txn_assets.files.report import Reason
from txn_assets.rows.columns import VALID_COLUMNS
from txn_assets.rows.csv_columns import Block, ParsedBlock, UnreadableRecord, parse
from txn_assets.rows.csv_header import Header
from txn_assets.rows.csv_reader import CsvFile
from txn_assets.rows.kinds import DATE, DECIMAL_PLACES, IDENTIFIER, MONEY, TEXT, WHOLE, WHOLE_DIGITS
from txn_assets.rows.transaction import (
    FIELD_KINDS,
    FIELDS,
    INVISIBLE_LETTERS,
    MAX_QUANTITY,
    Transaction,
    ValidationRules,
    contract,
    fields_of,
)

ARROW_TYPES = {
    IDENTIFIER: pa.string(),
    TEXT: pa.string(),
    MONEY: pa.decimal128(WHOLE_DIGITS + DECIMAL_PLACES, DECIMAL_PLACES),
    WHOLE: pa.int64(),
    DATE: pa.date32(),
}

VALID_SCHEMA = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in VALID_COLUMNS.items()])
"""Valid rows between validation and hashing, as clear text."""

# Text that begins with a visible character, does not end with a blank, and does not begin with # or =, as spreadsheet
# damage does.
_LETTER = rf"[^\P{{L}}{INVISIBLE_LETTERS}]"
_REST = r"(?:[^\x00]*[^\pZ\pC])?"
_TEXT = rf"^(?:[!-\"$-<>-~]|{_LETTER}){_REST}$"
# An id that begins with a digit and has a plus goes to the judge, because it may look like 1.23457E+17.
_IDENTIFIER = rf"^(?:(?:[!\"$-&(-/:-<>-~]|{_LETTER}){_REST}|[0-9](?:[^\x00+]*[!-*,-~])?)$"
_WHOLE = r"^[1-9][0-9]{0,17}$"
# February 29 is left to the judge because of leap years.
_DATE = (
    r"^[1-9][0-9]{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)$"
)
_PATTERNS = {IDENTIFIER: _IDENTIFIER, TEXT: _TEXT, WHOLE: _WHOLE, DATE: _DATE}

# Three digits after a comma, with no point before it, may be grouping: 1,499.
_DECIMAL_COMMA = r"^\s*[+-]?(?:[0-9]+,[0-9]{1,2}|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+)\s*$"


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """Rejected rows, in file order. They are stored in columns, because every row of a file may be bad.

    Attributes:
        source_row: the record number of each row in the file, from 1.
        fields: `FIELDS` as sent, as clear text; all null for a row that could not be split into fields.
        reasons: at least one for each row.
    """

    source_row: pa.Int64Array
    fields: pa.RecordBatch
    reasons: tuple[tuple[Reason, ...], ...]

    def __len__(self) -> int:
        return len(self.reasons)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for the records of a block: `records == valid.num_rows + len(rejected)`.

    Attributes:
        records: how many records the block has.
        valid: the valid rows as `VALID_SCHEMA`, in file order.
        rejected: the other rows.
        three_decimals: how many of the valid rows have a price with exactly three decimals.
        bare_quotes: how many of the records have a quote inside an unquoted field, read as text.
    """

    records: int
    valid: pa.RecordBatch
    rejected: RejectedRows
    three_decimals: int
    bare_quotes: int


def validate(file: CsvFile, rules: ValidationRules, *, batch_size: int, threads: int) -> Iterator[Verdict]:
    """Yield the verdict on each block of `file`, in file order.

    `threads` blocks are validated at a time, and at most one more is read ahead, so that memory does not grow with the
    file. `batch_size` is the number of rows passed to Pydantic at once.

    Raises:
        NotATransactionFileError: compressed data is damaged.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="validate") as executor:
        waiting: deque[Future[Verdict]] = deque()
        before = 0
        judge = functools.partial(_validate_block, header=file.header, rules=rules, batch_size=batch_size)
        try:
            for block in file.blocks():
                waiting.append(executor.submit(judge, block))
                if len(waiting) > threads:
                    verdict = _shifted(waiting.popleft().result(), before)
                    before += verdict.records
                    yield verdict
            while waiting:
                verdict = _shifted(waiting.popleft().result(), before)
                before += verdict.records
                yield verdict
        finally:
            for future in waiting:
                future.cancel()


def count_reasons(rejected: RejectedRows) -> Counter[tuple[str, str]]:
    """Return how often each (field, code) was a reason."""
    counts: Counter[tuple[str, str]] = Counter()
    # Count equal reasons together, because most bad rows of a file share a few.
    for reasons, rows in Counter(rejected.reasons).items():
        for reason in reasons:
            counts[reason.field, reason.code] += rows
    return counts


def count_decimal_commas(rejected: RejectedRows) -> int:
    """Return how many of the rejected prices are written with a decimal comma."""
    return int(pc.match_substring_regex(rejected.fields["price"], _DECIMAL_COMMA).true_count)


def _validate_block(block: Block, header: Header, rules: ValidationRules, batch_size: int) -> Verdict:
    return validate_records(parse(block, header), rules, batch_size=batch_size)


def validate_records(parsed: ParsedBlock, rules: ValidationRules, *, batch_size: int) -> Verdict:
    """Return the verdict on parsed records; their `source_row` counts from 1 within the block."""
    source_row = pc.add(parsed.index, 1)
    columns, decoded = _decoded(parsed.fields)
    accepted = pc.and_(decoded, screen(columns, rules))
    plain = columns.filter(accepted)
    valid = _typed(source_row.filter(accepted), plain)
    three_decimals = _count_three_decimals(plain["price"])
    left = pc.invert(accepted)
    # Use bytes only if some are not text: decoding them again, value by value, takes a tenth of the judge's time.
    doubtful = (columns if decoded.true_count == len(decoded) else parsed.fields).filter(left)
    source_row = source_row.filter(left)
    judged, reasons = _judge_all(source_row, doubtful, contract(rules), batch_size)
    if judged:
        # Merge the rows that the judge accepted with those that the screen accepted, in file order.
        valid = pa.Table.from_batches([valid, *judged]).sort_by("source_row").combine_chunks().to_batches()[0]
        passed = pa.array([place for place in range(doubtful.num_rows) if place not in reasons])
        prices = doubtful["price"].take(passed).cast(pa.string())
        three_decimals += _count_three_decimals(pc.ascii_trim(prices, " \t"))
    failed = pa.array(sorted(reasons), pa.int64())
    rejected = RejectedRows(
        source_row.take(failed), _as_sent(doubtful.take(failed)), tuple(reasons[place] for place in failed.to_pylist())
    )
    return Verdict(
        parsed.records, valid, _with_unreadable(rejected, parsed.unreadable), three_decimals, parsed.bare_quotes
    )


def screen(columns: pa.RecordBatch, rules: ValidationRules) -> pa.BooleanArray:
    """Return for each row of `columns` (`FIELDS` as text) whether it is clearly valid. The judge decides the rest."""
    decimals = rf"(?:\.[0-9]{{1,{rules.max_decimals}}})?" if rules.max_decimals else ""
    patterns = _PATTERNS | {MONEY: rf"^[0-9]{{1,{WHOLE_DIGITS}}}{decimals}$"}
    plain = {name: pc.match_substring_regex(columns[name], patterns[kind]) for name, kind in FIELD_KINDS.items()}
    masks = list(plain.values())
    if rules.product_prefix:
        masks.append(pc.starts_with(columns["product"], rules.product_prefix))
    if rules.min_price > 0:
        masks.append(_at_least(columns["price"], plain["price"], rules.min_price))
    for name in fields_of(DATE):
        # ISO dates sort correctly as text.
        masks.append(pc.greater_equal(columns[name], rules.min_date.isoformat()))
        if rules.max_date is not None:
            masks.append(pc.less_equal(columns[name], rules.max_date.isoformat()))
    if rules.max_quantity < MAX_QUANTITY:
        quantity = pc.if_else(plain["quantity"], columns["quantity"], "0").cast(pa.int64())
        masks.append(pc.less_equal(quantity, rules.max_quantity))
    return functools.reduce(pc.and_, masks)


def _at_least(price: pa.StringArray, numeric: pa.BooleanArray, least: Decimal) -> pa.BooleanArray:
    return pc.greater_equal(pc.if_else(numeric, price, "0").cast(ARROW_TYPES[MONEY]), pa.scalar(least))


def _count_three_decimals(price: pa.StringArray) -> int:
    return int(pc.equal(pc.binary_slice(price.cast(pa.binary()), -4, -3), b".").true_count)


def _typed(source_row: pa.Int64Array, columns: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [source_row, *(columns[name].cast(VALID_SCHEMA.field(name).type) for name in FIELDS)]
    return pa.RecordBatch.from_arrays(arrays, schema=VALID_SCHEMA)


def _decoded(fields: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.BooleanArray]:
    """Return `fields` as text, and which rows are all UTF-8; values that are not UTF-8 become empty text."""
    columns = []
    decoded = pa.repeat(True, fields.num_rows)  # noqa: FBT003 - the value to repeat
    for column in fields.columns:
        try:
            columns.append(column.cast(pa.string()))
        except pa.ArrowInvalid:
            values = [_text_or_none(value) for value in column.to_pylist()]
            text = pa.array(values, pa.string())
            decoded = pc.and_(decoded, text.is_valid())
            columns.append(text.fill_null(""))
    return pa.RecordBatch.from_arrays(columns, names=list(FIELDS)), decoded


def _text_or_none(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


@functools.cache
def _adapter(model: type[Transaction]) -> TypeAdapter[list[Transaction]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]  # the model is chosen at run time


type _Reasons = dict[int, tuple[Reason, ...]]
"""Reasons to reject a row, by its position. Valid rows are left out."""


def _judge_all(
    source_row: pa.Int64Array, rows: pa.RecordBatch, model: type[Transaction], batch_size: int
) -> tuple[list[pa.RecordBatch], _Reasons]:
    """Validate `rows` (`FIELDS` as text or bytes). Return the valid ones as `VALID_SCHEMA`, and the reasons."""
    judged: list[pa.RecordBatch] = []
    reasons: _Reasons = {}
    for start in range(0, rows.num_rows, batch_size):
        batch = list(zip(*(column.to_pylist() for column in rows.slice(start, batch_size).columns), strict=True))
        transactions, found = _judge(batch, model)
        if transactions:
            # Convert to columns right away, because models take many times the memory.
            passed = [start + place for place in range(len(batch)) if place not in found]
            judged.append(_from_models(source_row.take(pa.array(passed)), transactions))
        reasons |= {start + place: why for place, why in found.items()}
    return judged, reasons


def _judge(rows: Sequence[Sequence[Any]], model: type[Transaction]) -> tuple[list[Transaction], _Reasons]:
    adapter = _adapter(model)
    inputs, reasons = _inputs(rows)
    try:
        transactions = adapter.validate_python(inputs)
    except ValidationError as error:
        # Leave out the input, because errors must not carry clear-text values.
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            place, field, *_ = fault["loc"]
            _add(reasons, int(place), _reason(str(field), fault["type"], fault["msg"]))
        return adapter.validate_python([row for place, row in enumerate(inputs) if place not in reasons]), reasons
    return [transaction for place, transaction in enumerate(transactions) if place not in reasons], reasons


def _inputs(rows: Sequence[Sequence[Any]]) -> tuple[list[dict[str, str]], _Reasons]:
    """Return the rows as Pydantic takes them, without empty fields, and what is wrong with their encoding."""
    # A batch is either all text or all bytes.
    if isinstance(rows[0][0], str):
        return [{name: value for name, value in zip(FIELDS, fields, strict=True) if value} for fields in rows], {}
    inputs = []
    reasons: _Reasons = {}
    for place, fields in enumerate(rows):
        texts = {name: _text_or_none(value) for name, value in zip(FIELDS, fields, strict=True) if value}
        for name in [name for name, text in texts.items() if text is None]:
            _add(reasons, place, _reason(name, "not_utf8", "The bytes are not UTF-8 text"))
        inputs.append({name: text for name, text in texts.items() if text is not None})
    return inputs, reasons


def _add(reasons: _Reasons, place: int, reason: Reason) -> None:
    """Add `reason` if it is the first for its field."""
    found = reasons.get(place, ())
    if not found or all(one.field != reason.field for one in found):
        reasons[place] = (*found, reason)


@functools.lru_cache(maxsize=256)
def _reason(field: str, code: str, message: str) -> Reason:
    # Cached, because most bad rows of a file share a few reasons.
    return Reason(field, code, message)


def _as_sent(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return `rows` as text, with bytes that are not UTF-8 escaped."""
    columns = []
    for column in rows.columns:
        try:
            columns.append(column.cast(pa.string()))
        except pa.ArrowInvalid:
            values = [value.decode(errors="backslashreplace") for value in column.to_pylist()]
            columns.append(pa.array(values, pa.string()))
    return pa.RecordBatch.from_arrays(columns, names=list(FIELDS))


def _with_unreadable(rejected: RejectedRows, unreadable: Sequence[UnreadableRecord]) -> RejectedRows:
    if not unreadable:
        return rejected
    source_row = pa.array([record.index + 1 for record in unreadable], pa.int64())
    nothing = pa.RecordBatch.from_arrays([pa.nulls(len(unreadable), pa.string())] * len(FIELDS), names=list(FIELDS))
    reasons = [*rejected.reasons, *((_reason("", record.code, record.message),) for record in unreadable)]
    numbers = pa.concat_arrays([rejected.source_row, source_row])
    order = pc.sort_indices(numbers)
    return RejectedRows(
        numbers.take(order),
        pa.concat_batches([rejected.fields, nothing]).take(order),
        tuple(reasons[place] for place in order.to_pylist()),
    )


def _from_models(source_row: pa.Int64Array, transactions: Sequence[Transaction]) -> pa.RecordBatch:
    cent = Decimal(1).scaleb(-DECIMAL_PLACES)
    columns: dict[str, list[Any]] = {name: [getattr(t, name) for t in transactions] for name in FIELDS}
    for name in fields_of(MONEY):
        # A price such as 1.50000 is valid, because its value has one decimal place.
        columns[name] = [None if amount is None else amount.quantize(cent) for amount in columns[name]]
    arrays = [source_row, *(pa.array(columns[name], VALID_SCHEMA.field(name).type) for name in FIELDS)]
    return pa.RecordBatch.from_arrays(arrays, schema=VALID_SCHEMA)


def _shifted(verdict: Verdict, before: int) -> Verdict:
    """Return `verdict` with its rows numbered in the file, after `before` earlier records."""
    if not before:
        return verdict
    columns = [pc.add(verdict.valid["source_row"], before), *verdict.valid.columns[1:]]
    valid = pa.RecordBatch.from_arrays(columns, schema=VALID_SCHEMA)
    rejected = replace(verdict.rejected, source_row=pc.add(verdict.rejected.source_row, before))
    return replace(verdict, valid=valid, rejected=rejected)
