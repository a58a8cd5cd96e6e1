"""Charts of files and marts, as small images in the metadata of their assets.

`file_metadata.py` and `marts.py` decide what is drawn. Matplotlib takes a quarter of a second to import, so only a step
that draws does.
"""

import base64
import datetime as dt
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from txn_assets.environment import txn_home

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from txn_assets.rows.overview import Day

MAX_POINTS = 400
"""Maximum number of points that a chart needs."""

MAX_BARS = 15
"""Maximum number of names in a chart: those with the largest values."""

MAX_REASONS = 8
"""Maximum number of reasons in the chart of a file: the most frequent."""

COLOR = "#4c78a8"

MAX_LABEL = 28
"""Maximum number of characters of a name in a chart."""

type Point = tuple[str | dt.date, Decimal]
"""What is measured, a name or a day, and its value."""


def draw(title: str, points: Sequence[Point]) -> str | None:
    """Return a chart of `points` as Markdown with the image in it, or None if there is nothing to draw.

    Names become bars, and days a line.
    """
    if not points:
        return None
    with _figure(title, height=3.2, layout="constrained") as (figure, image):
        axes = figure.add_subplot(title=title)
        axes.spines[["top", "right"]].set_visible(False)
        names = [(key, value) for key, value in points if isinstance(key, str)]
        days = [(key, value) for key, value in points if isinstance(key, dt.date)]
        if names:
            _draw_bars(axes, names)
        else:
            _draw_line(axes, days)
    return image.markdown


def draw_file(name: str, days: "Sequence[Day]", reasons: Mapping[str, int], *, amount: str) -> str | None:
    """Return a chart of a file as in `draw`: its rows and amounts by day, and how often each reason rejected a row.

    `amount` is what the amounts are, '' if there are none.
    """
    panels: list[Callable[[Axes], None]] = []
    if days:
        panels.append(partial(_draw_days, title="valid rows", values=[(at, rows) for at, rows, _ in days]))
    if days and amount:
        panels.append(partial(_draw_days, title=amount, values=[(at, total or 0.0) for at, _, total in days]))
    if reasons:
        panels.append(partial(_draw_reasons, reasons=reasons))
    if not panels:
        return None
    with _figure(_shorten(name), height=2.0) as (figure, image):
        # Finding the layout by drawing twice, as `constrained` does, takes longer than the rest.
        figure.subplots_adjust(left=0.08, right=0.97, bottom=0.15, top=0.85, wspace=0.3)
        for place, draw_panel in enumerate(panels, start=1):
            draw_panel(figure.add_subplot(1, len(panels), place))
    return image.markdown


@dataclass
class _Image:
    markdown: str = ""


@contextmanager
def _figure(title: str, *, height: float, **options: Any) -> "Iterator[tuple[Figure, _Image]]":  # noqa: ANN401 - as above
    """Yield a figure to draw on, and the image that it becomes."""
    # The default folder is in HOME, which a pod cannot write.
    os.environ.setdefault("MPLCONFIGDIR", str(txn_home() / "matplotlib"))
    from matplotlib import rc_context  # noqa: PLC0415 - see the module
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    # A dollar sign in a name is not the start of a formula.
    with rc_context({"text.parse_math": False, "font.size": 8}), warnings.catch_warnings():
        # The font of Matplotlib lacks some scripts; such letters become boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure, image = Figure(figsize=(6.4, height), **options), _Image()
        yield figure, image
        png = io.BytesIO()
        figure.savefig(png, format="png")
    encoded = base64.b64encode(png.getvalue()).decode()
    image.markdown = f"![{title}](data:image/png;base64,{encoded})"


def _draw_days(axes: "Axes", *, title: str, values: Sequence[tuple[dt.date, float]]) -> None:
    days = [at.toordinal() for at, _ in values]
    axes.plot(days, [value for _, value in values], color=COLOR, marker="o" if len(days) == 1 else None)
    # Two labels: more would overlap, and Matplotlib's own dates take longer than the rest.
    ends = sorted({0, len(days) - 1})
    axes.set_xticks([days[end] for end in ends], [f"{values[end][0]}" for end in ends])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="y", nbins=4, integer=True)
    if len(days) > 1:
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    axes.set_ylim(bottom=0)
    axes.set_title(title)


def _draw_reasons(axes: "Axes", *, reasons: Mapping[str, int]) -> None:
    largest = sorted(reasons.items(), key=itemgetter(1))[-MAX_REASONS:]
    axes.barh(range(len(largest)), [rows for _, rows in largest], color="#e45756")
    axes.set_yticks([])
    for place, (reason, rows) in enumerate(largest):
        axes.text(0, place, f" {_shorten(reason)}  {rows:,}", verticalalignment="center")
    axes.locator_params(axis="x", nbins=3, integer=True)
    axes.set_title("rejects by reason")


def _draw_bars(axes: "Axes", values: Sequence[tuple[str, Decimal]]) -> None:
    largest = sorted(values, key=itemgetter(1))[-MAX_BARS:]
    axes.barh(range(len(largest)), [float(value) for _, value in largest], color=COLOR)
    axes.set_yticks(range(len(largest)), [_shorten(name) for name, _ in largest])
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _draw_line(axes: "Axes", values: Sequence[tuple[dt.date, Decimal]]) -> None:
    latest = sorted(values)[-MAX_POINTS:]
    # A line needs two points.
    marker = "o" if len(latest) == 1 else None
    axes.plot([day for day, _ in latest], [float(value) for _, value in latest], color=COLOR, marker=marker)  # type: ignore[arg-type]  # it takes days, unlike its annotation
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(bottom=0)
    axes.figure.autofmt_xdate()


def _shorten(name: str) -> str:
    shown = " ".join(name.split())
    return shown if len(shown) <= MAX_LABEL else f"{shown[: MAX_LABEL - 1]}…"
