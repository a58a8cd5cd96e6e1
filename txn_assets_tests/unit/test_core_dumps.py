"""No core dump of a process that had clear text in its memory."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = "import os, signal, sys; {} ; os.kill(os.getpid(), signal.SIGSEGV)"
FORBID = "from txn_assets.files.core_dumps import forbid_core_dumps; forbid_core_dumps()"

PATTERN = Path("/proc/sys/kernel/core_pattern")


def crash(folder: Path, before: str) -> list[Path]:
    """Crash a process in `folder` with core dumps allowed; return what it leaves there."""
    folder.mkdir()

    def allow() -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    command = [sys.executable, "-c", CRASH.format(before)]
    done = subprocess.run(command, cwd=folder, check=False, preexec_fn=allow)
    assert done.returncode == -signal.SIGSEGV
    return list(folder.iterdir())


@pytest.mark.skipif(
    os.sep in PATTERN.read_text() or "|" in PATTERN.read_text(), reason="the kernel does not write core dumps here"
)
def test_crash_leaves_no_core_dump(tmp_path: Path) -> None:
    """A process leaves its memory in its folder when it crashes, unless it has forbidden that."""
    assert crash(tmp_path / "as usual", "pass")
    assert not crash(tmp_path / "forbidden", FORBID)


def test_no_dump_goes_to_a_program() -> None:
    """A limit of 0 would not keep the kernel from piping the dump to a program, and a limit of 1 does."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{FORBID}; import resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0])"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert int(shown) == min(1, resource.getrlimit(resource.RLIMIT_CORE)[1] % (1 << 63))
