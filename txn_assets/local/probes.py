"""Check whether a server answers, in its own protocol.

One probe per server; `stack.ensure_up` and the supervisor decide what to do about a "no". Pids are not checked, because
the stack may run in another pid namespace or behind a test's proxy. Use only the standard library, because
`.venv-servers` imports this module too.
"""

import http.client
import socket
import struct
from urllib.parse import urlsplit

PATIENCE = 60.0
"""Seconds to wait for a server that accepted the connection. A refused connection means a dead server, but a slow
answer only means a busy one: local-bigquery does not answer while it reads a big upload, and restarting the stack while
someone loads a file would be worse than waiting.
"""
START_PATIENCE = 5.0
"""The same wait during startup: short, because the probe repeats, and a silent server may be another program."""


def gcs_answers(url: str, identity: str | None = None, *, patience: float = PATIENCE) -> bool:
    """Return whether the shim and its fake-gcs-server answer. With `identity`, the shim must have that identity."""
    status, body = _get(url, "/_internal/healthcheck", patience)
    return status == http.client.OK and (identity is None or body.decode(errors="replace") == identity)


def bigquery_answers(url: str, *, patience: float = PATIENCE) -> bool:
    """Return whether local-bigquery lists its projects, which it can only do once its database is open."""
    return _get(url, "/bigquery/v2/projects?maxResults=1", patience)[0] == http.client.OK


def postgres_answers(host: str, port: int, *, patience: float = PATIENCE) -> bool:
    """Return whether the server asks for a password at login, which can be checked without a PostgreSQL client."""
    options = b"user\0postgres\0database\0postgres\0\0"
    try:
        with socket.create_connection((host, port), timeout=patience) as connection:
            # Length, then version 3.0 of the protocol.
            connection.sendall(struct.pack("!ii", len(options) + 8, 3 << 16) + options)
            # "R" is the authentication request. "E" is an error, such as "the database system is starting up". Read all
            # of it, because the server logs connections closed with unread data.
            return connection.recv(4096).startswith(b"R")
    except OSError:
        return False


def issuer_answers(url: str, *, patience: float = PATIENCE) -> bool:
    """Return whether the issuer of tokens publishes its configuration."""
    return _get(url, "/.well-known/openid-configuration", patience)[0] == http.client.OK


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
