"""The validation report of a file: counts, reasons and a sample, never a value.

`processing.validate_file` builds it, and checks, logs and metadata show it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from txn_assets.files.shown import listed

SAMPLE_ROWS = 20
"""Maximum number of rejected rows in the sample."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row was rejected: the field ("" for the row as a whole), a code, and a message without the value."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RejectedSample:
    """A rejected row without its values, for logs and metadata."""

    source_row: int
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        reasons = "; ".join(f"{r.field or 'row'} {r.code} ({r.message})" for r in self.reasons)
        return f"record {self.source_row} rejected: {reasons}"


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What validation found in one file, without any value from a row.

    Attributes:
        records: number of rows in the file, without the header and blank lines.
        valid, rejected: how many of them passed and how many did not.
        reasons: how often each "field: code" rejected a row; "row: code" if the row could not be read.
        sample: the first rejected rows.
        extra_columns: header columns that are not in the contract.
        repeated_ids: how many row ids appear on more than one valid row.
        bare_quotes: how many rows have a quote inside an unquoted field, such as an inch sign.
        looks_like: what form the file seems to have if most rows are rejected in the configured one, else ''.
        erased: how many rows would have been rejected, but are left out because of an erasure request.
    """

    records: int
    valid: int
    rejected: int
    reasons: Mapping[str, int]
    sample: tuple[RejectedSample, ...]
    extra_columns: tuple[str, ...]
    repeated_ids: int
    bare_quotes: int = 0
    looks_like: str = ""
    erased: int = 0

    def unaccounted(self) -> str | None:
        """Return a message unless each row is exactly one of valid, rejected and erased, otherwise None."""
        if self.records == self.valid + self.rejected + self.erased:
            return None
        erased = f", {self.erased} erased" if self.erased else ""
        return f"{self.records} in, {self.valid} valid, {self.rejected} rejected{erased}"

    def over_limit(self, limit: Decimal, key: str) -> str | None:
        """Return a message if the share of rejected rows is over `limit`, the value of `key`, otherwise None."""
        share = Decimal(self.rejected) / max(self.records, 1)
        if share <= limit:
            return None
        return (
            f"{share:.1%} of the rows are rejected, more than {key} {limit}; "
            f"see the quarantine for these rows and why they were rejected{self.hint()}"
        )

    def hint(self) -> str:
        """Return what the file looks like, as the end of a message without its period; '' if it looks like nothing."""
        return f". {self.looks_like}" if self.looks_like else ""

    def all_rejections(self) -> str:
        """Return how often each reason rejected a row."""
        counts = ", ".join(f"{reason} {count}" for reason, count in self.reasons.items())
        return f"{self.rejected} records rejected in total: {counts}"

    def rejections(self) -> str | None:
        """Return a message if rows are rejected, otherwise None."""
        return f"{self.rejected} of {self.records} rows rejected" if self.rejected else None

    def repeats(self) -> str | None:
        """Return a message if ids repeat, otherwise None."""
        return f"{self.repeated_ids} ids are on more than one row" if self.repeated_ids else None

    def unknown_columns(self) -> str | None:
        """Return a message if the header has unknown columns, otherwise None."""
        return f"unknown columns, not loaded: {listed(self.extra_columns)}" if self.extra_columns else None

    def stray_quotes(self) -> str | None:
        """Return a message if quotes are inside unquoted fields, otherwise None."""
        if not self.bare_quotes:
            return None
        return f"rows with a quote inside an unquoted field, loaded as text: {self.bare_quotes}"


OTHER_REASONS = "other"
"""What `bounded_reasons` calls the reasons that it sums up."""


def bounded_reasons(reasons: Mapping[str, int], max_bytes: int) -> str:
    """Return the most frequent of `reasons` as JSON of at most `max_bytes`, and the others as one count."""
    in_order = sorted(reasons.items(), key=lambda reason: -reason[1])
    kept = dict(in_order)
    others = 0
    while len((text := json.dumps(kept | ({OTHER_REASONS: others} if others else {}))).encode()) > max_bytes:
        others += kept.pop(in_order.pop()[0])
    return text


def fewer_reasons(reasons: Mapping[str, int], removed: Mapping[str, int]) -> dict[str, int]:
    """Return `reasons`, which `bounded_reasons` may have summed up, without those `removed`."""
    left = dict(reasons)
    for name, count in removed.items():
        known = name if name in left else OTHER_REASONS
        left[known] = left.get(known, 0) - count
    return {name: count for name, count in left.items() if count > 0}


def mixed_amounts(decimal: str, *, other_decimals: int, three_decimals: int) -> str | None:
    """Return why to refuse a file in which some amounts may be grouped thousands, or None if none can be.

    In a file that also has 3,95, the amount 4.500 probably means four and a half thousand. In a file without decimal
    commas, 4.500 just has three decimals. The amount 4.50 is clear in any file. In a feed whose `decimal` mark is the
    comma, it is the other way round.
    """
    if not other_decimals or not three_decimals:
        return None
    mark, other = ("point", "comma") if decimal == "." else ("comma", "point")
    return (
        f"it mixes amounts with a decimal {other} (rows: {other_decimals}) and amounts with exactly three decimals "
        f"(rows: {three_decimals}), which may be grouped thousands: write every amount with a decimal {mark} and "
        f"without grouping, such as 4500{decimal}00 or 3{decimal}95"
    )
