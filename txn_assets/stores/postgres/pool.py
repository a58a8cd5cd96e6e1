"""A pool of PostgreSQL connections for short reads, see `Clients.postgres_pool`.

https://www.psycopg.org/psycopg3/docs/api/pool.html has what the settings mean.
"""

from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from txn_assets.stores.postgres.connection import IdleTimeoutConnection

IDLE_SECONDS = 120.0
"""How long a connection of a pool stays open without use."""


def open_pool(size: int, seconds: float, **settings: Any) -> ConnectionPool[IdleTimeoutConnection]:  # noqa: ANN401 - libpq's
    """Return an open pool. It waits at most `seconds` for a connection, and for the answer to a statement."""

    def configure(connection: IdleTimeoutConnection) -> None:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        # A prepared statement fails after its table was created again with other columns.
        connection.prepare_threshold = None
        connection.seconds = seconds

    return ConnectionPool(
        connection_class=IdleTimeoutConnection,
        kwargs=settings,
        min_size=0,
        max_size=size,
        open=True,
        configure=configure,
        check=ConnectionPool.check_connection,
        timeout=seconds,
        max_idle=IDLE_SECONDS,
        # Try again for the next client, not later and later.
        reconnect_timeout=1.0,
        num_workers=1,
    )
