"""Connections to PostgreSQL that do not wait for ever.

Here belongs the end of waiting on the client's side. The server's own limits are settings of the connection and stand
in `resources.py`. libpq has no such end: a server that is stopped, or a proxy that lost it, keeps the connection alive
and says nothing. Documented in docs/reliability.md.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg


class IdleTimeoutConnection(psycopg.Connection[Any]):
    """A connection that is given up when nothing moves on it for `seconds`."""

    seconds = 600.0

    def wait[T](self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Waits as the class above does, and gives up; `timeout` would end a long answer that is still coming in."""
        return super().wait(self._until_silent(gen), interval, timeout)

    def _until_silent[T](self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        end = time.monotonic() + self.seconds
        ready = None
        while True:
            try:
                wanted = gen.send(ready)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # a T: StopIteration is not generic
            ready = yield wanted
            if ready:
                end = time.monotonic() + self.seconds
            elif time.monotonic() > end:
                # Closed at once: a rollback would wait for the same server.
                self.pgconn.finish()
                message = f"PostgreSQL did not answer within {self.seconds:.0f} seconds"
                raise psycopg.OperationalError(message)


def connect(seconds: float, **settings: Any) -> IdleTimeoutConnection:  # noqa: ANN401 - those of libpq
    """A new connection, given up after `seconds` of silence."""
    connection = IdleTimeoutConnection.connect(**settings)
    connection.seconds = seconds
    return connection
