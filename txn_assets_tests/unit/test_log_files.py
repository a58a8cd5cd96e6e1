"""Log files that several processes append to."""

import stat
import subprocess
import sys
from pathlib import Path

from txn_assets.files.log_files import KEPT, LogFile

APPEND = """
import sys
from pathlib import Path
from txn_assets.files import log_files
log_files.KEPT = 100
log = log_files.LogFile(Path(sys.argv[1]), max_bytes=2_000)
for number in range(100):
    log.append(f"{sys.argv[2]} {number} {'x' * 200}\\n")
"""


def written(path: Path) -> list[str]:
    """Return the lines of a log file and of those renamed before it."""
    return [line for file in path.parent.glob(f"{path.name}*") for line in file.read_text().splitlines()]


def test_processes_at_once(tmp_path: Path) -> None:
    """Lines of processes that write and rename at once are whole, and none is lost while older files are kept."""
    path = tmp_path / "logs" / "txn.log"
    writers = [subprocess.Popen([sys.executable, "-c", APPEND, str(path), str(name)]) for name in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4

    lines = written(path)

    assert sorted(lines) == sorted(f"{name} {number} {'x' * 200}" for name in range(4) for number in range(100))
    assert len(list(path.parent.glob("txn.log*"))) > 20


def test_size_is_bounded(tmp_path: Path) -> None:
    """The files take no more than their limit times their number, and belong to their owner alone."""
    path = tmp_path / "txn.log"
    log = LogFile(path, max_bytes=1000)
    for number in range(200):
        log.append(f"{number:03} {'x' * 95}\n")

    files = list(tmp_path.glob("txn.log*"))
    assert len(files) == KEPT + 1
    assert max(file.stat().st_size for file in files) <= 1000
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert path.read_text().splitlines()[-1].startswith("199 ")


def test_line_longer_than_a_file(tmp_path: Path) -> None:
    """A line that is longer than a file is written whole, and the next one goes into another file."""
    log = LogFile(tmp_path / "txn.log", max_bytes=10)
    log.append(f"{'x' * 50}\n")
    log.append("next\n")
    assert (tmp_path / "txn.log").read_text() == "next\n"
    assert (tmp_path / "txn.log.1").read_text() == f"{'x' * 50}\n"
