"""The end of what `make run` prints: the first rows of the marts."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from txn_assets.config import PipelineConfig
from txn_assets.marts.engines import Marts, open_marts
from txn_assets.marts.mart import Mart, marts_of, plain
from txn_assets.stores.registry import STORES
from txn_assets.stores.services import Services

SHOWN_ROWS = 5
"""Number of rows of each mart to print."""

MAX_WIDTH = 28
"""Maximum number of characters of a value."""


def show_marts(services: Services, config: PipelineConfig) -> str:
    """Return the first rows of each mart, those of `data_mart.table` first."""
    opened = open_marts(services, config)
    marts = sorted(marts_of(config), key=lambda mart: mart.name != config.data_mart.table)
    return "".join(f"{line}\n" for mart in marts for line in (*_lines(opened, mart), ""))


def _lines(opened: Marts, mart: Mart) -> Iterator[str]:
    shown = opened.of(mart.engines[0])
    rows, version = shown.rows(mart, limit=SHOWN_ROWS), shown.version(mart)
    labels = [entry.label for entry in STORES if entry.key in mart.engines]
    yield f"  {mart.name}: {version.rows if version else 0:,} rows in {' and '.join(labels)}"
    table = [mart.columns, *(tuple(map(as_text, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    # Columns of numbers are aligned to the right, as people read them.
    numbers = [all(isinstance(row[place], int | Decimal) for row in rows) for place in range(len(mart.columns))]
    yield from (f"    {_aligned(line, widths, numbers)}".rstrip() for line in table)


def _aligned(line: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    cells = zip(line, widths, numbers, strict=True)
    return "  ".join(text.rjust(width) if is_number else text.ljust(width) for text, width, is_number in cells)


def as_text(value: Any) -> str:  # noqa: ANN401 - a value of a row
    """Return a value as one short line that a terminal shows as it is."""
    if isinstance(value, Decimal):
        return plain(value)
    text = "".join(letter if letter.isprintable() else " " for letter in str("" if value is None else value))
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 1]}…"
