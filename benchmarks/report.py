"""The benchmark's table, printed and written to docs/performance.md between the markers of its size.

Formatting only. The points are in `points/`; the text around the table is in the document.
"""

import datetime as dt
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Line

BEGIN, END = "<!-- {name}: begin -->", "<!-- {name}: end -->"


def table(lines: Sequence[Line]) -> str:
    """Return the table in Markdown."""
    head = "| point | what; against what | ours | peer | ratio | wanted | reached |\n|---|---|---:|---:|---:|---|---|\n"
    return head + "".join(
        f"| {line.point} | {line.what} | {line.ours} | {line.peer} | {line.ratio:.2f} | {line.wanted} "
        f"| {_reached(line)} |\n"
        for line in sorted(lines, key=lambda line: line.point)
    )


def _reached(line: Line) -> str:
    return ("yes" if line.reached else "no") if line.wanted else ""


def machine() -> str:
    """Return a one-sentence description of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB of memory, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def write(path: Path, lines: Sequence[Line], notes: Sequence[str], *, size: str) -> None:
    """Write the results and the machine between the markers of `size`."""
    day = dt.datetime.now(dt.UTC).date()
    content = f"`make bench SIZE={size}` on {day}: {machine()}.\n\n{table(lines)}\n" + "\n".join(notes) + "\n"
    write_part(path, f"make bench SIZE={size}", content)


def write_part(path: Path, name: str, content: str) -> None:
    """Write `content` between the markers of `name`; leave the document alone if it has none."""
    text = path.read_text()
    begin, end = BEGIN.format(name=name), END.format(name=name)
    if begin not in text:
        return
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n\n{content}{end}{after}")
