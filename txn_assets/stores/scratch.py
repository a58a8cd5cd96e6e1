"""Scratch space for clear text, kept only as long as the process that created it lives.

This module creates, guards and removes the space; callers manage the files in it. A killed process cannot remove its
folder, so the next process that opens scratch space removes it. A file lock protects the folder of a live process.
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
    """Yield a new folder below `home` that only its owner can read, and remove it afterwards.

    Folders of dead processes are removed as well.
    """
    root = home / "scratch"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _guarded(root / _LOCK):
        # Hold the outer lock, so that no other process removes the new folder before it is locked.
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
            # The folder is in use, or its own process has just removed it.
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
    # O_CLOEXEC: a server that a run starts must not inherit the lock, or the run's clear text would never be removed.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
