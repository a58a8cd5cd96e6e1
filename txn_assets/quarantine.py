"""The quarantine: rejected rows as a CSV file that a person can open and nobody's PII is read from.

Here belongs what a quarantined row looks like. Which rows are rejected does not, nor where the file goes.
Documented in docs/data-contract.md.
"""

import csv
import functools
import json
from collections.abc import Iterable, Sequence
from typing import TextIO

from txn_assets.hashing import Hasher
from txn_assets.report import Reason
from txn_assets.transaction import FIELDS
from txn_assets.validation import RejectedRow

COLUMNS = ("source_row", "reasons", *FIELDS)
"""`reasons` is a JSON list of objects with field, code and message; the fields are as sent, PII hashed."""

_FORMULA_STARTS = frozenset("=+-@\t\r")
"""OWASP, 'CSV Injection'."""


class QuarantineWriter:
    """Writes rejected rows to an open text file, header first.

    The fields of a row that could not be read into columns are left empty: nobody can say which of them hold PII.
    """

    def __init__(self, file: TextIO, hasher: Hasher) -> None:
        self._hasher = hasher
        self._pii = [place for place, name in enumerate(FIELDS) if name in hasher.pii_fields]
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def write(self, rows: Iterable[RejectedRow]) -> None:
        """Appends `rows`."""
        self._writer.writerows([row.source_row, _reasons(row.reasons), *self._shown(row.fields)] for row in rows)

    def _shown(self, fields: Sequence[str]) -> Sequence[str]:
        shown = [formula_safe(value) for value in fields] or [""] * len(FIELDS)
        for place in self._pii if fields else ():
            if fields[place]:
                shown[place] = self._hasher.hexdigest(fields[place])
        return shown


def formula_safe(value: str) -> str:
    """`value` so that a spreadsheet shows it as text and does not run it."""
    return "'" + value if value[:1] in _FORMULA_STARTS else value


@functools.lru_cache(maxsize=256)
def _reasons(reasons: tuple[Reason, ...]) -> str:
    # A bad file is mostly bad in the same few ways.
    return json.dumps([{"field": r.field, "code": r.code, "message": r.message} for r in reasons])
