"""What a tool promises about the rows that it loads, in the words of the table in docs/performance.md.

Each peer has its promise next to its code. Times alone compare tools that do different work.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """A row of the table; `benchmarks/promises.py` names the columns.

    Attributes:
        bad_rows: what becomes of a row that is not valid.
        ids: what is stored as the id.
        prices: whether prices stay exact.
        crash: what readers find if the load dies halfway.
        repeat: what a second load of the same file leaves.
        proof: what is compared with the input before the rows can be read.
    """

    who: str
    bad_rows: str
    ids: str
    prices: str
    crash: str
    repeat: str
    proof: str
