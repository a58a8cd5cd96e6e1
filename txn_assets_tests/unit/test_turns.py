"""Turns at the embedded BigQuery (`stores/bigquery/turns.py`), between processes of this machine."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from txn_assets.stores.access import Access
from txn_assets.stores.bigquery.turns import turn

EMBEDDED = Access(project_id="p", location="EU", bigquery_url="http://127.0.0.1:9", postgres={})
SERVICE = Access(project_id="p", location="EU", postgres={})

HOLD = """
import sys
from txn_assets_tests.unit.test_turns import EMBEDDED, turn
with turn(EMBEDDED, "transactions"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the local stack of its own."""
    monkeypatch.setenv("TXN_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has its turn at the table `transactions`, until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout
        assert process.stdout.readline() == "held\n", home
        yield process
        process.kill()


def waiting() -> tuple[threading.Thread, threading.Event]:
    """Return a thread that waits for its turn, and an event that says when it has had it."""
    had = threading.Event()

    def take() -> None:
        with turn(EMBEDDED, "transactions"):
            had.set()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    return thread, had


def test_second_load_waits(holder: subprocess.Popen[str]) -> None:
    """A load waits while another process has its turn at the table, and goes on when that ends."""
    thread, had = waiting()
    assert not had.wait(0.5)
    holder.communicate("")
    thread.join(30)
    assert had.is_set()


def test_dead_process_has_no_turn(holder: subprocess.Popen[str]) -> None:
    """The turn of a killed process ends with it."""
    thread, had = waiting()
    assert not had.wait(0.5)
    holder.send_signal(signal.SIGKILL)
    thread.join(30)
    assert had.is_set()


def test_other_table_does_not_wait(holder: subprocess.Popen[str]) -> None:
    """Loads of other tables do not wait."""
    with turn(EMBEDDED, "refunds"):
        assert holder.poll() is None


def test_service_has_no_turns(home: Path) -> None:
    """With BigQuery itself, nothing is locked: it cancels the later transaction."""
    with turn(SERVICE, "transactions"):
        assert list(home.iterdir()) == []
