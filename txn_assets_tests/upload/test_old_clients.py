"""The answers that clients of the service before this platform know, with the service's own Dagster and its sensor."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import requests
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from txn_assets.cli import main
from txn_assets.environment import project_root, txn_home
from txn_assets.files.arrival import RELOAD_TAG, RUN_KEY_TAG, SENSOR
from txn_assets.files.ledger import FileVersion
from txn_assets.local import dagster_dev
from txn_assets.local.home import locked
from txn_assets.runs.dagster_client import DagsterClient, DagsterError
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.upload.conftest import Sign
from txn_assets_tests.upload.server import Service, serving

SECONDS = 150.0
CONFIG = {"upload": {"wait_seconds": 120}}
"""On a machine with other tests, a load may take longer than by default."""


@pytest.fixture(scope="module")
def with_dagster(module_deployment: Deployment, sign: Sign) -> Iterator[Service]:
    """Yield a service that starts Dagster beside it, as soon as it listens. Before that, another `txn dev` ends."""
    log = module_deployment.config_path.with_name("upload.log")
    folder = txn_home() / "dagster"
    folder.mkdir(exist_ok=True)
    (folder / "dev.log").unlink(missing_ok=True)
    other = threading.Thread(target=_hold_until_awaited, args=[folder])
    other.start()
    wait_until((folder / "dev.log").exists)
    with serving(module_deployment, log, {"TXN_DAGSTER_URL": ""}) as opened:
        opened.token = sign(subject="local")["Authorization"].removeprefix("Bearer ")
        yield opened
    other.join()


def _hold_until_awaited(folder: Path) -> None:
    """Hold the lock of a `txn dev` that shuts down, until another one waits for it."""
    with locked(folder / "dev.lock"):
        log = folder / "dev.log"
        log.touch()
        wait_until(lambda: "starts when it has ended" in log.read_text())


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


def upload(service: Service, name: str, content: bytes) -> requests.Response:
    """Upload a file and wait for its result."""
    return service.post("/ingest", files={"file": (name, content)})


def runs_of(instance: dg.DagsterInstance, version: str) -> list[dg.DagsterRun]:
    """Return the runs with the run key of a file version."""
    return list(instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: version})))


def wait_until(condition: Callable[[], bool], *, pause: float = 0.2) -> None:
    """Return once `condition` holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def test_first_upload(with_dagster: Service, instance: dg.DagsterInstance) -> None:
    """The command in docs/upload.md, sent as soon as the service listens, is answered with the number of valid rows.

    One run loads the file, which the status names.
    """
    page = (project_root() / "docs" / "upload.md").read_text()
    (command,) = re.findall(r"^    (curl -F file=@data.*)$", page, re.MULTILINE)
    command = command.replace("http://127.0.0.1:8000", with_dagster.url)
    command = command.replace("$(txn ", f"$({Path(sys.executable).with_name('txn')} ")

    done = subprocess.run(
        ["sh", "-c", f"{command} -sS -D -"], cwd=project_root(), capture_output=True, text=True, check=True
    )

    headers, _, body = done.stdout.replace("\r", "").rpartition("\n\n")
    assert (body, " 200 " in headers) == ('{"status":"success","processed":4}', True), done.stdout
    (location,) = re.findall(r"(?im)^location: (.*)$", headers)
    (run,) = runs_of(instance, location.removeprefix("/uploads/"))
    found = with_dagster.get(location).json()
    assert found["state"] == "partly"
    assert found["run"] == {"id": run.run_id, "url": f"{dagster_dev.find(txn_home())}/runs/{run.run_id}"}


def test_no_valid_row(with_dagster: Service) -> None:
    """A file without a valid row is answered with the old error, and with 200."""
    error = upload(with_dagster, "bad.csv", make_file(make_row(product="")))
    assert (error.status_code, error.json()) == (200, {"status": "error", "message": "No valid transactions"})


def test_dagster_without_the_feed(with_dagster: Service) -> None:
    """A Dagster that did not load the assets of a feed is an error that leaves the file to the sensor."""
    feed = replace(with_dagster.deployment.feed(), name="unknown")
    assert not dagster_of_service().has(feed)
    with pytest.raises(DagsterError, match="without data"):
        dagster_of_service().request_run(feed, FileVersion("a.csv", 1, 1, ""))


def test_service_and_sensor_request_one_load(with_dagster: Service, instance: dg.DagsterInstance) -> None:
    """A file is loaded once, whether the service or the sensor is first, or both come at once."""
    deployment = with_dagster.deployment
    feed = deployment.feed()
    dagster = dagster_of_service()

    # The service is first: the sensor's next tick finds the file and its run.
    service_first = upload(with_dagster, "first.csv", make_file(make_row()))
    assert service_first.json() == {"status": "success", "processed": 1}
    # Both at once: the service asks while the sensor's tick is under way.
    generation = deployment.land("local/both.csv", make_file(make_row(transaction_id="T002")))
    wait_until(lambda: any(tick.timestamp > generation / 1_000_000 for tick in _ticks_of_sensor(instance)), pause=0.02)
    both = FileVersion("local/both.csv", generation, 1, "")
    dagster.request_run(feed, both)
    wait_until(lambda: _is_loaded(deployment, "local/both.csv"))
    wait_until(lambda: all(tick.status is not TickStatus.STARTED for tick in _ticks_of_sensor(instance)))
    # The sensor was first, and the service asks again.
    dagster.request_run(feed, both)

    assert len(runs_of(instance, service_first.headers["Location"].removeprefix("/uploads/"))) == 1
    runs = runs_of(instance, str(both))
    # If both asked in the same moment, the second run finds the file loaded.
    assert 1 <= len(runs) <= 2
    wait_until(lambda: all(run.is_finished for run in runs_of(instance, str(both))))
    ledger = deployment.pg.execute(
        f"SELECT run_id FROM {deployment.pg_table}_loads WHERE source_file = 'local/both.csv'"
    ).fetchall()
    assert len(ledger) == 1
    assert len(deployment.rows_everywhere("local/both.csv")) == 1


def _ticks_of_sensor(instance: dg.DagsterInstance) -> Sequence[InstigatorTick]:
    for state in instance.all_instigator_state():
        if state.instigator_name == SENSOR:
            return instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    return []


def _is_loaded(deployment: Deployment, name: str) -> bool:
    query = f"SELECT count(*) FROM {deployment.pg_table}_loads WHERE source_file = %s"
    row = deployment.pg.execute(query, [name]).fetchone()
    return bool(row and row[0])


def test_rotation(with_dagster: Service, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]) -> None:
    """`txn rotate run` has that Dagster load a file under another key again, as the nightly sweep would."""
    deployment = with_dagster.deployment
    assert upload(with_dagster, "rotated.csv", make_file(make_row(transaction_id="T003"))).ok
    ledger = f"{deployment.pg_table}_loads"
    deployment.pg.execute(f"UPDATE {ledger} SET key_id = 'older' WHERE source_file = 'local/rotated.csv'")
    assert main(["rotate", "status"]) == 3
    capsys.readouterr()

    assert main(["rotate", "run", "--limit", "1"]) == 0

    heading, version, address = capsys.readouterr().out.splitlines()
    assert heading == "Load again from transactions under key sha256 (files: 1)"
    assert version.startswith("  local/rotated.csv@")
    run = instance.get_run_by_id(address.rpartition("/")[2])
    assert run
    assert run.tags[RELOAD_TAG] == f"{deployment.feed().rules_id}/sha256"
    older = f"SELECT 1 FROM {ledger} WHERE key_id = 'older'"
    wait_until(lambda: not deployment.pg.execute(older).fetchall())
    assert main(["rotate", "status"]) == 0
    assert main(["rotate", "run"]) == 0
    assert capsys.readouterr().out.endswith("Nothing to load again in transactions.\n")
