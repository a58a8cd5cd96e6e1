"""The local stack as its users see it: up, once, whoever comes first.

Here belong starting, stopping and asking. How a server is started is the supervisor's; what lies in it is seeding's.
State lies in TXN_HOME: `stack.json` names the endpoints, `logs/` holds a log a server.
"""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from txn_assets.config import PipelineConfig, project_root
from txn_assets.local.supervisor import postgres_answers, process_start

LOG_TAIL_LINES = 15
START_SECONDS = 150.0
STOP_SECONDS = 40.0


class LocalStackError(Exception):
    """The local stack cannot be used; the message is a sentence, and the end of a log where there is one."""


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What must be there once the stack is up."""

    project_id: str
    dataset: str
    location: str
    bucket: str
    landing: str
    data: Path
    postgres_dbname: str
    postgres_user: str


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where the servers are."""

    gcs_url: str
    bigquery_url: str
    postgres_host: str
    postgres_port: int
    postgres_user: str
    postgres_password: str
    postgres_dbname: str

    @property
    def postgres_dsn(self) -> str:
        """The address of the database, for psql and drivers."""
        login = f"{quote(self.postgres_user)}:{quote(self.postgres_password)}"
        return f"postgresql://{login}@{self.postgres_host}:{self.postgres_port}/{quote(self.postgres_dbname)}"


def seed_from(config: PipelineConfig) -> Seed:
    """What `config` wants to find."""
    warehouse = config.data_warehouse
    return Seed(
        project_id=warehouse.project_id,
        dataset=warehouse.dataset,
        location=warehouse.location,
        bucket=config.data_lake.gcs_bucket,
        landing=config.data_lake.landing,
        data=project_root() / "data",
        postgres_dbname=warehouse.postgres.dbname,
        postgres_user=warehouse.postgres.user,
    )


def ensure_up(home: Path, seed: Seed) -> Endpoints:
    """The endpoints of the stack below `home`, which is started and seeded if it is not.

    Raises:
        LocalStackError: a server does not come up, or the embedded servers are not installed.
    """
    if (endpoints := _healthy(home)) and _is_seeded(home, seed):
        return endpoints
    with _locked(home):
        endpoints = _healthy(home)
        if endpoints is None:
            _stop(home)
            endpoints = _start(home, seed)
            (home / "seeded.json").unlink(missing_ok=True)
        if not _is_seeded(home, seed):
            from txn_assets.local.seeding import plant  # noqa: PLC0415 - the clients load in a second

            plant(endpoints, seed, home)
            _note_seeded(home, seed)
        return endpoints


def down(home: Path) -> bool:
    """Stops the stack below `home` and waits until its processes are gone; whether there was one."""
    if not home.is_dir():
        return False
    with _locked(home):
        return _stop(home)


@dataclass(frozen=True)
class ServerStatus:
    """How a server is."""

    name: str
    address: str
    up: bool
    log: Path


def status(home: Path) -> list[ServerStatus]:
    """How the three servers are."""
    endpoints = _endpoints(home)
    addresses = {"gcs": "", "bigquery": "", "postgres": ""}
    health = dict.fromkeys(addresses, False)
    if endpoints:
        postgres = f"postgresql://{endpoints.postgres_host}:{endpoints.postgres_port}/{endpoints.postgres_dbname}"
        addresses = {"gcs": endpoints.gcs_url, "bigquery": endpoints.bigquery_url, "postgres": postgres}
        health = _health(endpoints)
    return [ServerStatus(name, addresses[name], health[name], home / "logs" / f"{name}.log") for name in addresses]


def _start(home: Path, seed: Seed) -> Endpoints:
    python = project_root() / ".venv-servers" / "bin" / "python"
    if not python.exists():
        message = f"The embedded servers are not installed ({python.parent.parent} is missing): run `make setup`."
        raise LocalStackError(message)
    for name in ("stack.json", "stack-error.json"):
        (home / name).unlink(missing_ok=True)
    settings = {
        "project_id": seed.project_id,
        "dataset": seed.dataset,
        "postgres_user": seed.postgres_user,
        "postgres_dbname": seed.postgres_dbname,
    }
    (home / "logs").mkdir(exist_ok=True)
    log = home / "logs" / "supervisor.log"
    with log.open("ab") as output:
        # A session and files of its own: it outlives the command that needs it first, and holds no pipe of it open.
        process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("supervisor.py")), str(home), json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home,
            start_new_session=True,
        )
    end = time.monotonic() + START_SECONDS
    while (endpoints := _endpoints(home)) is None:
        if process.poll() is not None:
            raise _not_up(home, log)
        if time.monotonic() > end:
            process.terminate()
            raise _not_up(home, log)
        time.sleep(0.02)
    return endpoints


def _not_up(home: Path, log: Path) -> LocalStackError:
    server, reason = "the supervisor of the embedded servers", "it ended"
    with contextlib.suppress(OSError, ValueError):
        report = json.loads((home / "stack-error.json").read_text())
        server, reason, log = f"the embedded {report['server']} server", report["reason"], Path(report["log"])
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        tail = "\n".join(f"    {line}" for line in lines)
        return LocalStackError(f"Cannot start {server}: {reason}. The end of {log}:\n{tail}")
    return LocalStackError(f"Cannot start {server}: {reason}.")


def _stop(home: Path) -> bool:
    state = _state(home)
    (home / "stack.json").unlink(missing_ok=True)
    pid, started = state.get("supervisor_pid"), state.get("supervisor_started")
    # The pid alone could by now name another process.
    if pid is None or process_start(pid) != started:
        return False
    pids = {number: process_start(number) for number in (pid, *state.get("pids", {}).values())}
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while any(start is not None and process_start(number) == start for number, start in pids.items()):
        if time.monotonic() > end:
            message = f"The local stack (pid {pid}) does not stop: end it with `kill -9 {pid}`."
            raise LocalStackError(message)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)
    return True


def _state(home: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return content


def _endpoints(home: Path) -> Endpoints | None:
    state = _state(home)
    if not state:
        return None
    return Endpoints(**{field.name: state[field.name] for field in fields(Endpoints)})


def _healthy(home: Path) -> Endpoints | None:
    endpoints = _endpoints(home)
    return endpoints if endpoints and all(_health(endpoints).values()) else None


def _health(endpoints: Endpoints) -> dict[str, bool]:
    """Whether each server answers. They are asked, not looked up by pid: they may run in another container."""
    with ThreadPoolExecutor(3) as executor:
        answers = {
            "gcs": executor.submit(_http_answers, endpoints.gcs_url, "/_internal/healthcheck"),
            "bigquery": executor.submit(_http_answers, endpoints.bigquery_url, "/bigquery/v2/projects"),
            "postgres": executor.submit(postgres_answers, endpoints.postgres_host, endpoints.postgres_port),
        }
        return {name: answer.result() for name, answer in answers.items()}


def _http_answers(url: str, path: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_seeded(home: Path, seed: Seed) -> bool:
    try:
        seeds = json.loads((home / "seeded.json").read_text())
    except (OSError, ValueError):
        return False
    return _seed_json(seed) in seeds


def _note_seeded(home: Path, seed: Seed) -> None:
    path = home / "seeded.json"
    seeds = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*seeds, _seed_json(seed)]))


def _seed_json(seed: Seed) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(seed).items()}


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(home / "stack.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"Cannot use {home} for the local stack: {error.strerror}. Set TXN_HOME to a folder you may write to."
        raise LocalStackError(message) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
