"""Copies of the package: as it is, so that it may be edited meanwhile, and one that leaks on purpose."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from txn_assets.environment import project_root


@dataclass(frozen=True)
class Leak:
    """A line of the package, what the build makes of it, and a place where the ids are then found."""

    file: str
    before: str
    after: str
    place: str


LEAKS = (
    Leak("rows/quarantine.py", "if name in self._hasher.pii_fields else", "if False else", "quarantine"),
    Leak("senders/explain.py", "HIDDEN if column.name in feed.pii_fields and", "HIDDEN if False and", "--explain"),
    Leak(
        "stores/explained.py",
        'return "its text is left out, because it may quote a row"',
        "return str(error)",
        "event_logs",
    ),
)


def build(folder: Path, leaks: Iterable[Leak] = ()) -> Path:
    """Return `folder` with a copy of the package that has `leaks`."""
    shutil.copytree(project_root() / "txn_assets", folder / "txn_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data", "workspace.yaml", "pyproject.toml"):
        (folder / name).symlink_to(project_root() / name)
    for leak in leaks:
        path = folder / "txn_assets" / leak.file
        text = path.read_text()
        if leak.before not in text:
            message = f"{leak.file} no longer has the line that the leaking build changes"
            raise RuntimeError(message)
        path.write_text(text.replace(leak.before, leak.after))
    return folder
