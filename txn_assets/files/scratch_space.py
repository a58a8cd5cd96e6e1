"""Check whether a run has enough scratch space for a file before it writes the first row.

Without the check, a pod that outgrows its scratch volume is evicted, restarted and evicted again. `stores/scratch.py`
creates and removes the space. See docs/performance.md, 'Disk'.
"""

import shutil
from pathlib import Path

SCRATCH_FACTOR = 2.5
"""Scratch bytes per unpacked byte of a landed file. See docs/performance.md for what was measured."""

_SUFFIXES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def parse_size(text: str) -> int | None:
    """Return the number of bytes in a size such as 8Gi, 500Mi or 1000000; None if `text` is not a size."""
    digits, factor = text, 1
    for suffix, bytes_ in _SUFFIXES.items():
        if text.endswith(suffix):
            digits, factor = text.removesuffix(suffix), bytes_
    return int(digits) * factor if digits.isascii() and digits.isdigit() and int(digits) > 0 else None


def capacity(folder: Path, limit: int | None) -> int:
    """Return how many bytes may be written below `folder`: the free space of its disk, but at most `limit`."""
    free = shutil.disk_usage(folder).free
    return free if limit is None else min(free, limit)


def refusal(name: str, *, unpacked: int, before: int, available: int) -> str | None:
    """Return why a file does not fit next to the other files of its run, or None if it fits. Sizes are unpacked."""
    needed = int(SCRATCH_FACTOR * (unpacked + before))
    if needed <= available:
        return None
    others = f", and the run's other files {_shown(int(SCRATCH_FACTOR * before))}" if before else ""
    return (
        f"{name} does not fit into the scratch space: it needs about {_shown(int(SCRATCH_FACTOR * unpacked))}, "
        f"{SCRATCH_FACTOR} times its {_shown(unpacked)}{others}; the space is {_shown(available)}. "
        "Raise the limits of the scratch volume and TXN_SCRATCH_LIMIT, or send the file in parts."
    )


def _shown(size: int) -> str:
    for suffix, bytes_ in reversed(_SUFFIXES.items()):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {suffix}B"
    return f"{size} bytes"
