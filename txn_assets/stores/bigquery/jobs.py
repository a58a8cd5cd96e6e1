"""Run BigQuery statements and add up their costs: a short one in one request, a job that must run once by its name.

`sql.py` builds the statements. See docs/reliability.md for the guarantees.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from google.api_core.exceptions import Conflict, GoogleAPICallError
from google.cloud import bigquery

from txn_assets.files import progress
from txn_assets.stores.bigquery.failures import is_taken
from txn_assets.stores.retries import Budget

TURNS = Budget(seconds=1800.0, first_pause=1.0, longest_pause=5.0)
"""How long a script waits while other scripts have the table, and the pauses between two attempts.

If twenty loads commit all the time, each in ten seconds, and chance decides who is next, one of ten thousand waits
longer: (18 / 19) ** (1800 / 10.3). It is then retried like any other error.
"""

JOB_SECONDS = 600.0
"""Seconds after which to give up on a job. The job may still finish; the next attempt or run joins it."""

PAGE_ROWS = 100_000
"""Most rows in a response; BigQuery sends fewer if they have more than 20 MB."""

LABELS = {"app": "txn_assets"}


@dataclass(frozen=True, slots=True)
class Costs:
    """What statements cost according to the server. Load jobs are free and have no bytes billed.

    The response to a short statement says what it processed, not what BigQuery bills for it, which is at least 10 MiB
    for each table (https://cloud.google.com/bigquery/pricing).
    """

    bytes_billed: int = 0
    slot_milliseconds: int = 0

    def __add__(self, other: "Costs") -> "Costs":
        return Costs(self.bytes_billed + other.bytes_billed, self.slot_milliseconds + other.slot_milliseconds)

    def __sub__(self, other: "Costs") -> "Costs":
        return Costs(self.bytes_billed - other.bytes_billed, self.slot_milliseconds - other.slot_milliseconds)


@dataclass
class Jobs:
    """The jobs of one load.

    Attributes:
        no_retry: options for each request: a single attempt with a timeout. Only `retry_transient` retries, so that
            budgets do not multiply.
        maximum_bytes_billed: the limit for each query; None for the project's limit. BigQuery runs each statement of a
            script as a child job with the configuration of its parent
            (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationQuery).
        costs: the sum over all jobs so far.
    """

    client: bigquery.Client
    no_retry: dict[str, Any]
    maximum_bytes_billed: int | None = None
    costs: Costs = field(default=Costs())

    def query(self, sql: str, *parameters: Any) -> bigquery.table.RowIterator:  # noqa: ANN401 - three kinds of parameter
        """Run `sql` in one request and return its rows; a statement that takes longer than the request, as a job.

        Only for statements that can be repeated: if the response is lost, the next attempt runs it again.
        """
        rows: bigquery.table.RowIterator = self.client.query_and_wait(
            sql,
            job_config=self._query_config(parameters),
            api_timeout=self.no_retry["timeout"],
            wait_timeout=JOB_SECONDS,
            retry=None,  # type: ignore[arg-type]  # the client takes None
            job_retry=None,  # type: ignore[arg-type]  # as above
            page_size=PAGE_ROWS,
        )
        self.costs += Costs(rows.total_bytes_processed or 0, rows.slot_millis or 0)
        return rows

    def run_script(self, base: str, sql: str, *parameters: Any) -> str:  # noqa: ANN401 - three kinds of parameter
        """Run `sql` once, as the job that `base` names, and return the id of the job; see `run`."""
        config = self._query_config(parameters)
        return self.run(
            base,
            lambda job_id: self.client.query(sql, job_id=job_id, job_config=config, job_retry=None, **self.no_retry),
        )

    def run(
        self,
        base: str,
        start: Callable[[str], bigquery.job.base._AsyncJob],
        *,
        is_done: Callable[[bigquery.job.base._AsyncJob], bool] = lambda _: True,
    ) -> str:
        """Run the job that `base` names, once, and return its id.

        If a job of that name exists, join it: an earlier request started it, but the response was lost. If the job
        failed or `is_done` is false for it, use the next suffix. If it fails because another transaction has the
        table, wait a moment and use the next suffix too: the transaction of the other is the lock, so a killed run
        leaves none behind.
        """
        pauses, end = TURNS.pauses(), time.monotonic() + TURNS.seconds
        for suffix in count():
            job_id = f"{base}_{suffix}"
            try:
                job = start(job_id)
            except Conflict:
                job = self.client.get_job(job_id, **self.no_retry)
                self._wait(job)
                if job.error_result or not is_done(job):
                    continue
            try:
                self._finish(job)
            except GoogleAPICallError as error:
                if not is_taken(str(error)) or time.monotonic() > end:
                    raise
            else:
                return job_id
            with progress.aside("waiting for the commit of another load"):
                time.sleep(next(pauses))
        raise AssertionError  # `count` has no end.

    def _query_config(self, parameters: tuple[Any, ...]) -> bigquery.QueryJobConfig:
        config = bigquery.QueryJobConfig(query_parameters=list(parameters), labels=LABELS, use_query_cache=False)
        if self.maximum_bytes_billed is not None:
            config.maximum_bytes_billed = self.maximum_bytes_billed
        return config

    def _wait(self, job: bigquery.job.base._AsyncJob) -> None:
        """Wait until `job` ends, whether it succeeds or fails.

        Raises:
            TimeoutError: the job takes too long. The next attempt joins it.
        """
        started = time.monotonic()
        while not job.done(**self.no_retry):
            waited = time.monotonic() - started
            if waited > JOB_SECONDS:
                message = f"The BigQuery job {job.job_id} did not end within {JOB_SECONDS:.0f} seconds"
                raise TimeoutError(message)
            # So the end of a job is noticed late by a fifth of its time at most.
            time.sleep(min(2.0, max(0.1, waited / 5)))

    def _finish(self, job: bigquery.job.base._AsyncJob) -> None:
        """Wait until `job` succeeds. Waiting in `job.result` instead would repeat requests within its own budget."""
        self._wait(job)
        # Load jobs have neither number.
        self.costs += Costs(getattr(job, "total_bytes_billed", 0) or 0, getattr(job, "slot_millis", 0) or 0)
        if error := job.exception():  # type: ignore[no-untyped-call]  # google-api-core is untyped
            raise error
