"""Rows in the text format of PostgreSQL's COPY, made in columns.

Here belongs how a batch of rows becomes bytes. The statement that takes them, and its transaction, are `postgres.py`'s.
The format is PostgreSQL's: https://www.postgresql.org/docs/current/sql-copy.html, "Text Format".
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PIECE_BYTES = 1 << 20
"""As much as a socket takes at once: the server works on one piece while the next is made."""

_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
"""The backslash comes first, or it would escape those of the others."""
_NULL = "\\N"


def pieces(batches: Iterable[pa.RecordBatch], *, piece_bytes: int = PIECE_BYTES) -> Iterator[memoryview]:
    """The rows of `batches` as text for COPY, each batch in the order of its dates.

    Rows of one date are neighbours in the index on date then, and PostgreSQL spends most of a load on its indexes.
    """
    for batch in batches:
        in_order = batch.sort_by("date")
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
        # Few columns have any: looking through the bytes costs nothing beside the replacement.
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
    # The lines stand one behind the other in one buffer, which may be longer than they are.
    return memoryview(values)[: int(np.frombuffer(offsets, dtype=np.int32)[len(lines)])]
