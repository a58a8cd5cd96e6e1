"""How many requests a load sends to BigQuery: each costs time, and some of them count against a quota."""

from txn_assets.defs.services import share_services
from txn_assets_tests.deployment import Deployment, make_file, make_row, many_rows
from txn_assets_tests.recorder import recording

LOOK = ["tables.get", "tables.get", "jobs.query"]
"""The data table, the ledger, and what the ledger says about the file."""

CREATE = ["tables.get", "tables.insert", *["tables.get"] * 2, *["tables.insert"] * 2, *["jobs.query"] * 2]
"""The same before the first load: three tables, and the lock row of the ledger."""

VIEW = ["tables.get", "jobs.query"]
"""Is `file_status` there, and creating it: the first load of a day asks."""

LOAD = ["tables.insert", "jobs.insert", "jobs.insert", "tables.delete"]
"""A load table, the load job, the transaction, and the load table again."""

REPLACE = [*LOAD[:-1], "jobs.query", LOAD[-1]]
"""The same, and what the transaction changed."""

READ = ["jobs.query"]
"""The ledger row and the totals of the rows, read back; or the totals alone, before rows are left as they are."""


def requests_of_a_load(deployment: Deployment) -> list[str]:
    """Load a.csv into BigQuery; return the methods that were called, without those that ask whether a job has ended."""
    with recording(deployment.endpoints) as (endpoints, requests), share_services(deployment.config, endpoints):
        assert deployment.materialize("a.csv", select="*bigquery_raw_transactions").success
    names = [methods[0].partition(":")[0] for methods in requests if methods]
    return [name.removeprefix("bigquery.") for name in names if name.startswith("bigquery.")]


def test_requests_of_a_load(deployment: Deployment) -> None:
    """The first load takes fifteen requests, a new version nine, and a version that is there five."""
    deployment.land("a.csv", make_file(*many_rows(4), make_row(product="")))
    assert requests_of_a_load(deployment) == CREATE + VIEW + LOAD + READ

    deployment.land("a.csv", make_file(*many_rows(5), make_row(product="")))
    assert requests_of_a_load(deployment) == LOOK + REPLACE + READ
    assert requests_of_a_load(deployment) == LOOK + READ + READ
