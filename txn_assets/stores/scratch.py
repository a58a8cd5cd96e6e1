"""Scratch space: where clear text may lie for as long as the process that made it lives.

Here belong making, guarding and removing that space. What lies in it does not.
A process that is killed cannot remove its folder, so the next one that opens scratch space does: each folder is guarded
by a file lock that ends with its process.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LOCK = "lock"


@contextlib.contextmanager
def open_scratch(home: Path) -> Iterator[Path]:
    """A new folder below `home` that only its owner can read; it is gone afterwards, as are those of dead processes."""
    root = home / "scratch"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _guarded(root / _LOCK):
        # Under the lock, so that nobody takes a folder for dead between its making and its locking.
        _remove_dead(root)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))
        lock = _lock(folder / _LOCK)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_dead(root: Path) -> None:
    for folder in root.glob("run-*"):
        try:
            lock = _lock(folder / _LOCK, wait=False)
        except (BlockingIOError, FileNotFoundError):
            # In use, or just removed by its own process.
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path, *, wait: bool = True) -> int:
    # Not inherited by child processes: a server that a run starts must not keep the run's clear text alive.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
