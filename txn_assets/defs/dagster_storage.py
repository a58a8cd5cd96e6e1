"""Event log storage in PostgreSQL that keeps its connections open; the local instance uses it.

Dagster's class decides what to store and how. It opens three connections per event, and each file of a batch has twelve
events. Opening a connection takes PostgreSQL longer than the statements that follow. See
docs/operations.md.
"""

from collections.abc import Mapping
from typing import Any, Self

from dagster_postgres import PostgresEventLogStorage
from sqlalchemy.exc import InternalError


class PooledEventLogStorage(PostgresEventLogStorage):
    """Dagster's PostgreSQL event log storage, with the connection pool that Dagster uses in the webserver."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ANN401 - not exported
        """Create the storage from the `postgres_url` in `dagster.yaml`."""
        storage = cls(config_value["postgres_url"], inst_data=inst_data)
        # Milliseconds, seconds, and the number of extra connections: one per daemon thread that stores events.
        storage.optimize_for_webserver(statement_timeout=600_000, pool_recycle=300, max_overflow=10)
        return storage

    def initialize_concurrency_limit_to_default(self, concurrency_key: str) -> bool:
        """Create a pool on first use, even if another run creates it at the same time.

        In Dagster's method, the slower of the two runs fails: its INSERT conflicts with the row of the faster one, and
        PostgreSQL rejects all further statements in that transaction.
        """
        try:
            return super().initialize_concurrency_limit_to_default(concurrency_key)
        except InternalError:
            if concurrency_key in self.get_concurrency_keys():
                return True
            raise
