"""The quarantine: rejected rows as a CSV file that people can open without seeing PII.

This module defines what a quarantined row looks like. `validation.py` decides which rows are rejected. See
docs/data-contract.md, 'Quarantine'.
"""

import functools
import json
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from txn_assets.files.report import Reason
from txn_assets.rows.hashing import Hasher
from txn_assets.rows.validation import RejectedRows

ADDED_COLUMNS = ("source_row", "reasons")
"""The first columns of the quarantine. `reasons` is a JSON list of objects with field, code and message. The other
columns are those of the feed, and hold what was sent, with PII hashed."""

_FORMULA = r"[=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"
"""First characters of a spreadsheet formula, also full-width ones; see OWASP, 'CSV Injection'."""

_FORMULA_START = rf"\A(?:[\pZ\pC]*{_FORMULA}|[\t\r\n])"

_SEPARATOR = r"[;\t\r\n]"

_FORMULA_INSIDE = rf"({_SEPARATOR}[\pZ\pC]*)({_FORMULA})"
"""A formula that begins a cell if the spreadsheet separates cells in another way than with commas.

Quotes do not hold a value together then. Some languages of Excel separate with semicolons.
"""


class QuarantineWriter:
    """Writes rejected rows to an open file as UTF-8 CSV with a header.

    The fields of a row that could not be read into columns stay empty, because any of them may hold PII.
    """

    def __init__(self, file: BinaryIO, names: Sequence[str], hasher: Hasher) -> None:
        self._file = file
        self._names = names
        self._hasher = hasher
        file.write(f"{','.join([*ADDED_COLUMNS, *names])}\n".encode())

    def write(self, rows: RejectedRows) -> None:
        """Append `rows`."""
        reasons = pa.array([_as_json(reasons) for reasons in rows.reasons], pa.string())
        columns = [rows.source_row, reasons, *(self._shown(name, rows.fields[name]) for name in self._names)]
        batch = pa.RecordBatch.from_arrays(columns, names=[*ADDED_COLUMNS, *self._names])
        pyarrow.csv.write_csv(batch, self._file, pyarrow.csv.WriteOptions(include_header=False))

    def _shown(self, name: str, values: pa.StringArray) -> pa.StringArray:
        return digests_of(values, self._hasher) if name in self._hasher.pii_fields else formula_safe(values)


def digests_of(values: pa.StringArray, hasher: Hasher) -> pa.StringArray:
    """Return the hashes of `values` as sent; what is blank or null stays so."""
    # Strip the value as the row contract does, so that its hash is the same as in the stores.
    stripped = [value and value.strip() for value in values.to_pylist()]
    return pa.array([hasher.hexdigest(value) if value else value for value in stripped], pa.string())


def formula_safe(values: pa.StringArray) -> pa.StringArray:
    """Return `values` with formulas quoted, so that a spreadsheet shows them as text instead of running them."""
    # Look first, because few values have either.
    if pc.any(pc.match_substring_regex(values, _SEPARATOR)).as_py():
        values = pc.replace_substring_regex(values, _FORMULA_INSIDE, r"\1'\2")
    formulas = pc.match_substring_regex(values, _FORMULA_START)
    if pc.any(formulas).as_py():
        values = pc.if_else(formulas, pc.binary_join_element_wise("'", values, ""), values)
    return values


@functools.lru_cache(maxsize=256)
def _as_json(reasons: tuple[Reason, ...]) -> str:
    # Cached, because most bad rows of a file share a few reasons.
    text = json.dumps([{"field": r.field, "code": r.code, "message": r.message} for r in reasons])
    # A validator of the user's may quote a value in its message.
    return str(formula_safe(pa.array([text]))[0])
