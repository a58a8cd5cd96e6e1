"""Put the application together. Each module of routes defines a router; `server.py` runs the application."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from txn_assets.feeds.configured import find_feed
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.marts.engines import open_marts
from txn_assets.marts.pages import MartPages
from txn_assets.upload import health, metrics, page, problems, receive, sales, status
from txn_assets.upload.auth import make_verifier
from txn_assets.upload.health import make_checks
from txn_assets.upload.limits import Limits
from txn_assets.upload.platform import Platform

SPARE_THREADS = 8
"""Threads beside those of the uploads."""

CLOSE_SECONDS = 20.0
"""How long to wait at the end for canceled uploads to discard what they sent."""


def create_app(platform: Platform) -> FastAPI:
    """Return the application that serves `platform`."""
    app = FastAPI(
        title="txn_assets",
        version="1.0.0",
        description="Upload transaction files, see what became of them, and read the marts.",
        lifespan=_lifespan,
    )
    app.state.platform = platform
    app.state.verifier = make_verifier(platform.config)
    app.state.limits = Limits(platform.config.upload)
    app.state.checks = make_checks(platform)
    services = platform.services.of(find_feed(platform.config, FIRST_FEED))
    app.state.pages = MartPages.of(open_marts(services, platform.config).postgres)
    app.state.in_progress = set()
    # Set when the service is about to end, so that nothing waits any longer than it must.
    app.state.draining = asyncio.Event()
    problems.install(app)
    app.include_router(receive.make_router(platform.config))
    for module in (status, health, metrics, page, sales):
        app.include_router(module.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    platform: Platform = app.state.platform
    with ThreadPoolExecutor(platform.config.upload.max_uploads + SPARE_THREADS) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        yield
        app.state.pages.close()
        # The server has canceled what took too long.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while app.state.in_progress:  # noqa: ASYNC110 - once, at the end
                    await asyncio.sleep(0.05)
