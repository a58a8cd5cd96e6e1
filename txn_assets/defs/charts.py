"""Charts of files and marts, as small SVG images in the metadata of their assets.

`file_metadata.py` and `marts.py` decide what is drawn. The library draws in milliseconds, which matters for small
files: a run of five rows draws a chart too.
"""

import base64
import datetime as dt
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from operator import itemgetter
from typing import TYPE_CHECKING

import leather

if TYPE_CHECKING:
    from txn_assets.rows.overview import Day

MAX_POINTS = 400
"""Maximum number of points that a chart needs."""

MAX_BARS = 15
"""Maximum number of names in a chart: those with the largest values."""

MAX_REASONS = 8
"""Maximum number of reasons in the chart of a file: the most frequent."""

COLOR, REJECTS_COLOR = "#4c78a8", "#e45756"

MAX_LABEL, MAX_TITLE = 28, 80
"""Maximum number of characters of a name in a chart, and of its title."""

SIZE, PANEL_SIZE = (640, 320), (320, 200)
"""Width and height in pixels of a chart, and of one of the panels of a file."""

leather.theme.background_color = "white"
leather.theme.margin = 0.08
leather.theme.title_font_family = leather.theme.tick_font_family = "sans-serif"
leather.theme.title_font_size = leather.theme.title_font_char_height = 13
leather.theme.tick_font_size = leather.theme.tick_font_char_height = 10
leather.theme.tick_font_char_width = 6

type Point = tuple[str | dt.date, Decimal]
"""What is measured, a name or a day, and its value."""


def draw(title: str, points: Sequence[Point]) -> str | None:
    """Return a chart of `points` as Markdown with the image in it, or None if there is nothing to draw.

    Names become bars, and days a line.
    """
    if not points:
        return None
    names = [(key, float(value)) for key, value in points if isinstance(key, str)]
    days = [(key, float(value)) for key, value in points if isinstance(key, dt.date)]
    if names:
        return _draw_bars(title, names, most=MAX_BARS, color=COLOR, size=SIZE)
    return _draw_line(title, days, size=SIZE)


def draw_file(days: "Sequence[Day]", reasons: Mapping[str, int], *, amount: str) -> str | None:
    """Return charts of a file as in `draw`: its rows and amounts by day, and how often each reason rejected a row.

    `amount` is what the amounts are, '' if there are none.
    """
    panels = []
    if days:
        panels.append(_draw_line("valid rows", [(at, float(rows)) for at, rows, _ in days], size=PANEL_SIZE))
    if days and amount:
        panels.append(_draw_line(amount, [(at, total or 0.0) for at, _, total in days], size=PANEL_SIZE))
    if reasons:
        counts = [(f"{reason}  {rows:,}", float(rows)) for reason, rows in reasons.items()]
        title = "rejects by reason"
        panels.append(_draw_bars(title, counts, most=MAX_REASONS, color=REJECTS_COLOR, size=PANEL_SIZE))
    return " ".join(panels) or None


def _draw_bars(title: str, values: Sequence[tuple[str, float]], *, most: int, color: str, size: tuple[int, int]) -> str:
    largest = sorted(values, key=itemgetter(1), reverse=True)[:most]
    chart = _chart(title, max(value for _, value in largest), along="x")
    chart.add_bars([(value, _shorten(name, MAX_LABEL)) for name, value in largest], fill_color=color)
    return _markdown(chart, title, size)


def _draw_line(title: str, values: Sequence[tuple[dt.date, float]], *, size: tuple[int, int]) -> str:
    latest = sorted(values)[-MAX_POINTS:]
    first = latest[0][0]
    chart = _chart(title, max(value for _, value in latest), along="y")
    points = [((day - first).days, value) for day, value in latest]
    span = points[-1][0]
    labels = {0: str(first), span: str(latest[-1][0])}
    chart.add_x_axis(ticks=list(labels), tick_formatter=lambda place, *_: labels[place])
    if span:
        chart.add_x_scale(0, span)
        chart.add_line(points, stroke_color=COLOR)
    else:
        chart.add_x_scale(-1, 1)
        chart.add_dots(points, fill_color=COLOR)
    return _markdown(chart, title, size)


def _chart(title: str, largest: float, *, along: str) -> leather.Chart:
    """Return an empty chart whose axis `along`, x or y, has values from 0 to `largest`."""
    chart = leather.Chart(_shorten(title, MAX_TITLE))
    scale, axis = (chart.add_x_scale, chart.add_x_axis) if along == "x" else (chart.add_y_scale, chart.add_y_axis)
    # The library rounds ticks to three decimals, which takes more than 28 digits for the largest amounts.
    with localcontext(prec=100):
        scale(0, largest or 1)
    axis(tick_formatter=lambda value, *_: f"{value:,.12g}")
    return chart


def _markdown(chart: leather.Chart, title: str, size: tuple[int, int]) -> str:
    svg = io.StringIO()
    # Without this, the library writes 28 digits of each coordinate.
    with localcontext(prec=6):
        chart.to_svg(svg, *size)
    encoded = base64.b64encode(svg.getvalue().encode()).decode()
    return f"![{_shorten(title, MAX_TITLE)}](data:image/svg+xml;base64,{encoded})"


def _shorten(name: str, most: int) -> str:
    """Return `name` as one line of at most `most` characters that an SVG may have."""
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
