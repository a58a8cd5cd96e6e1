"""Uploads over HTTP whose service is killed, and many uploads at once: nothing half lands, and nothing lands twice.

A process that has done the imports forks each service, so that a try takes a second.
"""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path

import requests

from txn_assets.config import load_config
from txn_assets.local import ports
from txn_assets_tests.deployment import Deployment, make_file, many_rows
from txn_assets_tests.faults.bench import Difference, Tally
from txn_assets_tests.upload.many import upload_at_once
from txn_assets_tests.upload.server import NO_DAGSTER, serving

STORE = "upload service"
SETTINGS = {
    "security": {"authentication": "none"},
    "upload": {"max_uploads": 200, "max_uploads_per_subject": 200},
}
HUNG_SECONDS = 60.0
CSV = {"Content-Type": "text/csv", "Prefer": "wait=0"}


def kill_uploads(deployment: Deployment, draw: random.Random, *, tries: int) -> Tally:
    """Kill the service at moments spread over an upload: the name has the old file or the new one, whole."""
    tally = Tally(STORE, "SIGKILL")
    old, new = (b"".join([make_file(*many_rows(200_000, price=price))] * 4) for price in ("1.50", "2.50"))
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["txn_assets.upload.app", "txn_assets.stores.landing.upload"])
    with _service(forks) as (url, _):
        assert _upload(url, old) == 202
        started = time.monotonic()
        assert _upload(url, new) == 202
        took = time.monotonic() - started
    landed = new
    others = _objects(deployment)
    for turn in range(tries):
        sent = old if landed is new else new
        with _service(forks) as (url, pid):
            instant = took * (turn + draw.random()) / tries
            killer = threading.Timer(instant, os.kill, (pid, signal.SIGKILL))
            killer.start()
            status = _upload(url, sent)
            killer.join()
        found = _content(deployment)
        accepted_is_lost = status == 202 and found != sent
        note = "" if found in (old, new) else f"half a file of {len(found)} bytes after {instant:.2f} s"
        left = _objects(deployment) - others
        tally.add(Difference(lost=int(accepted_is_lost), twice=0), (f"{name} was left behind" for name in left), note)
        landed = found if found in (old, new) else landed
    return tally


def race_uploads(deployment: Deployment, *, count: int) -> Tally:
    """Send many files at once, some of them cut short or damaged, and load what landed."""
    tally = Tally(STORE, f"{count} at once")
    before = _objects(deployment)
    log = deployment.config_path.with_name("upload.log")
    with ThreadPoolExecutor(count) as threads, serving(deployment, log) as service:
        started = time.monotonic()
        accepted = upload_at_once(service, threads, count)
        seconds = time.monotonic() - started
    prefix = f"{deployment.config.data_lake.landing}/"
    strange = _objects(deployment) - before - {f"{prefix}{name}" for name in accepted}
    deployment.materialize_batch(*accepted)
    for name, content in accepted.items():
        rows, sent = len(deployment.rows_everywhere(name)), content.count(b"\n") - 1
        tally.add(
            Difference(lost=max(sent - rows, 0), twice=max(rows - sent, 0)),
            (f"{name} was left behind" for name in strange),
            seconds=seconds,
        )
    return tally


@contextmanager
def _service(forks: ForkServerContext) -> Iterator[tuple[str, int]]:
    port = ports.choose(("upload",), {})["upload"]
    process = forks.Process(target=_serve, args=(str(port), dict(os.environ)))
    process.start()
    assert process.pid
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(url)
        yield url, process.pid
    finally:
        process.kill()
        process.join()


def _serve(port: str, environment: dict[str, str]) -> None:
    """Run in the forked process."""
    os.environ |= environment | {"TXN_DAGSTER_URL": NO_DAGSTER}
    from txn_assets.upload.server import serve

    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        serve(load_config(), port)


def _wait_until_up(url: str) -> None:
    deadline = time.monotonic() + HUNG_SECONDS
    while time.monotonic() < deadline:
        with suppress(requests.ConnectionError):
            if requests.get(f"{url}/openapi.json", timeout=10).ok:
                return
        time.sleep(0.02)
    message = "the upload service did not start"
    raise RuntimeError(message)


def _upload(url: str, content: bytes) -> int | None:
    """Upload the file, and return the status; None if there was no answer."""
    try:
        response = requests.post(f"{url}/ingest?name=killed.csv", data=content, headers=CSV, timeout=HUNG_SECONDS)
    except requests.ConnectionError:
        return None
    return response.status_code


def _content(deployment: Deployment) -> bytes:
    blob = deployment.bucket.blob(f"{deployment.config.data_lake.landing}/anonymous/killed.csv")
    return bytes(blob.download_as_bytes())


def _objects(deployment: Deployment) -> set[str]:
    return {blob.name for blob in deployment.bucket.list_blobs()}
