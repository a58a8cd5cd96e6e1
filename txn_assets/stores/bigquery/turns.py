"""Turns of the loads on one machine at the embedded BigQuery.

BigQuery cancels the second transaction at its first statement. The embedded server lets both run and fails the one that
ends second, so without turns loads would waste the processor that all of them share. See docs/operations.md.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from txn_assets.environment import txn_home
from txn_assets.files import progress
from txn_assets.stores.access import Access


@contextmanager
def turn(access: Access, table: str) -> Iterator[None]:
    """Let no other process on this machine commit to `table` during the block; the kernel ends the turn of a dead one.

    Do nothing for the service itself.
    """
    if not access.bigquery_url:
        yield
        return
    folder = txn_home() / "commit-locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / table).open("w") as lock:
        with progress.aside("waiting for the commit of another load"):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
