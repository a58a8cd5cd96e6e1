"""The upload service while PostgreSQL restarts under it."""

import os
import signal
import time
from pathlib import Path

import psycopg
import requests

from txn_assets.marts.mart import MARTS
from txn_assets_tests.deployment import Deployment, make_row
from txn_assets_tests.marts.conftest import opened
from txn_assets_tests.upload.server import Service, serving

RESTART_SECONDS = 60.0


def test_postgres_restarts(deployment: Deployment, tmp_path: Path) -> None:
    """Answers are 503 until PostgreSQL is back, and then as before, from the same service."""
    deployment.configure({"security": {"authentication": "none"}})
    deployment.load("anonymous/a.csv", make_row())
    with opened(deployment) as marts:
        marts.postgres.refresh(MARTS["sales_by_date"])
    blob = deployment.bucket.get_blob(f"{deployment.feed().landing}/anonymous/a.csv")
    paths = ["/sales/by-date", f"/uploads/anonymous/a.csv@{blob.generation}", "/readyz"]
    with serving(deployment, tmp_path / "upload.log") as service:
        before = [service.get(path).json() for path in paths]
        assert (before[0]["rows"][0]["transaction_count"], before[1]["state"]) == (1, "loaded")

        crash(deployment)

        after = [until_ok(service, path).json() for path in paths]
        assert after == before
        assert service.process.poll() is None


def crash(deployment: Deployment) -> None:
    """Kill one server process of PostgreSQL, which then ends all others and recovers: every connection breaks."""
    with psycopg.connect(deployment.endpoints.postgres_dsn) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        victim.close()


def until_ok(service: Service, path: str) -> requests.Response:
    """Ask until the answer is 200. Until then it must be 503, which says when to come back."""
    deadline = time.monotonic() + RESTART_SECONDS
    while (response := service.get(path)).status_code != 200:
        assert response.status_code == 503, response.text
        assert path == "/readyz" or "Retry-After" in response.headers
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return response
