"""A second address for the servers of a stack: what connects there is passed on to loopback, on the same port.

`python -m txn_assets.local up --listen ADDRESS` asks for it, for clients that have a loopback of their own, such as the
pods of a cluster on this machine. Runs in `.venv-servers`; standard library only. Documented in
txn_assets/local/README.md.
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
    # Either end may go at any moment; the other one then finds its connection closed, as it would without us.
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
    """Pass connections on until a signal ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("ports", nargs="+", type=int)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.address, arguments.ports))


if __name__ == "__main__":
    main()
