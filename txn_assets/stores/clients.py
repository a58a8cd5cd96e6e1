"""Clients of GCS, BigQuery and PostgreSQL, and their timeouts."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from txn_assets.stores.access import Access

if TYPE_CHECKING:
    import psycopg
    from google.cloud import bigquery
    from psycopg_pool import ConnectionPool

    from txn_assets.stores.postgres.connection import IdleTimeoutConnection

MAX_SESSIONS = 64
"""Maximum number of idle connections to keep for resumable uploads."""


REQUESTS_AT_ONCE = 8
"""Maximum number of requests about objects at the same time; the client keeps ten connections open."""


@dataclass(kw_only=True)
class Clients:
    """Clients of the three services: one each for GCS and BigQuery, so that connections are reused.

    `postgres` opens a new connection on each call; a process that reads often opens a `postgres_pool`.

    Attributes:
        lock_seconds: how long PostgreSQL lets a statement wait for a lock, or a transaction sit idle.
        request_seconds: the timeout of a request to GCS or BigQuery.
        pool_seconds: how long a read on a pool may wait for a connection, and then for its rows.
        statement_seconds: give up on a PostgreSQL connection after this long without a response.
    """

    access: Access
    lock_seconds: float = 60.0
    pool_seconds: float = 10.0
    request_seconds: float = 60.0
    statement_seconds: float = 600.0

    @cached_property
    def storage(self) -> storage.Client:
        """The client of Google Cloud Storage."""
        # Or else it asks for the settings of the bucket in the background, which are for traces that nobody collects.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        return storage.Client(project=self.access.project_id, **_options(self.access.gcs_url))

    @cached_property
    def bigquery(self) -> "bigquery.Client":
        """The client of BigQuery."""
        from google.cloud import bigquery  # noqa: PLC0415 - a sensor tick needs only GCS, see Services

        access = self.access
        return bigquery.Client(project=access.project_id, location=access.location, **_options(access.bigquery_url))

    @cached_property
    def upload_sessions(self) -> requests.Session:
        """Connections to sessions of resumable uploads, whose addresses are their only credentials."""
        session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=MAX_SESSIONS)
        for scheme in ("https://", "http://"):
            session.mount(scheme, adapter)
        return session

    @property
    def no_retry(self) -> dict[str, Any]:
        """Request options for a single attempt with a timeout, because `retry_transient` does the retrying."""
        return {"retry": None, "timeout": self.request_seconds}

    def postgres(self) -> "psycopg.Connection[Any]":
        """Open a new connection to PostgreSQL."""
        from txn_assets.stores.postgres import connection as postgres_connection  # noqa: PLC0415 - see `bigquery`

        return postgres_connection.connect(self.statement_seconds, **self._postgres_settings())

    def postgres_pool(self, size: int) -> "ConnectionPool[IdleTimeoutConnection]":
        """Return a pool of at most `size` connections for short reads: opened on demand, closed when idle.

        Each block `with pool.connection()` is a transaction with one snapshot. A connection is tried before it is
        given out, so the pool survives a restart of the server. Close the pool at the end.
        """
        from txn_assets.stores.postgres.pool import open_pool  # noqa: PLC0415 - see `bigquery`

        return open_pool(size, self.pool_seconds, **self._postgres_settings())

    def _postgres_settings(self) -> dict[str, Any]:
        # Each end notices within a minute if the other is gone, so a dead run's locks are freed before others give up.
        server = {
            "lock_timeout": f"{self.lock_seconds:.0f}s",
            "idle_in_transaction_session_timeout": f"{self.lock_seconds:.0f}s",
            "tcp_keepalives_idle": 20,
            "tcp_keepalives_interval": 10,
            "tcp_keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        }
        return {
            **self.access.postgres,
            "connect_timeout": 10,
            "application_name": "txn_assets",
            # Send rows as UTF-8, whatever the database encoding.
            "client_encoding": "utf8",
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
            "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
        }

    def close(self) -> None:
        """Close the connections of the clients that were used."""
        for name in ("storage", "bigquery", "upload_sessions"):
            if name in self.__dict__:
                self.__dict__[name].close()


def _options(url: str | None) -> dict[str, Any]:
    if url is None:
        return {}
    # google-auth is untyped.
    return {"credentials": AnonymousCredentials(), "client_options": {"api_endpoint": url}}  # type: ignore[no-untyped-call]
