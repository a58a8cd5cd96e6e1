"""Charts of the marts, as small images in the metadata of their assets.

`marts.py` decides what is drawn. Matplotlib takes a quarter of a second to import, so only a step that draws does.
"""

import base64
import datetime as dt
import io
import os
import warnings
from collections.abc import Sequence
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING

from txn_assets.environment import txn_home

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 400
"""Maximum number of points that a chart needs."""

MAX_BARS = 15
"""Maximum number of names in a chart: those with the largest values."""

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
    # The default folder is in HOME, which a pod cannot write.
    os.environ.setdefault("MPLCONFIGDIR", str(txn_home() / "matplotlib"))
    from matplotlib import rc_context  # noqa: PLC0415 - see the module
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    # A dollar sign in a name is not the start of a formula.
    with rc_context({"text.parse_math": False, "font.size": 8}), warnings.catch_warnings():
        # The font of Matplotlib lacks some scripts; such letters become boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot(title=title)
        axes.spines[["top", "right"]].set_visible(False)
        names = [(key, value) for key, value in points if isinstance(key, str)]
        days = [(key, value) for key, value in points if isinstance(key, dt.date)]
        if names:
            _draw_bars(axes, names)
        else:
            _draw_line(axes, days)
        image = io.BytesIO()
        figure.savefig(image, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"


def _draw_bars(axes: "Axes", values: Sequence[tuple[str, Decimal]]) -> None:
    largest = sorted(values, key=itemgetter(1))[-MAX_BARS:]
    axes.barh(range(len(largest)), [float(value) for _, value in largest], color="#4c78a8")
    axes.set_yticks(range(len(largest)), [_shorten(name) for name, _ in largest])
    axes.xaxis.set_major_formatter("{x:,.0f}")


def _draw_line(axes: "Axes", values: Sequence[tuple[dt.date, Decimal]]) -> None:
    latest = sorted(values)[-MAX_POINTS:]
    # A line needs two points.
    marker = "o" if len(latest) == 1 else None
    axes.plot([day for day, _ in latest], [float(value) for _, value in latest], color="#4c78a8", marker=marker)  # type: ignore[arg-type]  # it takes days, unlike its annotation
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(bottom=0)
    axes.figure.autofmt_xdate()


def _shorten(name: str) -> str:
    shown = " ".join(name.split())
    return shown if len(shown) <= MAX_LABEL else f"{shown[: MAX_LABEL - 1]}…"
