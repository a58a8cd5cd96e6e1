"""What a tool promises about the rows that it loads: a row of a table in docs/performance.md.

Each peer has its promise next to its code, because times alone compare tools that do different work. Sums of prices are
exact with all of them, which the benchmark compares.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """The columns of the table.

    Attributes:
        bad_rows: what becomes of a row that is not valid.
        ids: what is stored as the id.
        crash: what readers find if the load dies halfway.
        repeat: what a second load of the same file leaves.
        race: what two loads of the same file at once leave.
        proof: what is compared with the input before readers see the rows.
    """

    tool: str
    bad_rows: str
    ids: str
    crash: str
    repeat: str
    race: str
    proof: str
