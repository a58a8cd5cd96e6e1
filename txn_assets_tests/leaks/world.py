"""A folder that has everything the platform writes: TXN_HOME, temporary files, home, and the output of each command."""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from txn_assets.environment import project_root, servers_environment
from txn_assets_tests.deployment import make_config
from txn_assets_tests.leaks.defect import Swapped

COMMAND_SECONDS = 240.0
COMMANDS_AT_ONCE = 2


@dataclass
class World:
    """The folder and the environment of the commands.

    Attributes:
        sent: the files that people send; not searched.
        code: the folder with the package to run.
    """

    top: Path
    code: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), init=False)

    def __post_init__(self) -> None:
        for folder in (self.home, self.sent, self.outputs, self.empty, self.temporary, self.user):
            folder.mkdir(parents=True)
        make_config(self.config, {"feeds": {"refunds": {}, "swapped": {"model": f"{Swapped.__module__}:Swapped"}}})

    @property
    def home(self) -> Path:
        """TXN_HOME."""
        return self.top / "txn"

    @property
    def sent(self) -> Path:
        """The files that people send."""
        return self.top / "sent"

    @property
    def outputs(self) -> Path:
        """What commands printed and servers answered."""
        return self.top / "outputs"

    @property
    def empty(self) -> Path:
        """The folder in which commands run, and where the kernel writes core dumps."""
        return self.top / "cwd"

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return self.top / "tmp"

    @property
    def user(self) -> Path:
        """HOME."""
        return self.top / "user"

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.top / "pipeline_config.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TXN_", "DAGSTER_"))}
        return kept | {
            # The row model of the feed `swapped` is among the tests.
            "PYTHONPATH": os.pathsep.join(map(str, (self.code, project_root()))),
            "TXN_HOME": str(self.home),
            "TXN_TARGET": "local",
            "TXN_SERVERS_VENV": str(servers_environment()),
            "TXN_CONFIG": str(self.config),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "TMPDIR": str(self.temporary),
            "HOME": str(self.user),
        }

    def send(self, name: str, content: bytes) -> Path:
        """Write a file that somebody sends."""
        path = self.sent / name
        path.write_bytes(content)
        return path

    def output(self, name: str) -> Path:
        """Return a new file for what a command prints or a server answers."""
        return self.outputs / f"{next(self._numbers):03d}-{re.sub(r'[^A-Za-z0-9.-]+', '-', name)[:80]}.log"

    def txn(
        self, *arguments: str, check: bool = False, given: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> Path:
        """Run a `txn` command to its end, with `given` as its input, and return the file with what it printed."""
        output = self.output(f"txn-{'-'.join(Path(one).name for one in arguments)}")
        with self.started(*arguments, output=output, environment=environment) as process:
            process.communicate(given, COMMAND_SECONDS)
        code = process.returncode
        if check and code:
            message = f"txn {arguments[0]} ended with {code}:\n{output.read_text(errors='replace')}"
            raise RuntimeError(message)
        return output

    def all_txn(self, *commands: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run `txn` commands, some of them at once."""
        with ThreadPoolExecutor(COMMANDS_AT_ONCE) as threads:
            for _ in threads.map(lambda command: self.txn(*command, environment=environment), commands):
                pass

    @contextmanager
    def started(
        self, *arguments: str, output: Path, environment: Mapping[str, str] | None = None
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """Start a `txn` command in a session of its own, with core dumps allowed, and kill what is left of it."""
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "txn_assets.cli", *arguments],
                cwd=self.empty,
                env=self.environment | {**(environment or {})},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_allow_core_dumps,  # noqa: PLW1509 - it only makes a system call
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def down(self) -> None:
        """Stop the local servers."""
        subprocess.run(
            [sys.executable, "-m", "txn_assets.local", "down"], cwd=self.empty, env=self.environment, check=False
        )


def wait_for(what: str, condition: Callable[[], bool], *, seconds: float) -> None:
    """Return once `condition()` is true.

    Raises:
        RuntimeError: it was not true within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what} did not happen within {seconds:.0f} s"
            raise RuntimeError(message)
        time.sleep(0.5)


def _allow_core_dumps() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
