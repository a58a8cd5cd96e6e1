"""Dagster's event log in PostgreSQL, through connections that stay open.

Here belongs the one class that the `dagster.yaml` of the local instance names. What Dagster stores, and how, is its own
class's: that opens three connections an event, and a file of a batch is twelve events. Opening one costs PostgreSQL
more than the statements that follow. Documented in docs/operations.md.
"""

from collections.abc import Mapping
from typing import Any, Self

from dagster_postgres import PostgresEventLogStorage
from sqlalchemy.exc import InternalError


class PooledEventLogStorage(PostgresEventLogStorage):
    """Dagster's own class, with the connection pool that Dagster gives it in the webserver."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ANN401 - not exported
        """What `dagster.yaml` asks for: `postgres_url`."""
        storage = cls(config_value["postgres_url"], inst_data=inst_data)
        # Milliseconds; seconds; and connections beside the first, one for each thread of the daemon that stores events.
        storage.optimize_for_webserver(statement_timeout=600_000, pool_recycle=300, max_overflow=10)
        return storage

    def initialize_concurrency_limit_to_default(self, concurrency_key: str) -> bool:
        """Makes a pool that is used for the first time.

        Of two runs that do so at once Dagster's own fails the slower one: its INSERT meets the row of the faster, and
        PostgreSQL takes no further statement in that transaction.
        """
        try:
            return super().initialize_concurrency_limit_to_default(concurrency_key)
        except InternalError:
            if concurrency_key in self.get_concurrency_keys():
                return True
            raise
