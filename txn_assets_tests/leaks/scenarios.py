"""What people do with the platform, with planted ids in every file."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from txn_assets.config import load_config
from txn_assets.feeds.configured import feeds_of
from txn_assets.local import ports
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.stack import ensure_up
from txn_assets_tests.leaks import plants as files
from txn_assets_tests.leaks.plants import Plants
from txn_assets_tests.leaks.world import World, wait_for

KILLED_ROWS = 100_000
KILLED_AFTER = (3.0, 4.5, 6.0, 8.0)
"""Seconds after which a load is killed. A `txn run` takes two to three to begin."""
LOAD_SECONDS = 180.0


def endpoints(world: World) -> Endpoints:
    """Return the addresses of the servers, which run."""
    return ensure_up(world.home, seed_from(load_config(world.config)))


def by_command(world: World, plants: Plants) -> None:
    """Load files by command, with text and JSON as output, replace one, and erase a person."""
    mixed = files.mixed(plants, "mixed.csv")
    path = str(world.send("mixed.csv", mixed))
    world.txn("run", path, check=True)
    world.send("mixed.csv", mixed.replace(b"Halal Laptop", b"Halal Desk"))
    in_json = str(world.send("json.csv", files.mixed(plants, "json.csv")))
    refunds = str(world.send("refunds.csv", files.refunds(plants)))
    world.all_txn(
        ["run", path],
        ["run", "--json", in_json],
        ["run", "--feed", "refunds", refunds],
        environment={"TXN_LOG_FORMAT": "json"},
    )
    (person,) = mixed.splitlines()[1].split(b",")[:1]
    erased = world.txn("erase", "--feed", "transactions", "--field", "transaction_id", given=person)
    if b"-1" not in erased.read_bytes():
        message = f"the erasure failed:\n{erased.read_text()}"
        raise RuntimeError(message)
    world.all_txn(["erase", "list"], ["erase", "verify"], ["status", "mixed.csv"], ["status", "--json"])


def by_sender(world: World, plants: Plants) -> None:
    """Try and explain good and bad files, and load those that are refused as a whole."""
    mixed = str(world.send("tried.csv", files.mixed(plants, "tried.csv")))
    explained = (["check", "--explain", str(row), mixed] for row in (1, 33, 47, 52))
    bad = {name: str(world.send(name, content)) for name, content in files.refused(plants).items()}
    world.all_txn(["check", mixed], ["check", "--json", mixed], *explained, *(["check", path] for path in bad.values()))
    # The others are uploaded.
    world.all_txn(*(["run", bad[name]] for name in ("none-valid.csv", "no-header.csv", "page.csv")))


def with_a_defect(world: World, plants: Plants) -> None:
    """Load a file with a row model whose defect makes Arrow raise an error that quotes the id."""
    path = str(world.send("swapped.csv", files.swapped(plants)))
    output = world.txn("run", "--feed", "swapped", path)
    if b"validated_swapped failed with Arrow" not in output.read_bytes():
        message = f"the load did not fail in Arrow:\n{output.read_text()}"
        raise RuntimeError(message)
    world.txn("check", "--feed", "swapped", path)


def refused_by_the_database(world: World, plants: Plants) -> None:
    """Load rows that PostgreSQL refuses, for a constraint and for a type: its messages quote the row."""
    table = f"{load_config(world.config).data_warehouse.postgres.schema_}.transactions"
    with psycopg.connect(endpoints(world).postgres_dsn, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT halal CHECK (product <> 'Forbidden')")
        content = files.mixed(plants, "forbidden.csv").replace(b"Halal Laptop", b"Forbidden")
        output = world.txn("run", str(world.send("forbidden.csv", content)))
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT halal")
    if b"halal" not in output.read_bytes():
        message = f"PostgreSQL did not refuse a row:\n{output.read_text()}"
        raise RuntimeError(message)


def killed(world: World, plants: Plants) -> None:
    """Kill loads at several moments, every other one by a signal that dumps core, and load the file at the end."""
    path = world.send("killed.csv", files.many(plants, "killed.csv", KILLED_ROWS))
    for number, after in enumerate(KILLED_AFTER):
        sent = signal.SIGSEGV if number % 2 else signal.SIGKILL
        with world.started("run", str(path), output=world.output(f"killed-{number}")) as process:
            time.sleep(after)
            os.kill(process.pid, sent)
            process.wait()
    world.txn("run", str(path), check=True)


def by_upload(world: World, plants: Plants) -> None:
    """Upload good and bad files, drop some into the bucket and load some again, while Dagster runs beside the service.

    Alerts go to a webhook, and Prometheus asks for the metrics.
    """
    (token,) = world.txn("token", check=True).read_text().splitlines()[-1:]
    numbers = ports.choose(("upload", "metrics"), {})
    url, metrics = (f"http://127.0.0.1:{numbers[name]}" for name in ("upload", "metrics"))
    answers = world.output("answers")

    def ask(method: str, url: str, headers: Mapping[str, str] | None = None, **options: Any) -> requests.Response:
        sent = {"Authorization": f"Bearer {token}"} | {**(headers or {})}
        response = requests.request(method, url, headers=sent, timeout=90, **options)
        with answers.open("ab") as file:
            file.write(f"{response.status_code} {dict(response.headers)}\n".encode() + response.content + b"\n")
        return response

    def is_up() -> bool:
        try:
            return all(requests.get(one, timeout=5).ok for one in (f"{url}/healthz", f"{metrics}/metrics"))
        except requests.ConnectionError:
            return False

    def is_over(location: str) -> bool:
        return ask("GET", f"{url}{location}").json()["state"] not in ("landed", "queued", "running")

    with (
        _receiver(world) as webhook,
        world.started(
            "upload",
            str(numbers["upload"]),
            output=world.output("txn-upload"),
            environment={"TXN_ALERT_WEBHOOK": webhook.url},
        ) as service,
        world.started("metrics", str(numbers["metrics"]), output=world.output("txn-metrics")) as exporter,
    ):
        wait_for("the start of the upload service and the exporter", is_up, seconds=LOAD_SECONDS)
        _drop(world, "dropped.csv", files.mixed(plants, "dropped.csv"))
        content = files.mixed(plants, "uploaded.csv")
        key = {"Idempotency-Key": '"leaks-1"'}
        first = ask("POST", f"{url}/ingest", files={"file": ("uploaded.csv", content)}, headers=key)
        if not first.ok:
            message = f"the upload was refused: {first.status_code} {first.text}"
            raise RuntimeError(message)
        ask("POST", f"{url}/ingest", files={"file": ("uploaded.csv", content + b"\n")}, headers=key)
        at_once = {"Content-Type": "text/csv", "Prefer": "wait=0"}
        wrong = at_once | {"Content-Digest": "sha-256=:AAAA:"}
        ask("POST", f"{url}/ingest?name=wrong.csv", data=files.mixed(plants, "wrong digest"), headers=wrong)
        sent = [
            ask("POST", f"{url}/ingest?name={name}", data=refused, headers=at_once)
            for name, refused in files.refused(plants).items()
        ]
        for response in sent:
            if location := response.headers.get("Location"):
                wait_for(f"the end of {location}", lambda at=location: is_over(at), seconds=LOAD_SECONDS)  # type: ignore[misc]
        wait_for("the load of the dropped file", _is_loaded(world, "dropped.csv"), seconds=LOAD_SECONDS)
        world.all_txn(["replay", "uploaded.csv"], ["replay", "--failed"], ["status", "dropped.csv"], ["status"])
        wait_for("an alert", lambda: webhook.messages > 0, seconds=LOAD_SECONDS)
        for one in (f"{url}/metrics", f"{url}/", f"{url}/openapi.json", f"{metrics}/metrics"):
            ask("GET", one)
        for process in (service, exporter):
            process.send_signal(signal.SIGTERM)
            process.wait(LOAD_SECONDS)


def _drop(world: World, name: str, content: bytes) -> None:
    """Write a file into the landing zone, as an upstream system does."""
    config = load_config(world.config)
    client = storage.Client(
        config.data_warehouse.project_id,
        AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google-auth is untyped
        client_options={"api_endpoint": endpoints(world).gcs_url},
    )
    blob = client.bucket(config.data_lake.gcs_bucket).blob(f"{config.data_lake.landing}/{name}")
    blob.upload_from_string(content, content_type="text/csv")


@dataclass
class _Receiver:
    """An HTTP server that keeps the alerts that it gets."""

    url: str = ""
    messages: int = 0


@contextmanager
def _receiver(world: World) -> Iterator[_Receiver]:
    found, output = _Receiver(), world.output("webhook")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with output.open("ab") as file:
                file.write(body + b"\n")
            found.messages += 1
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the terminal quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_address[1]}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


def _is_loaded(world: World, name: str) -> Callable[[], bool]:
    schema = load_config(world.config).data_warehouse.postgres.schema_

    def condition() -> bool:
        with psycopg.connect(endpoints(world).postgres_dsn) as connection:
            found = connection.execute(
                f"SELECT count(*) FROM {schema}.transactions_loads WHERE source_file = %s", [name]
            ).fetchone()
            return bool(found and found[0])

    return condition


SCENARIOS = (by_command, by_sender, with_a_defect, refused_by_the_database, killed, by_upload)


def landing_folders(world: World) -> list[Path]:
    """Return where the local GCS keeps the landed objects, which may hold clear ids."""
    config = load_config(world.config)
    bucket = world.home / "stack" / "gcs" / config.data_lake.gcs_bucket
    return [bucket / feed.landing for feed in feeds_of(config)]
