"""Serve the metrics to Prometheus: `txn metrics`. Nothing is counted here, so nothing is lost when this process ends.

A scrape asks each source at most once in `CACHE_SECONDS`, and a slow or costly one less often. It waits `WAIT_SECONDS`
for them; one that has not answered is down for this scrape.
"""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from txn_assets.config import PipelineConfig
from txn_assets.errors import UserError
from txn_assets.feeds.configured import feeds_of
from txn_assets.local.listener import bind
from txn_assets.marts.mart import marts_of
from txn_assets.runs.dagster_client import find_dagster
from txn_assets.stores.clients import Clients
from txn_assets.target import find_access
from txn_assets.watch import billing_figures, dagster_figures, ledger_figures
from txn_assets.watch.metrics import (
    DagsterFigures,
    LedgerFigures,
    billing_metrics,
    dagster_metrics,
    ledger_metrics,
    source_metrics,
)

CACHE_SECONDS = 10.0
BILLING_SECONDS = 3600.0
"""How long a reading of BigQuery's ledgers is good for, because each costs money."""

SPARE_SHARE = 20.0
"""A reading that took a second is good for this many seconds: reading takes at most 5 % of the time."""

WAIT_SECONDS = 5.0
"""How long a scrape waits for the sources. Prometheus waits ten seconds by default."""

LOGGER = logging.getLogger("txn_assets.metrics")


class Source[T]:
    """A source of figures: one reading at a time, however many scrapes come in.

    Attributes:
        name: the value of the label `source`.
        good_for: how many seconds a reading is used for.
        seconds: how long the last reading took.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], T],
        *,
        good_for: float = CACHE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.good_for = good_for
        self.seconds = 0.0
        self._read = read
        self._clock = clock
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._reading: Future[T | None] | None = None
        self._expires = 0.0

    def begin(self) -> "Future[T | None]":
        """Return the current reading, which is None if it fails; begin one if the last is too old."""
        with self._lock:
            if self._reading is None or (self._reading.done() and self._clock() >= self._expires):
                self._reading = self._threads.submit(self._run)
            return self._reading

    def _run(self) -> T | None:
        began = self._clock()
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, the source is down
            # The message may name hosts and users; the type says enough.
            LOGGER.warning("No metrics from %s: %s", self.name, type(error).__name__)
            return None
        finally:
            self.seconds = self._clock() - began
            self._expires = self._clock() + max(self.good_for, self.seconds * SPARE_SHARE)

    def close(self) -> None:
        """Wait for no reading."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PlatformCollector(Collector):
    """Collects the metrics of all sources at each scrape."""

    def __init__(
        self,
        ledgers: Source[dict[str, LedgerFigures]],
        billing: Source[dict[str, int]],
        dagster: Source[DagsterFigures],
    ) -> None:
        self._ledgers = ledgers
        self._billing = billing
        self._dagster = dagster

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering asks no source."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the sources that answer, and which do."""
        end = time.monotonic() + WAIT_SECONDS
        readings = self._ledgers.begin(), self._billing.begin(), self._dagster.begin()
        ledgers, billed, dagster = _result(readings[0], end), _result(readings[1], end), _result(readings[2], end)
        yield from ledger_metrics(ledgers or {})
        yield from billing_metrics(billed or {})
        yield from dagster_metrics(dagster or DagsterFigures())
        up = {
            self._ledgers.name: ledgers is not None,
            self._billing.name: billed is not None,
            self._dagster.name: dagster is not None,
        }
        sources: tuple[Source[Any], ...] = (self._ledgers, self._billing, self._dagster)
        seconds = {source.name: source.seconds for source in sources}
        yield from source_metrics(up, seconds)


def _result[T](reading: "Future[T | None]", end: float) -> T | None:
    try:
        return reading.result(max(0.0, end - time.monotonic()))
    except TimeoutError:
        return None


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Logs no requests: there is one every few seconds."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def serve(config: PipelineConfig, port: str, *, listen: str = "127.0.0.1") -> int:
    """Serve the metrics of `config` at `/metrics` until a signal ends it; return the exit code.

    Raises:
        UserError: the port cannot be used.
        ConfigError: an environment variable is missing or wrong.
        LocalStackError: the embedded servers do not start.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    listener = bind(port, listen, example="`txn metrics 9465`")
    feeds, marts = feeds_of(config), [mart.name for mart in marts_of(config)]
    schema = config.data_warehouse.postgres.schema_
    clients = Clients(access=find_access(config), statement_seconds=ledger_figures.TIMEOUT_SECONDS)

    def ask_dagster() -> DagsterFigures:
        found = find_dagster()
        if found is None:
            raise UserError("Dagster does not run, or TXN_DAGSTER_URL is not set.")
        return dagster_figures.read_figures(found.url, feeds, marts)

    sources = (
        Source("ledgers", lambda: ledger_figures.read_figures(clients, schema, feeds)),
        Source(
            "bigquery",
            lambda: billing_figures.read_figures(clients, config.data_warehouse, feeds),
            good_for=BILLING_SECONDS,
        ),
        Source("dagster", ask_dagster),
    )
    registry = CollectorRegistry()
    registry.register(PlatformCollector(*sources))
    with listener, _server(listener, make_app(registry)) as server:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        LOGGER.info("Metrics are at http://%s:%s/metrics.", listen, port)
        server.serve_forever()
    for source in sources:
        source.close()
    clients.close()
    return 0


def _server(listener: socket.socket, app: Callable[..., Any]) -> _Server:
    server = _Server(listener.getsockname()[:2], _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()[:2]
    server.setup_environ()
    server.set_app(app)
    server.server_activate()
    return server


def make_app(registry: CollectorRegistry) -> Callable[..., Any]:
    """Return the application: `/metrics`, and `/healthz`, which asks nobody."""
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:  # noqa: ANN401 - WSGI
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        status, text = (
            ("200 OK", b"ok\n") if path == "/healthz" else ("404 Not Found", b"The metrics are at /metrics.\n")
        )
        start_response(status, [("Content-Type", "text/plain")])
        return [text]

    return app
