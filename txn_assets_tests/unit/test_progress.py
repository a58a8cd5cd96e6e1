"""How far a stage has come, as the code that does the work counts it."""

import threading
from dataclasses import dataclass

import pytest

from txn_assets.files import progress
from txn_assets.files.progress import Stage, count_bytes, count_rows, counted, following, say


@dataclass
class Batch:
    num_rows: int


def ignore(_: Stage) -> None:
    """Do without reports."""


def test_nobody_follows() -> None:
    """Counting does nothing unless a stage is followed."""
    count_bytes(1)
    count_rows(1)
    say("working")
    assert [batch.num_rows for batch in counted([Batch(3)])] == [3]
    assert progress.active() == []


def test_share_of_a_file() -> None:
    """While a file is read, the share is that of its bytes; rows and what is being done are in the words."""
    with following(Stage("validated", "a.csv", size=200), ignore) as stage:
        count_bytes(50)
        count_rows(7)
        say("comparing the rows")
        assert progress.active() == [stage]
        assert stage.share == 0.25
        assert stage.in_words().startswith("25%, 7 rows, ")
        assert stage.in_words().endswith("comparing the rows")
    assert progress.active() == []


def test_rows_from_another_thread() -> None:
    """Batches count for the stage that was followed when they were handed over, as DuckDB takes them in its threads."""
    with following(Stage("hashed", "a.csv", rows=10), ignore) as stage:
        batches = counted([Batch(4), Batch(5)])
        thread = threading.Thread(target=lambda: list(batches))
        thread.start()
        thread.join()
        assert (stage.done_rows, stage.share) == (9, 0.9)


def test_a_retry_is_not_more_than_all() -> None:
    """Rows that are sent again after an error do not make more than 100 %."""
    with following(Stage("postgres", "a.csv", rows=10), ignore) as stage:
        count_rows(25)
        assert stage.share == 1.0


def test_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that only waits is reported on too, until it ends."""
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    reported = threading.Event()
    words = []

    def report(stage: Stage) -> None:
        words.append(stage.in_words())
        reported.set()

    with following(Stage("bigquery", "a.csv", rows=10), report):
        say("waiting for the load job")
        assert reported.wait(10)
    count = len(words)
    assert "waiting for the load job" in words
    assert len(words) == count
