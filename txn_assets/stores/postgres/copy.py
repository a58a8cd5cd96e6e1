"""Convert batches of rows to the text format of PostgreSQL's COPY, column by column.

`store.py` runs the COPY statement in its transaction. For the format, see
https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PIECE_BYTES = 1 << 20
"""Target size of a piece: what a socket accepts at once, so that the server works while we build the next piece."""

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
"""Backslash must come first, or it would escape the backslashes that the other replacements add."""
_NULL = "\\N"


def pieces(
    batches: Iterable[pa.RecordBatch], *, order_by: str | None, piece_bytes: int = PIECE_BYTES
) -> Iterator[memoryview]:
    """Yield the rows of `batches` as text for COPY, with each batch sorted by the column `order_by`, if there is one.

    PostgreSQL spends most of a load on its indexes, and sorting by an indexed column keeps equal keys together.
    """
    for batch in batches:
        in_order = batch.sort_by(order_by) if order_by else batch
        step = max(1, in_order.num_rows * piece_bytes // max(in_order.nbytes, 1))
        texts = [_escaped(column) for column in in_order.columns]
        for start in range(0, in_order.num_rows, step):
            yield _joined([text.slice(start, step) for text in texts])


def _escaped(column: pa.Array) -> pa.StringArray:
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    values = column.buffers()[2]
    data = values.to_pybytes() if values is not None else b""
    for plain, escaped in _ESCAPES.items():
        # Few columns contain one, and searching the bytes is cheap compared with replacing.
        if plain.encode() in data:
            column = pc.replace_substring(column, plain, escaped)
    return column


def _joined(texts: list[pa.StringArray]) -> memoryview:
    *others, last = texts
    options = {"null_handling": "replace", "null_replacement": _NULL}
    lines = pc.binary_join_element_wise(
        *others, pc.binary_join_element_wise(last, "", "\n", **options), "\t", **options
    )
    _, offsets, values = lines.buffers()
    # The lines are back to back in one buffer, but the buffer may be longer.
    return memoryview(values)[: int(np.frombuffer(offsets, dtype=np.int32)[len(lines)])]
