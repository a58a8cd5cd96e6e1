"""The answers that clients of the service before this platform know, with the service's own Dagster and its sensor."""

import time
from collections.abc import Callable, Iterator, Sequence

import dagster as dg
import pytest
import requests
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from txn_assets.environment import project_root, txn_home
from txn_assets.files.arrival import RUN_KEY_TAG, SENSOR
from txn_assets.files.ledger import FileVersion
from txn_assets.local import dagster_dev
from txn_assets.runs.dagster_client import DagsterClient, DagsterError
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.upload.server import Service, serving

SECONDS = 150.0
WAIT_SECONDS = 50


@pytest.fixture(scope="module")
def with_dagster(module_deployment: Deployment) -> Iterator[Service]:
    """Yield a service that starts Dagster beside it."""
    log = module_deployment.config_path.with_name("upload.log")
    with serving(module_deployment, log, {"TXN_DAGSTER_URL": ""}) as opened:
        wait_until(lambda: _dagster_answers(module_deployment), pause=0.5)
        yield opened


@pytest.fixture(scope="module")
def instance(with_dagster: Service) -> Iterator[dg.DagsterInstance]:
    """Yield the instance of that Dagster."""
    with dg.DagsterInstance.from_config(str(txn_home() / "dagster")) as opened:
        yield opened


def dagster_of_service() -> DagsterClient:
    """Return a client of that Dagster."""
    url = dagster_dev.find(txn_home())
    assert url
    return DagsterClient(url)


def upload(service: Service, path: str, name: str, content: bytes) -> requests.Response:
    """Upload a file and wait for its result, with the same idempotency key again if it takes longer than a request."""
    headers = {"Prefer": f"wait={WAIT_SECONDS}", "Idempotency-Key": f'"{name}"'}
    deadline = time.monotonic() + SECONDS
    while True:
        response = service.post(path, files={"file": (name, content)}, headers=headers)
        if response.status_code != 202 or time.monotonic() > deadline:
            return response


def _dagster_answers(deployment: Deployment) -> bool:
    try:
        return bool(dagster_dev.find(txn_home())) and bool(dagster_of_service().runs_of([(deployment.feed(), "a")]))
    except DagsterError:
        return False


def runs_of(instance: dg.DagsterInstance, version: str) -> list[dg.DagsterRun]:
    """Return the runs with the run key of a file version."""
    return list(instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: version})))


def wait_until(condition: Callable[[], bool], *, pause: float = 0.2) -> None:
    """Return once `condition` holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def test_old_answers(with_dagster: Service, instance: dg.DagsterInstance) -> None:
    """The sample is answered with the number of its valid rows, and a file without any with the old error: 200 both.

    Each is loaded by one run, which the status names.
    """
    sample = (project_root() / "data" / "transactions.csv").read_bytes()

    success = upload(with_dagster, "/upload/transactions", "transactions.csv", sample)
    error = upload(with_dagster, "/ingest", "bad.csv", make_file(make_row(product="")))

    assert (success.status_code, success.json()) == (200, {"status": "success", "processed": 4})
    assert (error.status_code, error.json()) == (200, {"status": "error", "message": "No valid transactions"})
    version = success.headers["Location"].removeprefix("/uploads/")
    (run,) = runs_of(instance, version)
    found = with_dagster.get(success.headers["Location"]).json()
    assert found["state"] == "partly"
    assert found["run"] == {"id": run.run_id, "url": f"{dagster_dev.find(txn_home())}/runs/{run.run_id}"}


def test_service_and_sensor_request_one_load(with_dagster: Service, instance: dg.DagsterInstance) -> None:
    """A file is loaded once, whether the service or the sensor is first, or both come at once."""
    deployment = with_dagster.deployment
    feed = deployment.feed()
    dagster = dagster_of_service()

    # The service is first: the sensor's next tick finds the file and its run.
    service_first = upload(with_dagster, "/ingest", "first.csv", make_file(make_row()))
    assert service_first.json() == {"status": "success", "processed": 1}
    # Both at once: the service asks while the sensor's tick is under way.
    generation = deployment.land("anonymous/both.csv", make_file(make_row(transaction_id="T002")))
    wait_until(lambda: any(tick.timestamp > generation / 1_000_000 for tick in _ticks_of_sensor(instance)), pause=0.02)
    both = FileVersion("anonymous/both.csv", generation, 1, "")
    dagster.request_run(feed, both)
    wait_until(lambda: _is_loaded(deployment, "anonymous/both.csv"))
    wait_until(lambda: all(tick.status is not TickStatus.STARTED for tick in _ticks_of_sensor(instance)))
    # The sensor was first, and the service asks again.
    dagster.request_run(feed, both)

    assert len(runs_of(instance, service_first.headers["Location"].removeprefix("/uploads/"))) == 1
    runs = runs_of(instance, str(both))
    # If both asked in the same moment, the second run finds the file loaded.
    assert 1 <= len(runs) <= 2
    wait_until(lambda: all(run.is_finished for run in runs_of(instance, str(both))))
    ledger = deployment.pg.execute(
        f"SELECT run_id FROM {deployment.pg_table}_loads WHERE source_file = 'anonymous/both.csv'"
    ).fetchall()
    assert len(ledger) == 1
    assert len(deployment.rows_everywhere("anonymous/both.csv")) == 1


def _ticks_of_sensor(instance: dg.DagsterInstance) -> Sequence[InstigatorTick]:
    for state in instance.all_instigator_state():
        if state.instigator_name == SENSOR:
            return instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    return []


def _is_loaded(deployment: Deployment, name: str) -> bool:
    query = f"SELECT count(*) FROM {deployment.pg_table}_loads WHERE source_file = %s"
    row = deployment.pg.execute(query, [name]).fetchone()
    return bool(row and row[0])
