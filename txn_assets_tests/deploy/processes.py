"""The pods' commands, run on this machine.

Commands and variables come from the values, the chart and the image; the caller replaces what only a cluster has (its
volumes, Google's services). The tests say what the processes must print and do.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from txn_assets_tests.deploy.values_files import Values, code_location

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def environment(values: Values, **own: str) -> dict[str, str]:
    """Return the variables of a code server or a run pod, with `own` in place of what a cluster provides.

    `PATH` and `HOME` are this machine's. The caller provides secrets and mounted files.
    """
    (block,) = re.findall(r"^ENV PATH=.*?[^\\]\n", (ROOT / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    image = dict(re.findall(r"(\w+)=(\S+)", block))
    machine = {"PATH": f"{BIN}:{os.defpath}", "HOME": os.environ.get("HOME", "/tmp"), "PYTHONPATH": str(ROOT)}  # noqa: S108 - the image's own default
    return {**image, **code_location(values)["env"], **machine, **own}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def code_server(values: Values, folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[int, Path]]:
    """Run the code server as the chart starts it, and yield its port and the file with its output."""
    location = code_location(values)
    port = free_port()
    # These are the chart's arguments except for the address, because nobody outside this machine should reach it.
    command = ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port), *location["dagsterApiGrpcArgs"]]
    image = f"{location['image']['repository']}:{location['image']['tag']}"
    with running(command, folder / "code-server.log", {**variables, "DAGSTER_CURRENT_IMAGE": image}) as log:
        wait_for(["dagster", "api", "grpc-health-check", "-p", str(port)], variables)
        yield port, log


@contextmanager
def running(command: Sequence[str], log: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """Run `command` until the block ends, its output and errors in `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            env=dict(variables),
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(command: Sequence[str], variables: Mapping[str, str], *, seconds: float = 120) -> None:
    """Repeat `command` until it succeeds, as the kubelet does with a probe."""
    deadline = time.monotonic() + seconds
    while True:
        done = execute(command, variables)
        if done.returncode == 0:
            return
        assert time.monotonic() < deadline, done.stderr + done.stdout
        time.sleep(0.5)


def execute(command: Sequence[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end."""
    return subprocess.run(
        [BIN / command[0], *command[1:]], env=dict(variables), capture_output=True, text=True, check=False
    )
