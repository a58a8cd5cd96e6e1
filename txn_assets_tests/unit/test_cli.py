"""The command line of `txn`: its help, and what it says to a command line that is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from txn_assets.cli import local_main, main


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command, the help shows one line with an example per command."""
    assert main([]) == 0

    lines = capsys.readouterr().out.splitlines()
    named = ("run", "status", "replay", "rotate", "check", "contract", "dev", "upload", "up", "env", "token", "down")
    for command in named:
        (line,) = [line for line in lines if line.startswith(f"  {command} ")]
        assert f"txn {command}" in line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["start"], "txn: argument COMMAND: invalid choice: 'start'"),
        (["up", "now"], "txn: unrecognized arguments: now"),
        (["up", "--listen"], "txn up: argument --listen: expected one argument"),
        (["replay", "--failed", "--rules-changed"], "txn replay: argument --rules-changed: not allowed with"),
        (["token", "--minutes", "0"], "txn token: argument --minutes: '0' is not a positive whole number"),
    ],
)
def test_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    """A wrong command line gets one line that says where to read more, and exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert "--help`" in error
    assert error.count("\n") == 1


def test_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What cannot be done is reported in one sentence, with exit code 1."""
    monkeypatch.setenv("TXN_HOME", str(tmp_path / "home"))

    assert local_main(["status"]) == 1

    assert capsys.readouterr().err.endswith("are not running. Start them with `txn up`.\n")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("module", ["txn_assets.run", "txn_assets.local", "txn_assets.defs.dev"])
def test_modules(module: str) -> None:
    """`python -m` reaches the same commands."""
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")


def test_light_start() -> None:
    """`txn up` and the like do not wait for Dagster and the clients of the stores to be imported."""
    code = "import sys, txn_assets.cli; print({'dagster', 'google.cloud', 'psycopg', 'pyarrow'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
