"""Kill sweep over `txn erase`: killed at moments spread over its run, also while the file is loaded, then called again.

Each try erases another person of one file, so the stores are never loaded again in between. See docs/reliability.md.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from txn_assets.environment import project_root
from txn_assets_tests.deployment import SINKS, Deployment, Row, make_file, make_row
from txn_assets_tests.faults.bench import Difference, Tally, digest
from txn_assets_tests.faults.kills import HUNG_SECONDS, running

NAME = "persons.csv"
PERSONS = 120
ROWS_EACH = 3


@dataclass
class Persons:
    """A file in which each person has a valid row in each of several months, and a rejected one.

    Attributes:
        erased: the persons who must be in no store.
    """

    deployment: Deployment
    erased: set[int] = field(default_factory=set)

    @property
    def data(self) -> bytes:
        """The file with all persons, as its sender has it."""
        lines = [
            make_row(transaction_id=f"P{person}", price=f"{person}.{place}5", date=f"2023-{place + 1:02d}-07")
            for place in range(ROWS_EACH)
            for person in range(PERSONS)
        ]
        return make_file(*lines, *(make_row(transaction_id=f"P{person}", product="") for person in range(PERSONS)))

    def rows(self, *, but: int | None = None) -> Counter[Row]:
        """Return the rows that a store must have, also those of the person `but`, who may be erased already."""
        return Counter(
            (digest(f"P{person}"), "Halal Laptop", Decimal(f"{person}.{place}5"), 2, f"2023-{place + 1:02d}-07")
            for place in range(ROWS_EACH)
            for person in range(PERSONS)
            if person not in self.erased or person == but
        )

    def load(self) -> None:
        """Land the file and load it."""
        self.deployment.land(NAME, self.data)
        self.deployment.materialize(NAME, raise_on_error=False)

    def difference(self, *, but: int | None = None) -> Difference:
        """Return how all stores differ from the expected rows; those of the person `but` may be there or not."""
        found = []
        for store in SINKS:
            held = Counter(self.deployment.rows(store, NAME))
            allowed = [self.rows(), self.rows(but=but)]
            found.append(min((Difference.between(held, one) for one in allowed), key=lambda one: one.size))
        return Difference(sum(one.lost for one in found), sum(one.twice for one in found))

    def leftovers(self) -> Iterator[str]:
        """Yield what is wrong in the ledgers and in the quarantine."""
        columns = "row_count, records - rejected - row_count, erased"
        newest = f"SELECT {columns} FROM {{}} WHERE source_file = '{NAME}' ORDER BY generation DESC LIMIT 1"
        (in_postgres,) = self.deployment.pg.execute(newest.format(f"{self.deployment.pg_table}_loads")).fetchall()
        (in_bigquery,) = self.deployment.bq.query(newest.format(f"`{self.deployment.bq_table}_loads`")).result()
        for rows, missing, erased in (in_postgres, in_bigquery.values()):
            if rows != self.rows().total() or missing != erased:
                yield f"a ledger row with {rows} rows, {missing} missing and {erased} erased"
        persons = {digest(f"P{person}") for person in self.erased}
        if any(row["transaction_id"] in persons for row in self.deployment.quarantined(NAME)):
            yield "an erased person in the quarantine"


def kill_erasures(deployment: Deployment, draw: random.Random, *, tries: int) -> Tally:
    """Kill `txn erase` at moments spread over its run, and call it again each time."""
    persons = Persons(deployment)
    persons.load()
    spent = _measured(persons, 0)
    tally = Tally("txn erase", "SIGKILL")
    for number in range(tries):
        _kill_one(persons, number + 1, spent * (number + draw.random()) / tries, tally)
    # A replay of the file that its sender has brings nobody back.
    persons.load()
    tally.add(persons.difference(), persons.leftovers())
    return tally


def kill_erasures_during_loads(deployment: Deployment, draw: random.Random, *, tries: int) -> Tally:
    """Kill `txn erase` while the file with the person is loaded, and call both again."""
    persons = Persons(deployment)
    persons.load()
    # What earlier sweeps erased stays so.
    persons.erased = _erased_before(persons)
    first = max(persons.erased, default=-1) + 1
    spent = _measured(persons, first)
    tally = Tally("txn erase and make run", "SIGKILL")
    for number in range(tries):
        person = first + 1 + number
        with _loading(persons) as load:
            # The load takes about as long, and begins up to that much earlier.
            time.sleep(spent * draw.random())
            _kill_one(persons, person, spent * (number + draw.random()) / tries, tally, load)
    return tally


def _erased_before(persons: Persons) -> set[int]:
    held = {row[0] for row in persons.deployment.rows(SINKS[-1], NAME)}
    return {person for person in range(PERSONS) if digest(f"P{person}") not in held}


def _kill_one(
    persons: Persons, person: int, instant: float, tally: Tally, load: "subprocess.Popen[bytes] | None" = None
) -> None:
    with _erasing(person) as process:
        _wait_for_request(process)
        time.sleep(instant)
    persons.erased.add(person)
    notes = []
    hung = False
    halves = Difference(0, 0) if load else persons.difference(but=person)
    if load:
        # It is refused if it hashed before the request; a person loads the file again.
        load.wait(HUNG_SECONDS)
        with _loading(persons) as again:
            if again.wait(HUNG_SECONDS):
                notes.append(f"the second load ended with {again.returncode}")
    began = time.monotonic()
    with _erasing(person) as process:
        try:
            if process.wait(HUNG_SECONDS):
                notes.append(f"the second call ended with {process.returncode}")
        except subprocess.TimeoutExpired:
            hung = True
    seconds = time.monotonic() - began
    after = persons.difference()
    found = Difference(halves.lost + after.lost, halves.twice + after.twice)
    tally.add(found, persons.leftovers(), "; ".join(notes), seconds=seconds, hung=hung)


def _measured(persons: Persons, person: int) -> float:
    """Erase `person` and return how long it took after the request was written."""
    with _erasing(person) as process:
        _wait_for_request(process)
        began = time.monotonic()
        assert process.wait(HUNG_SECONDS) == 0, "the erasure that nobody disturbs fails"
    persons.erased.add(person)
    return time.monotonic() - began


def _wait_for_request(process: "subprocess.Popen[bytes]") -> None:
    """Wait until `txn erase` says that the request is written: before that there is nothing to finish."""
    assert process.stdout is not None
    process.stdout.readline()


@contextmanager
def _erasing(person: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Start `txn erase` for `person`, and kill it at the end."""
    txn = str(Path(sys.executable).with_name("txn"))
    with tempfile.TemporaryFile() as value:
        value.write(f"P{person}\n".encode())
        value.seek(0)
        process = subprocess.Popen(
            [txn, "erase", "--field", "transaction_id"],
            cwd=project_root(),
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=value,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@contextmanager
def _loading(persons: Persons) -> Iterator["subprocess.Popen[bytes]"]:
    """Start `make run` for the file with all persons, and kill it at the end if it has not ended."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / NAME
        file.write_bytes(persons.data)
        with running((["make", "--no-print-directory", "run", f"FILE={file}"], {})) as process:
            yield process
