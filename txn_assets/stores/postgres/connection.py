"""PostgreSQL connections with an idle timeout on the client's side.

libpq has no such timeout: a stopped server, or a proxy that lost the server, keeps the connection open and sends
nothing. The
server's own limits are connection settings in `clients.py`. See docs/reliability.md, 'How long until a load
gives up'.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg


class IdleTimeoutConnection(psycopg.Connection[Any]):
    """A connection that gives up after `seconds` without activity."""

    seconds = 600.0

    def wait[T](self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait as the base class does, but give up when idle. `timeout` would cut off a long response in progress."""
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
                # Close it right away, because a rollback would wait for the same server.
                self.pgconn.finish()
                message = f"PostgreSQL did not answer within {self.seconds:.0f} seconds"
                raise psycopg.OperationalError(message)


def connect(seconds: float, **settings: Any) -> IdleTimeoutConnection:  # noqa: ANN401 - libpq's settings
    """Return a new connection that gives up after `seconds` without activity."""
    connection = IdleTimeoutConnection.connect(**settings)
    connection.seconds = seconds
    return connection
