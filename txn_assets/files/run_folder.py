"""Local files of one file version in a run. This is the only module that names them.

`stores/run_files.py` decides when to create, fetch and remove each file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one file version in a run."""

    path: Path

    @property
    def valid(self) -> Path:
        """The valid rows in clear text, as an Arrow stream."""
        return self.path / "valid.arrow"

    @property
    def rejected(self) -> Path:
        """The rejected rows, as the quarantine stores them."""
        return self.path / "rejected.csv"

    @property
    def reasons(self) -> Path:
        """Why each row was rejected, as an Arrow stream."""
        return self.path / "reasons.arrow"

    @property
    def rejects(self) -> Path:
        """The same for the stores, as Parquet."""
        return self.path / "rejects.parquet"

    @property
    def hashed(self) -> Path:
        """The hashed rows, as Parquet."""
        return self.path / "hashed.parquet"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write to, and rename it to `path` at the end, so that a file at `path` is always complete."""
    part = path.with_suffix(".part")
    yield part
    part.rename(path)
