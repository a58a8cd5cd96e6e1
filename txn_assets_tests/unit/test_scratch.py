"""Scratch space: readable only by its owner, and removed with the process that created it, however that ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from txn_assets.environment import project_root
from txn_assets.stores.scratch import open_scratch

HOLDER = """
import sys, time
from pathlib import Path
from txn_assets.stores.scratch import open_scratch
with open_scratch(Path(sys.argv[1])) as folder:
    (folder / "clear.csv").write_text("T001")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Yield another process that keeps clear text in scratch space, and its folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=project_root()
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_folder_is_gone_afterwards(tmp_path: Path) -> None:
    """The folder is removed afterwards with everything in it."""
    with open_scratch(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "clear.csv").write_text("T001")
    assert not folder.exists()


def test_folder_is_gone_after_a_failure(tmp_path: Path) -> None:
    """A failed run leaves no clear text."""

    def fail() -> None:
        with open_scratch(tmp_path) as folder:
            folders.append(folder)
            raise RuntimeError

    folders: list[Path] = []
    with pytest.raises(RuntimeError):
        fail()
    assert not folders[0].exists()


def test_folder_is_only_for_its_owner(tmp_path: Path) -> None:
    """The folder and the folder above it have mode 0700."""
    with open_scratch(tmp_path) as folder:
        assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]


def test_each_run_has_its_own_folder(tmp_path: Path) -> None:
    """Each run has its own folder, even two runs in one process."""
    with open_scratch(tmp_path) as one, open_scratch(tmp_path) as other:
        assert one != other
        assert one.exists()


def test_folder_of_a_killed_process_is_removed_by_the_next(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], Path]
) -> None:
    """The folder of a dead process is removed, because nothing else would remove its clear text."""
    process, left = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (left / "clear.csv").exists()
    with open_scratch(tmp_path):
        assert not left.exists()


def test_folder_of_a_live_process_is_kept(tmp_path: Path, holder: tuple[subprocess.Popen[str], Path]) -> None:
    """The folder of a live process is kept, because its run still reads it."""
    _, used = holder
    with open_scratch(tmp_path):
        assert (used / "clear.csv").exists()


def test_many_may_come_and_go_at_once(tmp_path: Path) -> None:
    """A folder that vanishes while another run looks at it is not an error."""

    def come_and_go(_: int) -> bool:
        with open_scratch(tmp_path) as folder:
            (folder / "clear.csv").write_text("T001")
            return (folder / "clear.csv").exists()

    with ThreadPoolExecutor(8) as executor:
        assert all(executor.map(come_and_go, range(300)))
    assert not list((tmp_path / "scratch").glob("run-*"))
