"""Find out why the certificate of a PostgreSQL server was refused; libpq says only that it was."""

import socket
import ssl
import struct

from psycopg.pq.abc import PGconn

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""The message before a TLS handshake: https://www.postgresql.org/docs/current/protocol-message-formats.html"""

_SECONDS = 5.0


def certificate_fault(connection: PGconn) -> str:
    """Return what is wrong with the certificate of the server that `connection` refused, or '' if it cannot be told.

    The handshake is repeated with the same CA, and nothing is sent after it.
    """
    # With the values that libpq takes from the environment, such as PGSSLROOTCERT.
    settings = {option.keyword.decode(): (option.val or b"").decode() for option in connection.info}
    try:
        context = ssl.create_default_context(cafile=settings["sslrootcert"] or None)
        context.check_hostname = False
        # libpq is not as strict.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        address = (settings["hostaddr"] or settings["host"], int(settings["port"]))
        with socket.create_connection(address, timeout=_SECONDS) as server:
            server.sendall(_SSL_REQUEST)
            if server.recv(1) == b"S":
                context.wrap_socket(server).close()
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, ValueError):
        pass
    return ""
