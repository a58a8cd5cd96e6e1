"""Put the application together. Each module of routes defines a router; `server.py` runs the application."""

from fastapi import FastAPI

from txn_assets.upload.platform import Platform
from txn_assets.upload.problems import Problem, answer_problem


def create_app(platform: Platform) -> FastAPI:
    """Return the application that serves `platform`."""
    app = FastAPI(title="txn_assets", version="1.0.0")
    app.state.platform = platform
    app.add_exception_handler(Problem, answer_problem)
    return app
