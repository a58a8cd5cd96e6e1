"""Listen on a second address of this machine, and forward connections to the servers' ports on loopback.

`python -m txn_assets.local up --listen ADDRESS` turns this on, for clients with their own loopback, such as the pods
of a cluster on this machine. This module runs in `.venv-servers`, so use only the standard library.
"""

import argparse
import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import Mapping

from txn_assets.local import probes
from txn_assets.local.home import Home
from txn_assets.local.servers import Server

_FORWARDED = ("gcs", "bigquery", "postgres")
_CHUNK_BYTES = 1 << 16


def server(home: Home, ports: Mapping[str, int], address: str) -> Server:
    """Describe the process that listens on `address`."""
    url = f"http://{address}:{ports['gcs']}"
    return Server(
        name="forward",
        command=(
            *(sys.executable, "-P", "-m", "txn_assets.local.forward", "--address", address),
            *(str(ports[name]) for name in _FORWARDED),
        ),
        environment={"PYTHONPATH": os.environ["PYTHONPATH"]},
        folder=home.stack,
        url=url,
        answers=lambda: probes.gcs_answers(url, patience=probes.START_PATIENCE),
    )


async def _serve(address: str, ports: list[int]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for port in ports:
            handler = functools.partial(_connection, port)
            await stack.enter_async_context(await asyncio.start_server(handler, address, port))
        await asyncio.Event().wait()


async def _connection(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Either end may close at any time; the other end then sees its connection closed, as it would without the proxy.
    with contextlib.suppress(OSError), contextlib.closing(writer):
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(server_writer):
            await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def main() -> None:
    """Forward connections until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("ports", nargs="+", type=int)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.address, arguments.ports))


if __name__ == "__main__":
    main()
