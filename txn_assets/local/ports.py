"""Free loopback ports.

Here belongs choosing them. Finding out that one was stolen before its server could bind it belongs to the supervisor,
which then asks for others. Standard library only. Documented in txn_assets/local/README.md.
"""

import random
import socket
from collections.abc import Mapping, Sequence

_RANGE = range(20_000, 30_000)
"""Below the range from which the kernel serves outgoing connections (32768 on Linux): a port that is free today is
seldom taken by a connection tomorrow, so a stack mostly gets its old ports back."""


def choose(names: Sequence[str], last_time: Mapping[str, int]) -> dict[str, int]:
    """Choose a free port for each name: the one of last time if it is still free, so that env exports stay valid."""
    chosen: dict[str, int] = {}
    for name in names:
        port = last_time.get(name, 0)
        while port in chosen.values() or not _is_free(port):
            port = random.choice(_RANGE)  # noqa: S311 - a port is no secret
        chosen[name] = port
    return chosen


def _is_free(port: int) -> bool:
    if port not in _RANGE:
        return False
    with socket.socket() as probe:
        # As the servers do: connections of the last run that linger in TIME_WAIT do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
