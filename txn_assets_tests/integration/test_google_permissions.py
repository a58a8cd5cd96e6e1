"""The table of docs/security.md has the methods of GCS and BigQuery that each part calls, and their permissions."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import requests
import uvicorn
from fastapi import FastAPI

from txn_assets.definitions import build
from txn_assets.defs.services import share_services
from txn_assets.environment import project_root
from txn_assets.erasure.carrying_out import carry_out
from txn_assets.erasure.requesting import request_erasure
from txn_assets.stores.services import AllServices, Services
from txn_assets.target import open_services
from txn_assets.upload.app import create_app
from txn_assets.upload.platform import Platform
from txn_assets.watch import billing_figures
from txn_assets_tests.deploy.permissions import CODE, LOGS, METRICS, UPLOADS, needs
from txn_assets_tests.deployment import Deployment, make_config, make_file, make_row, many_rows
from txn_assets_tests.recorder import recording

PAGE = (project_root() / "docs" / "security.md").read_text()
ROW = re.compile(r"^\| `((?:storage|bigquery)\.[^`]+)` \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)
DOCUMENTED = {
    method: (set(re.findall(r"[a-z]+\.[a-z]+\.[a-zA-Z]+", permissions)), set(parts.strip().split(", ")))
    for method, permissions, parts in ROW.findall(PAGE)
}
PARTS = {"sensors": CODE, "runs": CODE, "erasures": CODE, "uploads": UPLOADS, "metrics": METRICS}
"""The parts of the table, and the service account of each."""


@pytest.fixture(scope="module")
def deployment(stack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Yield a deployment with what docs/deploy.md creates, and what makes the platform call each method."""
    overrides = {
        "security": {"authentication": "none"},
        "transformation": {"models": ["sales_by_product"]},
        "erasure": {"landing": "rewrite"},
    }
    with pytest.MonkeyPatch.context() as patch:
        config = tmp_path_factory.mktemp("permissions") / "config.yaml"
        make_config(config, overrides)
        patch.setenv("TXN_HOME", str(stack_home))
        patch.setenv("TXN_CONFIG", str(config))
        with Deployment.temporary(config) as opened:
            archive = f"{opened.config.data_lake.gcs_bucket}-archive"
            opened.configure({"retention": {"landing_days": 1, "archive_bucket": archive}})
            opened.gcs.create_bucket(archive)
            opened.bq.create_dataset(opened.config.data_mart.dataset)
            # The platform clears it on its tables.
            dataset = opened.bq.get_dataset(opened.config.data_warehouse.dataset)
            dataset.default_table_expiration_ms = 7 * 24 * 3600 * 1000
            opened.bq.update_dataset(dataset, ["default_table_expiration_ms"])
            yield opened


@contextmanager
def recorded(deployment: Deployment, calls: set[str]) -> Iterator[AllServices]:
    """Yield services that are recorded; add the methods that they call to `calls`."""
    with (
        recording(deployment.endpoints) as (endpoints, requests),
        open_services(deployment.config, endpoints) as services,
    ):
        yield services
        calls.update(*requests)


@contextmanager
def recorded_runs(deployment: Deployment, calls: set[str]) -> Iterator[AllServices]:
    """Do the same, and let the runs of this process share the services."""
    with (
        recording(deployment.endpoints) as (endpoints, requests),
        share_services(deployment.config, endpoints) as services,
    ):
        yield services
        calls.update(*requests)


@pytest.fixture(scope="module")
def calls(deployment: Deployment) -> dict[str, set[str]]:
    """Return the methods that each part calls while it does everything that it can do."""
    found: dict[str, set[str]] = {part: set() for part in PARTS}
    deployment.land("a.csv", make_file(*many_rows(3), make_row(product="")))
    deployment.land("refused.csv", b"no,header\n")
    with recorded_runs(deployment, found["sensors"]):
        _sense(deployment)
    # The sensor has created it, to look what is loaded.
    for table in deployment.bq.list_tables(deployment.config.data_warehouse.dataset):
        deployment.bq.delete_table(table)
    with recorded_runs(deployment, found["runs"]) as services:
        _run(deployment, services.of(deployment.feed()))
    with recorded(deployment, found["uploads"]) as services:
        app = create_app(Platform(config=deployment.config, services=services))
        with _served(app) as url:
            place = _receive(url)
            # Not as part of the service.
            deployment.materialize("anonymous/b.csv")
            assert requests.get(place, timeout=60).json()["state"] == "partly"
            assert requests.get(f"{url}/readyz", timeout=60).ok
    with recorded(deployment, found["metrics"]) as services:
        clients = services.of(deployment.feed()).clients
        billing_figures.read_figures(clients, deployment.config.data_warehouse, [deployment.feed()])
    with recorded(deployment, found["erasures"]) as services:
        own = services.of(deployment.feed())
        request = request_erasure(own, "transaction_id", "T0000001", by="a test")
        assert carry_out(own, request, say=lambda _: None).is_complete
    return found


def _sense(deployment: Deployment) -> None:
    definitions = build(deployment.config)
    resources = {"services": (definitions.resources or {})["services"]}
    with dg.build_sensor_context(deployment.instance, resources=resources) as context:
        assert definitions.resolve_sensor_def("new_landed_files")(context)


def _run(deployment: Deployment, own: Services) -> None:
    """Load and replace files with and without rejected rows, refuse one twice, do the upkeep, archive a file."""
    assert deployment.materialize("a.csv").success
    assert deployment.load("a.csv", *many_rows(2)).success
    for _ in range(2):
        assert not deployment.materialize("refused.csv", raise_on_error=False).success
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    for job in ("refresh_marts", "remove_old"):
        resolved = build(deployment.config).resolve_job_def(job)
        assert resolved.execute_in_process(instance=deployment.instance, run_config=quiet).success
    version = own.landing.latest("a.csv")
    assert own.archive
    assert version
    own.archive.keep(own.clients.storage.bucket(own.landing.bucket).get_blob(f"{own.landing.prefix}/a.csv"), version)


def _receive(url: str) -> str:
    """Upload a file and one that is refused, each with a key and twice; return where the status of the first is."""
    for name, content in (("c.csv", b"no,header\n"), ("b.csv", make_file(make_row(product=""), make_row()))):
        for _ in range(2):
            answer = requests.post(
                f"{url}/upload/transactions",
                files={"file": (name, content)},
                headers={"Prefer": "wait=0", "Idempotency-Key": name},
                timeout=60,
            )
    assert answer.status_code == 202
    return url + answer.headers["Location"]


@contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    """Serve the upload service in a thread; yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("part", PARTS)
def test_methods_of_each_part_are_documented(calls: dict[str, set[str]], part: str) -> None:
    """The table names a part in the rows of the methods that it calls, and in no other row."""
    assert calls[part] == {method for method, (_, parts) in DOCUMENTED.items() if part in parts}


@pytest.mark.parametrize("account", [CODE, UPLOADS, METRICS])
def test_permissions_of_the_methods_are_granted(account: str) -> None:
    """The accounts have the permissions of the methods of their parts, and docs/deploy.md lists no other one."""
    own = {part for part, of in PARTS.items() if of == account}
    documented = {permission for permissions, parts in DOCUMENTED.values() if parts & own for permission in permissions}

    assert documented == {need.permission for need in needs() if need.account == account and need.where != LOGS}
