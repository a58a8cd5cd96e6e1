"""Files that the cluster test lands, and whether the three stores hold exactly their rows.

What was sent is kept here, hashed as the platform hashes it, so that the stores are not only compared with each other.
"""

import csv
import hashlib
import io
import uuid
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

import psycopg
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from txn_assets_tests.cluster.release import ClusterError, wait_for
from txn_assets_tests.deployment import SINKS, Deployment, Row, make_file, many_rows


@dataclass
class Files:
    """The files of one test, whose names nobody else uses."""

    deployment: Deployment
    prefix: str = field(default_factory=lambda: f"cluster-{uuid.uuid4().hex[:6]}")
    sent: dict[str, bytes] = field(default_factory=dict)
    compared: dict[str, bytes] = field(default_factory=dict)

    def land(self, name: str, rows: int, *, price: str = "1.50") -> str:
        """Land a file with new content, and return its whole name."""
        whole = f"{self.prefix}-{name}.csv"
        start = 1_000_000 * len(self.sent)
        self.sent[whole] = make_file(*many_rows(rows, start=start, price=price))
        self.deployment.land(whole, self.sent[whole])
        return whole

    def wait(self, *names: str) -> None:
        """Wait until the newest version of each file is in all three stores."""
        for name in names:
            wait_for(f"the load of {name}", partial(self.is_loaded, name))

    def compare(self) -> int:
        """Compare the files in each store with what was sent, and return the number of their rows.

        Every value of the files that are new since the last comparison, row count and sum of the prices of the others.

        Raises:
            ClusterError: a store lacks a row, or has one twice or one too many.
        """
        total = 0
        for name, content in self.sent.items():
            expected = Counter(_rows(content))
            for store in SINKS if self.compared.get(name) != content or not self.is_loaded(name) else ():
                found = Counter(self.deployment.rows(store, name))
                if found != expected:
                    missing, extra = (expected - found).total(), (found - expected).total()
                    message = f"{store} lacks {missing} rows of {name} and has {extra} too many"
                    raise ClusterError(message)
            self.compared[name] = content
            total += expected.total()
        return total

    def is_loaded(self, name: str) -> bool:
        """Return whether each store has the rows of a file, by their number and the sum of their prices."""
        expected, opened = _digest(_rows(self.sent[name])), self.deployment
        postgres = f"SELECT count(*), sum(price) FROM {opened.pg_table} WHERE source_file = %s"
        warehouse = f"SELECT count(*), sum(price) FROM `{opened.bq_table}` WHERE source_file = @name"
        parameters = [bigquery.ScalarQueryParameter("name", "STRING", name)]
        try:
            if opened.pg.execute(postgres, [name]).fetchone() != expected:
                return False
            job = opened.bq.query(warehouse, job_config=bigquery.QueryJobConfig(query_parameters=parameters))
            if [tuple(row.values()) for row in job.result()] != [expected]:
                return False
        except (psycopg.errors.UndefinedTable, NotFound):
            return False  # The first load creates the tables.
        return _digest(opened.rows("gcs_raw", name)) == expected


def _rows(content: bytes) -> list[Row]:
    """Return the rows that the stores should hold of a file."""
    return [
        (
            hashlib.sha256(row["transaction_id"].encode()).hexdigest(),
            row["product"],
            Decimal(row["price"]),
            int(row["quantity"]),
            row["date"],
        )
        for row in csv.DictReader(io.StringIO(content.decode(), newline=""))
    ]


def _digest(rows: list[Row]) -> tuple[int, Decimal]:
    return len(rows), sum((Decimal(row[2]) for row in rows), Decimal(0))
