"""Bind the address of a service before anything else starts, and say in one sentence why it cannot be bound."""

import socket

from txn_assets.errors import UserError


def bind(port: str, address: str, *, example: str) -> socket.socket:
    """Return a socket that is bound to `port` of `address`, so that nothing starts if it is in use.

    `example` is a command with another port.

    Raises:
        UserError: the port cannot be used.
    """
    if not port.isdecimal() or not 0 < int(port) < 65536:
        message = f"{port!r} is not a port number from 1 to 65535: choose one, as in {example}."
        raise UserError(message)
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, int(port)))
    except OSError as error:
        listener.close()
        message = (
            f"Port {port} of {address} cannot be used ({error.strerror}). Stop the program that uses it, or choose "
            f"another port: {example}."
        )
        raise UserError(message) from error
    return listener
