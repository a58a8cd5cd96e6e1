"""A BigQuery job id names one piece of work: started once, joined if its response was lost, superseded if it failed.

The embedded server cannot lose a response on demand; a fake with the client's method names can.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound, ServiceUnavailable

from txn_assets.stores.bigquery import jobs as jobs_module
from txn_assets.stores.bigquery.jobs import Costs, Jobs
from txn_assets.stores.retries import Budget

ONCE = {"retry": None, "timeout": 1.0}


@dataclass
class FakeJob:
    job_id: str
    error_result: dict[str, str] | None = None
    polls: int = 0
    total_bytes_billed: int | None = None
    slot_millis: int | None = None

    def done(self, **_: Any) -> bool:
        self.polls += 1
        return self.polls > 1

    def exception(self) -> Exception | None:
        return NotFound(self.error_result["message"]) if self.error_result else None  # type: ignore[no-untyped-call]  # google-api-core is untyped


@dataclass
class FakeClient:
    """A client that accepts each job id once."""

    jobs: dict[str, FakeJob] = field(default_factory=dict)
    loses_answers: int = 0

    def get_job(self, job_id: str, **_: Any) -> FakeJob:
        return self.jobs[job_id]

    def start(self, job_id: str) -> FakeJob:
        if job_id in self.jobs:
            raise Conflict("Already Exists: Job")  # type: ignore[no-untyped-call]  # google-api-core is untyped
        self.jobs[job_id] = FakeJob(job_id)
        if self.loses_answers:
            self.loses_answers -= 1
            raise ServiceUnavailable("the answer was lost")  # type: ignore[no-untyped-call]  # google-api-core is untyped
        return self.jobs[job_id]


def run(client: FakeClient, **options: Any) -> None:
    Jobs(client, ONCE).run("work", client.start, **options)  # type: ignore[arg-type]  # a fake


def test_new_job_is_waited_for() -> None:
    """A job that nobody has started gets the first suffix and is waited for."""
    client = FakeClient()

    run(client)

    assert {name: job.polls for name, job in client.jobs.items()} == {"work_0": 2}


def test_existing_job_is_joined() -> None:
    """A job id that already exists (409) is waited for instead of started again."""
    client = FakeClient(jobs={"work_0": FakeJob("work_0")})

    run(client)

    assert set(client.jobs) == {"work_0"}
    assert client.jobs["work_0"].polls >= 2


def test_lost_response_does_not_load_twice() -> None:
    """The next attempt joins a job that was accepted but whose response was lost."""
    client = FakeClient(loses_answers=1)
    with pytest.raises(ServiceUnavailable):
        run(client)

    run(client)

    assert set(client.jobs) == {"work_0"}


def test_failed_job_is_superseded() -> None:
    """A failed job id is never waited for again: the next suffix takes its place."""
    client = FakeClient(jobs={"work_0": FakeJob("work_0", error_result={"message": "gone"})})

    run(client)

    assert set(client.jobs) == {"work_0", "work_1"}


def test_job_of_a_removed_table_is_superseded() -> None:
    """A job that succeeded, but whose table has been removed, is run again."""
    client = FakeClient(jobs={"work_0": FakeJob("work_0")})

    run(client, is_done=lambda _: False)

    assert set(client.jobs) == {"work_0", "work_1"}


def test_failure_is_raised() -> None:
    """A job that fails while it is waited for raises its error."""
    client = FakeClient()

    def start(job_id: str) -> FakeJob:
        return FakeJob(job_id, error_result={"message": "no such column"})

    with pytest.raises(GoogleAPICallError, match="no such column"):
        Jobs(client, ONCE).run("work", start)  # type: ignore[arg-type]  # a fake


TAKEN = {"message": "Transaction is aborted due to concurrent update against table p:d.t"}


def test_taken_table_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that finds its table taken by another transaction is run again under the next suffix, until it is free."""
    monkeypatch.setattr(jobs_module, "TURNS", Budget(first_pause=0.0))
    client = FakeClient()

    def start(job_id: str) -> FakeJob:
        job = client.start(job_id)
        job.error_result = TAKEN if job_id != "work_3" else None
        return job

    assert Jobs(client, ONCE).run("work", start) == "work_3"  # type: ignore[arg-type]  # a fake


def test_table_that_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for another transaction has an end."""
    monkeypatch.setattr(jobs_module, "TURNS", Budget(seconds=0.0))

    with pytest.raises(GoogleAPICallError, match="due to concurrent update"):
        Jobs(FakeClient(), ONCE).run("work", lambda job_id: FakeJob(job_id, error_result=TAKEN))  # type: ignore[arg-type,return-value]  # a fake


def test_costs_are_summed() -> None:
    """Bytes billed and slot time are summed over finished jobs, including joined ones; a load job has neither."""
    query = FakeJob("query_0", total_bytes_billed=10_485_760, slot_millis=321)
    client = FakeClient(jobs={"query_0": query})
    jobs = Jobs(client, ONCE)  # type: ignore[arg-type]  # a fake

    jobs.run("query", client.start)  # type: ignore[arg-type]  # a fake
    jobs.run("load", client.start)  # type: ignore[arg-type]  # a fake

    assert jobs.costs == Costs(bytes_billed=10_485_760, slot_milliseconds=321)


def test_costs_of_a_short_statement_are_added() -> None:
    """A statement without a job adds what its response says: the bytes that it processed, and its slot time."""
    jobs = Jobs(RecordingClient(), ONCE)  # type: ignore[arg-type]  # a fake

    jobs.query("SELECT 1")

    assert jobs.costs == Costs(bytes_billed=2_048, slot_milliseconds=12)


@pytest.mark.parametrize("limit", [None, 10**9])
def test_queries_have_the_byte_limit(limit: int | None) -> None:
    """`data_warehouse.maximum_bytes_billed` is set on the queries and on the script."""
    client = RecordingClient()
    jobs = Jobs(client, ONCE, maximum_bytes_billed=limit)  # type: ignore[arg-type]  # a fake

    jobs.query("SELECT 1")
    jobs.run_script("commit", "BEGIN TRANSACTION; COMMIT TRANSACTION;")

    assert client.limits == [limit, limit]


@dataclass
class RecordingClient:
    """A client that records the limit of each query."""

    limits: list[int | None] = field(default_factory=list)

    def query(self, _: str, *, job_config: Any, job_id: str, **__: Any) -> FakeJob:
        self.limits.append(job_config.maximum_bytes_billed)
        return FakeJob(job_id)

    def query_and_wait(self, _: str, *, job_config: Any, **__: Any) -> "FakeRows":
        self.limits.append(job_config.maximum_bytes_billed)
        return FakeRows()


@dataclass
class FakeRows:
    """The response to a short statement."""

    total_bytes_processed: int = 2_048
    slot_millis: int = 12
