"""Event log storage in PostgreSQL that keeps its connections open; the local instance uses it.

Dagster's class decides what to store and how. It opens three connections per event, and each file of a batch has twelve
events. Opening a connection takes PostgreSQL longer than the statements that follow. See
docs/operations.md.
"""

from collections.abc import Mapping
from typing import Any, Self

from dagster_postgres import PostgresEventLogStorage


class PooledEventLogStorage(PostgresEventLogStorage):
    """Dagster's PostgreSQL event log storage, with the connection pool that Dagster uses in the webserver."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ANN401 - not exported
        """Create the storage from the `postgres_url` in `dagster.yaml`."""
        storage = cls(config_value["postgres_url"], inst_data=inst_data)
        # Milliseconds, seconds, and the number of extra connections: one per daemon thread that stores events.
        storage.optimize_for_webserver(statement_timeout=600_000, pool_recycle=300, max_overflow=10)
        return storage
