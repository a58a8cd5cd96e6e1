"""Decide which rows of a file are valid: first with a fast screen over columns, then with the row contract.

`contract.py` defines what a valid row is, and `reader/` turns bytes into fields. See docs/data-contract.md.

The screen accepts a row only if the contract provably accepts it with the same values. Every other row goes to
Pydantic, the judge, for a decision with reasons. A property test checks that the two agree.
"""

import functools
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from txn_assets.errors import RowModelError
from txn_assets.files.report import Reason
from txn_assets.rows.contract import Row, RowContract
from txn_assets.rows.kinds import MoneyKind
from txn_assets.rows.reader.columns import Block, ParsedBlock, UnreadableRecord, parse
from txn_assets.rows.reader.csv_file import CsvFile
from txn_assets.rows.reader.file_format import DEFAULT_FORMAT, FileFormat
from txn_assets.rows.reader.header import Header
from txn_assets.rows.reader.normalization import form_messages, normalize
from txn_assets.rows.schemas import valid_schema
from txn_assets.rows.screen import screen

# Three digits after a comma, with no point before it, may be grouping: 1,499.
_DECIMAL_COMMA = r"^\s*[+-]?(?:[0-9]+,[0-9]{1,2}|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+)\s*$"
_DECIMAL_POINT = r"^\s*[+-]?(?:[0-9]+\.[0-9]{1,2}|[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+)\s*$"


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """Rejected rows, in file order. They are stored in columns, because every row of a file may be bad.

    Attributes:
        source_row: the record number of each row in the file, from 1.
        fields: the columns of the contract as sent, as clear text; all null for a row that could not be split.
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
        valid: the valid rows as `valid_schema(contract)`, in file order.
        rejected: the other rows.
        three_decimals: how many amounts of money in the valid rows have exactly three decimals.
        bare_quotes: how many of the records have a quote inside an unquoted field, read as text.
    """

    records: int
    valid: pa.RecordBatch
    rejected: RejectedRows
    three_decimals: int
    bare_quotes: int


def validate(file: CsvFile, contract: RowContract, *, batch_size: int, threads: int) -> Iterator[Verdict]:
    """Yield the verdict on each block of `file`, in file order.

    `threads` blocks are validated at a time, and at most one more is read ahead, so that memory does not grow with the
    file. `batch_size` is the number of rows passed to Pydantic at once.

    Raises:
        UnreadableFileError: compressed data is damaged.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="validate") as executor:
        waiting: deque[Future[Verdict]] = deque()
        before = 0
        judge = functools.partial(
            _validate_block,
            header=file.header,
            contract=contract,
            file_format=file.file_format,
            batch_size=batch_size,
        )
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


def count_other_decimals(rejected: RejectedRows, contract: RowContract, file_format: FileFormat) -> int:
    """Return how many of the rejected amounts of money have the decimal mark that the feed does not use."""
    pattern = _DECIMAL_COMMA if file_format.decimal == "." else _DECIMAL_POINT
    return sum(
        pc.match_substring_regex(rejected.fields[name], pattern).true_count for name in contract.of_kind(MoneyKind)
    )


def _validate_block(
    block: Block, header: Header, contract: RowContract, file_format: FileFormat, batch_size: int
) -> Verdict:
    return validate_records(parse(block, header), contract, file_format, batch_size=batch_size)


def validate_records(
    parsed: ParsedBlock, contract: RowContract, file_format: FileFormat = DEFAULT_FORMAT, *, batch_size: int
) -> Verdict:
    """Return the verdict on parsed records; their `source_row` counts from 1 within the block."""
    source_row = pc.add(parsed.index, 1)
    sent, decoded, faults = _decoded(parsed.fields, file_format.encoding)
    columns = normalize(sent, contract, file_format)
    accepted = pc.and_(decoded, screen(columns, contract))
    plain = columns.filter(accepted)
    valid = _typed(source_row.filter(accepted), plain, contract)
    money = contract.of_kind(MoneyKind)
    three_decimals = sum(_count_three_decimals(plain[name]) for name in money)
    left = pc.invert(accepted)
    doubtful = _Doubtful(source_row.filter(left), columns.filter(left), _in_places(faults, left))
    judged, reasons = _judge_all(doubtful, contract, file_format, batch_size)
    if judged:
        # Merge the rows that the judge accepted with those that the screen accepted, in file order.
        valid = pa.Table.from_batches([valid, *judged]).sort_by("source_row").combine_chunks().to_batches()[0]
        passed = pa.array([place for place in range(doubtful.texts.num_rows) if place not in reasons])
        for name in money:
            three_decimals += _count_three_decimals(pc.ascii_trim(doubtful.texts[name].take(passed), " \t"))
    failed = pa.array(sorted(reasons), pa.int64())
    rejected = RejectedRows(
        doubtful.source_row.take(failed),
        _as_sent(parsed.fields.filter(left).take(failed)),
        tuple(reasons[place] for place in failed.to_pylist()),
    )
    return Verdict(
        parsed.records, valid, _with_unreadable(rejected, parsed.unreadable), three_decimals, parsed.bare_quotes
    )


def _count_three_decimals(amounts: pa.StringArray) -> int:
    return int(pc.equal(pc.binary_slice(amounts.cast(pa.binary()), -4, -3), b".").true_count)


def _typed(source_row: pa.Int64Array, columns: pa.RecordBatch, contract: RowContract) -> pa.RecordBatch:
    arrays = [source_row]
    for column in contract.columns:
        text = columns[column.name]
        if not column.is_required:
            text = pc.if_else(pc.equal(text, ""), None, text)
        arrays.append(text.cast(column.kind.arrow_type()))
    return pa.RecordBatch.from_arrays(arrays, schema=valid_schema(contract))


def _decoded(fields: pa.RecordBatch, encoding: str) -> tuple[pa.RecordBatch, pa.BooleanArray, "_Reasons"]:
    """Return `fields` as text, which rows are all text, and what is wrong with the others.

    Values that are not text become empty.
    """
    columns = []
    decoded = pa.repeat(True, fields.num_rows)  # noqa: FBT003 - the value to repeat
    faults: _Reasons = {}
    for name, column in zip(fields.schema.names, fields.columns, strict=True):
        try:
            columns.append(column.cast(pa.string()))
        except pa.ArrowInvalid:
            values = [_text_or_none(value) for value in column.to_pylist()]
            for place in (place for place, value in enumerate(values) if value is None):
                _add(faults, place, _not_text(name, encoding))
            text = pa.array(values, pa.string())
            decoded = pc.and_(decoded, text.is_valid())
            columns.append(text.fill_null(""))
    return pa.RecordBatch.from_arrays(columns, names=fields.schema.names), decoded, faults


def _not_text(field: str, encoding: str) -> Reason:
    if encoding.startswith("utf-8"):
        return _reason(field, "not_utf8", "The bytes are not UTF-8 text")
    return _reason(field, f"not_{encoding.replace('-', '_')}", f"The bytes are not {encoding} text")


def _in_places(faults: "_Reasons", kept: pa.BooleanArray) -> "_Reasons":
    """Return `faults` by the places that their rows have after all rows but those in `kept` are left out."""
    if not faults:
        return {}
    places = pc.cumulative_sum(kept.cast(pa.int64())).to_numpy()
    return {int(places[place]) - 1: reasons for place, reasons in faults.items()}


def _text_or_none(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


@functools.cache
def _adapter(contract: RowContract) -> TypeAdapter[list[Row]]:
    return TypeAdapter(list[contract.model])  # type: ignore[name-defined]  # the model is made at run time


type _Reasons = dict[int, tuple[Reason, ...]]
"""Reasons to reject a row, by its position. Valid rows are left out."""


@dataclass(frozen=True, slots=True)
class _Doubtful:
    """Rows that the screen has not accepted.

    Attributes:
        source_row: the record number of each row in the block.
        texts: the rows as text in the standard form; values that are not text are empty.
        faults: what is known to be wrong with a row.
    """

    source_row: pa.Int64Array
    texts: pa.RecordBatch
    faults: _Reasons


def _judge_all(
    doubtful: _Doubtful, contract: RowContract, file_format: FileFormat, batch_size: int
) -> tuple[list[pa.RecordBatch], _Reasons]:
    """Validate `doubtful` rows. Return the valid ones as `valid_schema(contract)`, and the reasons."""
    judged: list[pa.RecordBatch] = []
    reasons: _Reasons = {}
    messages = form_messages(contract, file_format)
    texts = doubtful.texts
    for start in range(0, texts.num_rows, batch_size):
        batch = list(zip(*(column.to_pylist() for column in texts.slice(start, batch_size).columns), strict=True))
        known = {place - start: why for place, why in doubtful.faults.items() if 0 <= place - start < len(batch)}
        models, found = _judge(batch, contract, known, messages)
        if models:
            # Convert to columns right away, because models take many times the memory.
            passed = [start + place for place in range(len(batch)) if place not in found]
            judged.append(_from_models(doubtful.source_row.take(pa.array(passed)), models, contract))
        reasons |= {start + place: why for place, why in found.items()}
    return judged, reasons


def _judge(
    rows: Sequence[Sequence[str]],
    contract: RowContract,
    known: _Reasons,
    messages: Mapping[tuple[str, str], str],
) -> tuple[list[Row], _Reasons]:
    """Return the valid `rows` as models, and the reasons of the others, among them those that are `known`."""
    adapter, names = _adapter(contract), contract.names
    reasons = dict(known)
    inputs = [{name: value for name, value in zip(names, row, strict=True) if value} for row in rows]
    try:
        models = adapter.validate_python(inputs)
    except ValidationError as error:
        has_validators = not contract.can_be_screened
        # Leave out the input, because errors must not carry clear-text values.
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            location, code, message = fault["loc"], fault["type"], fault["msg"]
            # A validator of the whole model names no field.
            place, field = int(location[0]), str(location[1]) if len(location) > 1 else ""
            if messages:
                message = messages.get((field, code), message)
            if has_validators and _quotes_pii(message, inputs[place], contract):
                message = "A validator of the model refuses this; its message is left out, because it quotes PII"
            _add(reasons, place, _reason(field, code, message))
        return adapter.validate_python([row for place, row in enumerate(inputs) if place not in reasons]), reasons
    except Exception as error:
        if contract.can_be_screened:
            raise
        # Only a validator of the user's can have raised it, and its text may quote a row, as that of a KeyError does.
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = (
            f"The row model {contract.source.__name__} fails with {type(error).__name__} in {where.filename}, "
            f"line {where.lineno}: let its validators raise ValueError for a value that is not valid. "
            "The text of the error is left out, because it may quote a row."
        )
        raise RowModelError(message) from None
    return [model for place, model in enumerate(models) if place not in reasons], reasons


def _quotes_pii(message: str, row: Mapping[str, str], contract: RowContract) -> bool:
    """Return whether `message`, which a validator of the user's may have written, has a value of a PII column."""
    text = message.casefold()
    return any(row[name].strip().casefold() in text for name in contract.pii_fields if name in row)


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
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def _with_unreadable(rejected: RejectedRows, unreadable: Sequence[UnreadableRecord]) -> RejectedRows:
    if not unreadable:
        return rejected
    source_row = pa.array([record.index + 1 for record in unreadable], pa.int64())
    names = rejected.fields.schema.names
    nothing = pa.RecordBatch.from_arrays([pa.nulls(len(unreadable), pa.string())] * len(names), names=names)
    reasons = [*rejected.reasons, *((_reason("", record.code, record.message),) for record in unreadable)]
    numbers = pa.concat_arrays([rejected.source_row, source_row])
    order = pc.sort_indices(numbers)
    return RejectedRows(
        numbers.take(order),
        pa.concat_batches([rejected.fields, nothing]).take(order),
        tuple(reasons[place] for place in order.to_pylist()),
    )


def _from_models(source_row: pa.Int64Array, models: Sequence[Row], contract: RowContract) -> pa.RecordBatch:
    schema = valid_schema(contract)
    arrays = [source_row]
    for name, kind in contract.kinds.items():
        values = [kind.stored(getattr(model, name)) for model in models]
        arrays.append(pa.array(values, schema.field(name).type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _shifted(verdict: Verdict, before: int) -> Verdict:
    """Return `verdict` with its rows numbered in the file, after `before` earlier records."""
    if not before:
        return verdict
    columns = [pc.add(verdict.valid["source_row"], before), *verdict.valid.columns[1:]]
    valid = pa.RecordBatch.from_arrays(columns, schema=verdict.valid.schema)
    rejected = replace(verdict.rejected, source_row=pc.add(verdict.rejected.source_row, before))
    return replace(verdict, valid=valid, rejected=rejected)
