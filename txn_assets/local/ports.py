"""Choose free loopback ports.

This module only chooses them. If another program takes a port before the server binds it, the supervisor asks again.
Use only the standard library.
"""

import random
import socket
from collections.abc import Mapping, Sequence

_RANGE = range(20_000, 30_000)
"""Ports below the kernel's ephemeral range (from 32768 on Linux), because outgoing connections rarely take a port here:
a stack usually gets its old ports back.
"""


def choose(names: Sequence[str], last_time: Mapping[str, int]) -> dict[str, int]:
    """Choose a free port for each name. Reuse the previous one if it is still free, so that env exports stay valid."""
    chosen: dict[str, int] = {}
    for name in names:
        port = last_time.get(name, 0)
        while port in chosen.values() or not _is_free(port):
            port = random.choice(_RANGE)  # noqa: S311 - a port is not a secret
        chosen[name] = port
    return chosen


def _is_free(port: int) -> bool:
    if port not in _RANGE:
        return False
    with socket.socket() as probe:
        # Set the same option as the servers: old connections in TIME_WAIT do not block a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
