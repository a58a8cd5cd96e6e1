"""A loopback proxy that injects one fault at the n-th request of a conversation.

Only the wire and its faults. HTTP is followed request by request; for PostgreSQL, each write of the client counts as
one. See docs/reliability.md.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from txn_assets.local.endpoints import Endpoints
from txn_assets.stores.clients import Clients
from txn_assets.target import to_access

STATUSES = {"429": (429, "rateLimitExceeded"), "500": (500, "backendError"), "503": (503, "backendError")}
WIRE_FAULTS = ("drop", "reset", "truncate", "delay", "time-out")
HTTP_FAULTS = (*WIRE_FAULTS, *STATUSES)
DELAY_SECONDS = 0.3

type Turn = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]
]


@dataclass
class Plan:
    """The fault to inject, and the progress of the conversation."""

    fault: str | None = None
    at: int = 0
    seen: int = 0
    happened: int = 0

    def arm(self, fault: str | None, at: int) -> None:
        """Begin a new conversation."""
        self.fault, self.at, self.seen, self.happened = fault, at, 0, 0

    def next(self) -> str | None:
        """Return the fault for the request that just arrived."""
        self.seen += 1
        if self.fault is None or self.seen != self.at:
            return None
        self.happened += 1
        return self.fault


class _BrokenError(Exception):
    """The connection ends here."""


class Proxy:
    """A proxy in front of one server, in its own thread."""

    def __init__(self, host: str, port: int, *, http: bool) -> None:
        self.plan = Plan()
        self.port = 0
        self._target = (host, port)
        self._turn: Turn = self._http_turn if http else self._raw_turn
        self._loop = asyncio.new_event_loop()

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        """Listen on a port of its own."""
        started = threading.Event()
        thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        thread.start()
        started.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()

    def _run(self, started: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        # A transport that was closed gives up its socket in the next turn of the loop.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target, limit=1 << 20)
        ended = (OSError, asyncio.IncompleteReadError, _BrokenError, asyncio.CancelledError)
        try:
            await self._turn(reader, writer, up_reader, up_writer)
        except ended:
            pass
        finally:
            for end in (up_writer, writer):
                end.close()

    async def _http_turn(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        while True:
            request = await read_message(reader)
            fault = self.plan.next()
            if fault in STATUSES:
                writer.write(_answer(*STATUSES[fault]))
                await writer.drain()
                raise _BrokenError
            await _before(fault, reader)
            up_writer.write(request)
            response = await read_message(up_reader, to=request)
            _after(fault, writer, response)
            writer.write(response)
            await writer.drain()

    async def _raw_turn(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        fault: str | None = None

        async def back() -> None:
            while data := await up_reader.read(1 << 16):
                # The server has done what it was asked to do, and its response gets lost.
                _after(fault, writer, data)
                writer.write(data)
                await writer.drain()

        async def forth() -> None:
            nonlocal fault
            while data := await reader.read(1 << 16):
                fault = self.plan.next()
                await _before(fault, reader)
                up_writer.write(data)
                await up_writer.drain()

        tasks = [asyncio.ensure_future(back()), asyncio.ensure_future(forth())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()


async def _before(fault: str | None, reader: asyncio.StreamReader) -> None:
    if fault == "drop":
        raise _BrokenError
    if fault == "delay":
        await asyncio.sleep(DELAY_SECONDS)
    if fault == "time-out":
        # Read until the client gives up; a server whose end stayed open would keep its lock.
        while await reader.read(1 << 16):
            pass
        raise _BrokenError


def _after(fault: str | None, writer: asyncio.StreamWriter, response: bytes) -> None:
    if fault == "truncate":
        writer.write(response[: len(response) // 2])
        raise _BrokenError
    if fault == "reset":
        plain: socket.socket = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            # A linger time of zero makes the kernel send RST.
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _BrokenError


async def read_message(reader: asyncio.StreamReader, *, to: bytes = b"") -> bytes:
    """Read one HTTP message; `to` is the request that a response belongs to."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    fields = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
    if head.startswith(b"HTTP/1.1 100"):
        return await read_message(reader, to=to)
    if to.startswith(b"HEAD ") or lines[0].split(b" ")[1] in (b"204", b"304"):
        return head
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        body = b""
        while True:
            size = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(size.split(b";")[0], 16) + 2)
            body += size + chunk
            if len(chunk) == 2:
                return head + body
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))


def _answer(status: int, reason: str) -> bytes:
    body = b'{"error":{"code":%d,"message":"injected","errors":[{"reason":"%s","message":"injected"}]}}' % (
        status,
        reason.encode(),
    )
    head = f"HTTP/1.1 {status} Injected\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def through(clients: Clients, endpoints: Endpoints, *, seconds: float) -> Clients:
    """Return `clients` of the embedded servers at `endpoints`, which wait `seconds` at most."""
    return replace(
        clients,
        access=to_access(endpoints, clients.access.project_id, clients.access.location),
        request_seconds=seconds,
        statement_seconds=seconds,
        lock_seconds=2.0,
    )


@contextmanager
def proxies(endpoints: Endpoints) -> Iterator[tuple[dict[str, Proxy], Endpoints]]:
    """Run a proxy in front of each server; yield the proxies by sink, and their endpoints."""
    gcs, bq = urlsplit(endpoints.gcs_url), urlsplit(endpoints.bigquery_url)
    with (
        Proxy(str(gcs.hostname), int(gcs.port or 0), http=True).running() as lake,
        Proxy(str(bq.hostname), int(bq.port or 0), http=True).running() as warehouse,
        Proxy(endpoints.postgres_host, endpoints.postgres_port, http=False).running() as database,
    ):
        yield (
            {"gcs_raw": lake, "bigquery_raw_transactions": warehouse, "postgres_transactions": database},
            replace(
                endpoints,
                gcs_url=f"http://127.0.0.1:{lake.port}",
                bigquery_url=f"http://127.0.0.1:{warehouse.port}",
                postgres_host="127.0.0.1",
                postgres_port=database.port,
            ),
        )
