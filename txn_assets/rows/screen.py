"""Accept the rows that are clearly valid, column by column, without building a model of each.

The screen accepts a row only if the row contract provably accepts it with the same values; `validation.py` passes every
other row to Pydantic. A property test checks that the two agree for every kind.
"""

import functools
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from txn_assets.rows.contract import RowContract
from txn_assets.rows.kinds import Kind


def screen(columns: pa.RecordBatch, contract: RowContract) -> pa.BooleanArray:
    """Return for each row of `columns`, as text, whether it is clearly valid. The judge decides the rest."""
    if not contract.can_be_screened:
        return pa.repeat(False, columns.num_rows)  # noqa: FBT003 - the value to repeat
    masks = []
    for column in contract.columns:
        text = columns[column.name]
        mask = _screen_column(text, column.kind)
        # An empty field has no value, which is valid if none is required.
        masks.append(mask if column.is_required else pc.or_(mask, pc.equal(text, "")))
    return functools.reduce(pc.and_, masks)


def _screen_column(text: pa.StringArray, kind: Kind) -> pa.BooleanArray:
    mask = pc.match_substring_regex(text, kind.pattern)
    if kind.starts_with:
        mask = pc.and_(mask, pc.starts_with(text, kind.starts_with))
    least, most = kind.bounds
    values: Any = text
    if (least is not None or most is not None) and not kind.has_sorted_text:
        values = pc.if_else(mask, text, "0").cast(kind.arrow_type())
        # Decimals of any scale, so that a bound may have more digits than the column.
        least, most = (None if bound is None else pa.scalar(Decimal(bound)) for bound in (least, most))
    if least is not None:
        mask = pc.and_(mask, pc.greater_equal(values, least))
    if most is not None:
        mask = pc.and_(mask, pc.less_equal(values, most))
    return mask
