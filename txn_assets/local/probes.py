"""Whether a server answers, in its own protocol.

Here belong the three questions. What is done about a "no" does not: see `stack.ensure_up` and the supervisor. Pids are
not looked at, since the stack may run in another pid namespace, or behind a proxy that a test put there.
Standard library only, since both environments import it. Documented in txn_assets/local/README.md.
"""

import http.client
import socket
import struct
from urllib.parse import urlsplit

PATIENCE = 60.0
"""Seconds that a server which takes the connection may think. A refused connection is a dead server at once, but a
slow answer is only a busy one: local-bigquery does not answer while it reads a big upload, and restarting the stack
below a colleague's load would be worse than waiting."""
START_PATIENCE = 5.0
"""The same while a server starts: it is asked again anyway, and what does not answer may be a stranger on its port."""


def gcs_answers(url: str, identity: str | None = None, *, patience: float = PATIENCE) -> bool:
    """Ask the shim, which asks fake-gcs-server. With `identity`, another stack's shim on that port is a "no"."""
    status, body = _get(url, "/_internal/healthcheck", patience)
    return status == http.client.OK and (identity is None or body.decode(errors="replace") == identity)


def bigquery_answers(url: str, *, patience: float = PATIENCE) -> bool:
    """List the projects, which needs the database to be open."""
    return _get(url, "/bigquery/v2/projects?maxResults=1", patience)[0] == http.client.OK


def postgres_answers(host: str, port: int, *, patience: float = PATIENCE) -> bool:
    """Ask to log in, and see whether the server asks for the password. That is as far as one gets without a client."""
    options = b"user\0postgres\0database\0postgres\0\0"
    try:
        with socket.create_connection((host, port), timeout=patience) as connection:
            # Length, then version 3.0 of the protocol.
            connection.sendall(struct.pack("!ii", len(options) + 8, 3 << 16) + options)
            # "R" is the request to authenticate. "E" is an error, such as "the database system is starting up". All of
            # it is read: the server logs a connection that is closed over unread data.
            return connection.recv(4096).startswith(b"R")
    except OSError:
        return False


def _get(url: str, path: str, patience: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patience)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
