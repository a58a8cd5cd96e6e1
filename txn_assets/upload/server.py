"""Run the upload service: `txn upload`, `make upload`. After SIGTERM it finishes or cancels every upload, then ends."""

import ctypes
import datetime as dt
import json
import logging
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from importlib.abc import MetaPathFinder
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from txn_assets.config import PipelineConfig
from txn_assets.environment import dagster_url, txn_home, txn_target, writes_json
from txn_assets.errors import traceback_of
from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import FIRST_FEED, Feed
from txn_assets.local import dagster_dev
from txn_assets.local.listener import bind
from txn_assets.runs.dagster_client import find_dagster
from txn_assets.target import open_services

LOGGER = logging.getLogger("txn_assets.upload")

_EXAMPLE = "`txn upload 8001` or `make upload PORT=8001`"

DRAIN_SECONDS = 45
"""How long uploads may take after SIGTERM. Keep it below `terminationGracePeriodSeconds` in helm-values."""

DAGSTER_SECONDS = 120.0
"""How long to wait for the Dagster beside the service, which takes ten to thirty seconds to start."""

_M_MMAP_THRESHOLD = -3

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than at a load balancer, which would send into a closed one."""


def serve(config: PipelineConfig, port: str, *, listen: str = "127.0.0.1") -> int:
    """Serve `config` on `listen` until a signal ends it; return the exit code.

    Raises:
        UserError: the port cannot be used.
        ConfigError: an environment variable is missing or wrong.
        LocalStackError: the embedded servers do not start.
    """
    sys.meta_path.insert(0, _WithoutPandas())
    # Return the buffers of an upload to the system at once: by default, the C library keeps what was freed before.
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 18)
    from txn_assets.upload.app import create_app  # noqa: PLC0415 - see above
    from txn_assets.upload.platform import Platform  # noqa: PLC0415 - see above

    _configure_logs()
    stop = threading.Event()
    # uvicorn has handlers of its own while it serves, and raises the signal that stopped it once more after that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as opened:
        listener = opened.enter_context(bind(port, listen, example=_EXAMPLE))
        dagster = None
        if txn_target() == "local" and dagster_url() is None:
            dagster = opened.enter_context(dagster_dev.running(txn_home()))
            LOGGER.info("Dagster starts beside the service to load the files. Its log is %s.", dagster.log)
        services = opened.enter_context(open_services(config))
        app = create_app(Platform(config=config, services=services))
        server = _Server(
            uvicorn.Config(
                AccessLog(app),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS,
                ws="none",
            ),
            app,
        )
        if dagster:
            _wait_for(dagster, find_feed(config, FIRST_FEED), stop)
        if not stop.is_set():
            LOGGER.info("The upload service listens on http://%s:%s.", listen, port)
            server.run([listener])
    return 0


class _WithoutPandas(MetaPathFinder):
    """Hides pandas, a fifth of the memory. Arrow imports it with its first array, only to recognize its objects.

    None in `sys.modules` would be shorter, but Cython, in which Arrow is written, takes it for the module.
    """

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:  # noqa: ARG002 - as Python calls it
        """Find no pandas, and leave all other modules to the other finders."""
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)


def _wait_for(dagster: dagster_dev.DagsterDev, feed: Feed, stop: threading.Event) -> None:
    """Return when Dagster can load a file of `feed`, so that the first upload gets its result in time.

    Without Dagster after `DAGSTER_SECONDS`, the service serves all the same: what lands is loaded once it runs.
    """
    deadline = time.monotonic() + DAGSTER_SECONDS
    while not stop.wait(0.2):
        client = find_dagster()
        if client and client.has(feed):
            return
        if dagster.has_ended or time.monotonic() > deadline:
            LOGGER.warning("Dagster does not answer, so files land and are not loaded. See its log, %s.", dagster.log)
            return


class _Server(uvicorn.Server):
    """A server that tells the application when it begins to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the requests in progress end."""
        self._app.state.draining.set()
        await super().shutdown(sockets)


class AccessLog:
    """Logs each request, without its query: a URL may carry what does not belong in a log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log its status, seconds and size."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, received = time.monotonic(), 500, 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, counted, noted)
        finally:
            seconds = round(time.monotonic() - started, 3)
            path = scope["raw_path"].decode("ascii", "replace")
            LOGGER.info(
                "%s %s %d in %.3f s, %d bytes",
                scope["method"], path, status, seconds, received,
                extra={
                    "details": {
                        "method": scope["method"], "path": path, "status": status,
                        "seconds": seconds, "bytes": received,
                    }
                },
            )  # fmt: skip


class _Lines(logging.Formatter):
    """Writes a record as a line of text. Of an error it writes only type and frames: the message may quote a value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time_ = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        return f"{time_} {record.levelname:<7} {record.getMessage().rstrip()}{_error(record)}"


class _JsonLines(logging.Formatter):
    """Writes a record as a line of JSON; see `_Lines`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        content: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage().rstrip(),
            **getattr(record, "details", {}),
        }
        if error := _error(record):
            content["traceback"] = error.strip()
        return json.dumps(content)


def _error(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return f"\n{traceback_of(error)}" if error else ""


def _configure_logs() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines() if writes_json() else _Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # They log each request to the servers of the stack, and each connection that is opened.
    for name in ("urllib3", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.WARNING)
