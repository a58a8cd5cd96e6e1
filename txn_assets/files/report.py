"""What validation says of a file: counts, reasons and a sample, never a value.

Here belongs the report that checks, logs and metadata read. Making it is `processing.validate_file`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

SAMPLE_ROWS = 20
"""How many rejected rows are shown one by one."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a row is rejected: the field ("" for the row as a whole), a code, and a message without the value."""

    field: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RejectedSample:
    """A rejected row without its values, for logs and metadata."""

    source_row: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What validation found in one file. It carries no value of any row.

    Attributes:
        records: rows in the file, header and blank lines excluded.
        valid, rejected: what became of them.
        reasons: how often each "field: code" rejected a row; "row: code" where the row could not be read.
        sample: the first rejected rows.
        extra_columns: columns of the header that the contract does not know.
        repeated_ids: how many transaction ids are on more than one valid row.
        bare_quotes: how many rows hold a quote inside an unquoted field, such as an inch sign.
    """

    records: int
    valid: int
    rejected: int
    reasons: Mapping[str, int]
    sample: tuple[RejectedSample, ...]
    extra_columns: tuple[str, ...]
    repeated_ids: int
    bare_quotes: int = 0

    def over_limit(self, limit: Decimal) -> str | None:
        """The sentence that says that more than the share `limit` of the rows is rejected; None where it is not."""
        share = Decimal(self.rejected) / max(self.records, 1)
        if share <= limit:
            return None
        return (
            f"{share:.1%} of the rows are rejected, more than ingestion.max_invalid_ratio {limit}; "
            "the quarantine has them with their reasons"
        )


def mixed_prices(*, decimal_commas: int, three_decimals: int) -> str | None:
    """Return the reason to refuse a file whose accepted prices may be grouped thousands; None if they are not.

    4.500 beside 3,95 is four and a half thousand. Three decimals alone are decimals, and so is 4.50 beside 3,95.
    """
    if not decimal_commas or not three_decimals:
        return None
    return (
        f"it mixes prices with a decimal comma (rows: {decimal_commas}) and prices with exactly three decimals "
        f"(rows: {three_decimals}), which may be grouped thousands: "
        "write every price with a decimal point and without grouping, 4500.00 or 3.95"
    )
