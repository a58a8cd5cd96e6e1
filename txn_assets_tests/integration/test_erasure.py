"""A person who is erased stays erased: after replays, a new version, a backfill, a restored database and a rotation."""

import contextlib
import hmac
import io
import json
import os
import pty
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from txn_assets.cli import main
from txn_assets.commands.erase import KEPT
from txn_assets.definitions import build
from txn_assets.defs.summary import find_failures
from txn_assets.environment import txn_home
from txn_assets.erasure.requesting import request_erasure
from txn_assets.files.erasures import ErasureRequests
from txn_assets.files.ledger import Action
from txn_assets.stores.erasure_places import places
from txn_assets.stores.errors import StoreError
from txn_assets_tests.deployment import Deployment, Row, make_file, make_row
from txn_assets_tests.loader import Loader

PERSON = "PERSON-4711"
KEYS = {"k1": "first-key-" * 4, "k2": "second-key" * 4}
NAMES = [f"day{number:02}.csv" for number in range(10)]


def digest(text: str, key_id: str) -> str:
    """Return what the stores have of an id."""
    return hmac.digest(KEYS[key_id].encode(), text.encode(), "sha256").hex()


def give(monkeypatch: pytest.MonkeyPatch, value: bytes) -> None:
    """Put `value` on standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(value)))


def txn(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    """Run a command of `txn` and return its exit code and what it printed."""
    capsys.readouterr()
    code = main(shlex.split(command))
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def use_key(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, key_id: str, previous: str = "") -> None:
    """Hash with the key `key_id` from now on, while `previous` is alive too."""
    older = {"previous": {"key_id": previous}} if previous else {}
    deployment.configure({"security": {"hash": {"algorithm": "hmac-sha256", "key_id": key_id} | older}})
    monkeypatch.setenv("TXN_HASH_KEY", KEYS[key_id])
    if previous:
        monkeypatch.setenv("TXN_HASH_KEY_PREVIOUS", KEYS[previous])


def rows_of(name: str, *, version: int = 1) -> list[tuple[str, str, str, str, str]]:
    """Return the rows of a file, some of the person: valid ones, and one that is rejected because it has no product."""
    number = NAMES.index(name)
    own = [(f"T{number:02}{place}", "Rug", f"{version}.50", str(place + 1), "2023-10-01") for place in range(4)]
    of_person = [(PERSON, f"Lamp {number}", "7.00", str(version), f"2023-{number + 1:02}-02")]
    rejected = [(PERSON, "", "1.00", "1", "2023-10-01"), (f"B{number}", "", "1.00", "1", "2023-10-01")]
    return own[:2] + of_person * (number % 3) + own[2:] + (rejected if number % 4 == 0 else [])


def land(deployment: Deployment, name: str, *, version: int = 1) -> None:
    """Land a file."""
    columns = ("transaction_id", "product", "price", "quantity", "date")
    rows = [make_row(**dict(zip(columns, row, strict=True))) for row in rows_of(name, version=version)]
    deployment.land(name, make_file(*rows))


def expected(name: str, *, version: int, key_id: str) -> list[Row]:
    """Return the rows of a file that every store must have, computed here: those of the person are left out."""
    rows = [row for row in rows_of(name, version=version) if row[0] != PERSON and row[1]]
    return sorted(
        (digest(id_, key_id), product, Decimal(price), int(quantity), day)
        for id_, product, price, quantity, day in rows
    )


def counts_in(deployment: Deployment) -> dict[str, dict[str, list[int]]]:
    """Return records, rows, rejected and erased rows of the newest version of each file, in each ledger."""
    columns = "source_file, records, row_count, rejected, erased"
    newest = f"SELECT {columns} FROM {{}} l WHERE generation = (SELECT max(generation) FROM {{}} m WHERE {{}})"
    same = "m.source_file = l.source_file AND l.source_file != ''"
    table = f"`{deployment.bq_table}_loads`"
    of_bigquery = [tuple(row.values()) for row in deployment.bq.query(newest.format(table, table, same)).result()]
    table = f"{deployment.pg_table}_loads"
    of_postgres = deployment.pg.execute(newest.format(table, table, same)).fetchall()
    objects = deployment.gcs.list_blobs(deployment.bucket, prefix=f"{deployment.feed().path}/")
    keys = ("records", "rows", "rejected", "erased")
    of_lake = [(blob.metadata["source_file"], *(int(blob.metadata[key]) for key in keys)) for blob in objects]
    ledgers = {"GCS": of_lake, "BigQuery": of_bigquery, "PostgreSQL": of_postgres}
    return {label: {str(name): counts for name, *counts in map(tuple, rows)} for label, rows in ledgers.items()}


def expected_counts(name: str, version: int) -> list[int]:
    """Return what `counts_in` must say of a file."""
    rows = rows_of(name, version=version)
    of_others = [row for row in rows if row[0] != PERSON]
    loaded = sum(bool(row[1]) for row in of_others)
    return [len(rows), loaded, len(of_others) - loaded, len(rows) - len(of_others)]


def postgres_programs() -> Path:
    """Return the folder with the client programs of the embedded server."""
    (folder,) = txn_home().glob("stack/postgres/postgresql-*/bin")
    return folder


def dump(deployment: Deployment, path: Path) -> None:
    """Back up the schema of the deployment."""
    schema = deployment.config.data_warehouse.postgres.schema_
    command = [postgres_programs() / "pg_dump", deployment.endpoints.postgres_dsn, "--schema", schema, "--file", path]
    subprocess.run([*map(str, command)], check=True, capture_output=True)


def restore(deployment: Deployment, path: Path) -> None:
    """Replace the schema of the deployment by its backup."""
    deployment.pg.execute(f"DROP SCHEMA {deployment.config.data_warehouse.postgres.schema_} CASCADE")
    command = [postgres_programs() / "psql", deployment.endpoints.postgres_dsn, "--file", path]
    subprocess.run([*map(str, command), "--quiet", "--set", "ON_ERROR_STOP=1"], check=True, capture_output=True)


def run(deployment: Deployment, job: str) -> None:
    """Run a job."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    build(deployment.config).resolve_job_def(job).execute_in_process(instance=deployment.instance, run_config=quiet)


def sold(deployment: Deployment, product: str) -> int:
    """Return how many lines of the exported marts name a product."""
    exports = {name: content for name, content in deployment.objects().items() if name.startswith("marts/")}
    assert exports
    return sum(content.count(product.encode()) for content in exports.values())


def test_erased_for_good(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The person is in no store under any key, whatever is loaded and restored afterwards, and every other row is.

    The landed files keep the person, so that each load meets the rows again.
    """
    deployment.configure({"erasure": {"landing": "keep"}})
    use_key(deployment, monkeypatch, "k1")
    for name in NAMES:
        land(deployment, name)
    deployment.materialize_batch(*NAMES)
    dump(deployment, tmp_path / "before.sql")
    run(deployment, "refresh_marts")
    assert sold(deployment, "Lamp") > 0

    give(monkeypatch, f"{PERSON}\n".encode())
    code, text = txn(capsys, "erase --field transaction_id --by 'Data protection'")
    assert (code, "ERASED  transactions-1: no place has rows of the person.\n" in text) == (0, True)
    assert PERSON not in text
    assert (sold(deployment, "Lamp"), sold(deployment, "Rug") > 0) == (0, True)

    # Three replays, an overwritten version, and a backfill.
    for name in NAMES[:3]:
        deployment.materialize(name)
    land(deployment, NAMES[4], version=2)
    deployment.materialize(NAMES[4])
    deployment.materialize_batch(*NAMES)
    assert txn(capsys, "erase verify") == (0, f"transactions-1  in no place that is erased\n{KEPT}")

    restore(deployment, tmp_path / "before.sql")
    code, text = txn(capsys, "erase verify")
    assert (code, text) == (1, f"transactions-1  rows left: PostgreSQL 9\n{KEPT}")
    run(deployment, "erase")
    assert txn(capsys, "erase verify")[0] == 0
    assert txn(capsys, "erase finish") == (0, "Every erasure request is finished.\n")

    # A rotation, and loads after it, when the first key is gone.
    use_key(deployment, monkeypatch, "k2", previous="k1")
    deployment.materialize_batch(*NAMES)
    deployment.configure({"security": {"hash": {"previous": None}}})
    deployment.materialize(NAMES[2])

    assert txn(capsys, "erase verify") == (0, f"transactions-1  in no place that is erased\n{KEPT}")
    versions = {name: 2 if name == NAMES[4] else 1 for name in NAMES}
    for name, version in versions.items():
        assert deployment.rows_everywhere(name) == expected(name, version=version, key_id="k2")
    for counts in counts_in(deployment).values():
        assert counts == {name: expected_counts(name, version) for name, version in versions.items()}
    of_person = [PERSON.encode(), b"Lamp", *(digest(PERSON, key_id).encode() for key_id in KEYS)]
    objects = {n: c for n, c in deployment.objects().items() if not n.startswith(("landing/", "erasures/"))}
    assert len(objects) > len(NAMES)
    assert [name for name, content in objects.items() if any(one in content for one in of_person)] == []
    code, text = txn(capsys, "erase list --json")
    (request,) = json.loads(text)["requests"]
    assert (request["state"], request["keys"], request["requested_by"]) == ("finished", ["k1", "k2"], "Data protection")
    status = json.loads(txn(capsys, f"status {NAMES[8]} --json")[1])["files"][0]
    assert (status["rows"], status["valid"], status["rejected"], status["erased"]) == (8, 4, {"product: missing": 1}, 3)


def test_run_that_hashed_before_the_request(deployment: Deployment, tmp_path: Path) -> None:
    """Files that were hashed before the request and have the person are refused by each store, others are not."""
    feed = deployment.feed()
    person = dict(zip(feed.contract.names, rows_of(NAMES[1])[2], strict=True))
    with Loader.open(deployment, tmp_path) as loader:
        other_person = person | {feed.contract.names[0]: "T1"}
        file = loader.stage(feed, NAMES[1], person, other_person)
        clean = loader.stage(feed, NAMES[2], other_person)
    with Loader.open(deployment, tmp_path) as other:
        services = other.services.of(feed)
        request = request_erasure(services, feed.contract.names[0], PERSON, by="me")
        assert sum(place.erase(request) for place in places(services) if place.label != "staged rows") > 0
    with Loader.open(deployment, tmp_path) as loader:
        own = loader.services.of(feed)
        own.run_files.erasure_requests = ErasureRequests(feed=feed.name)
        for key, store in own.stores.items():
            with pytest.raises(StoreError, match=r"was hashed before an erasure request") as refused:
                store.retry_transient(partial(store.load, [file], "run"))
            assert PERSON not in str(refused.value), key
            assert store.count_erased_rows(request) == 0
            assert store.retry_transient(partial(store.load, [clean], "run")) == {NAMES[2]: Action.LOAD}


def tick(deployment: Deployment) -> dg.RunRequest | dg.SkipReason:
    """Evaluate the daily schedule."""
    definitions = build(deployment.config)
    schedule = definitions.resolve_schedule_def("daily_erasure")
    resources = {name: (definitions.resources or {})[name] for name in schedule.required_resource_keys}
    with dg.build_schedule_context(resources=resources) as context:
        found = schedule(context)
    assert isinstance(found, dg.RunRequest | dg.SkipReason)
    return found


def test_requests_at_the_same_time(deployment: Deployment, tmp_path: Path) -> None:
    """Of requests that are written at the same time none is lost; the same person has one. Then the daily job runs."""
    feed = deployment.feed()
    assert isinstance(tick(deployment), dg.SkipReason)

    def ask(number: int) -> str:
        with Loader.open(deployment, tmp_path) as loader:
            return request_erasure(loader.services.of(feed), feed.contract.names[0], f"P{number // 2}", by="me").id

    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(ask, range(6)))

    assert sorted(set(ids)) == ["transactions-1", "transactions-2", "transactions-3"]
    assert ids[::2] == ids[1::2]
    assert isinstance(tick(deployment), dg.RunRequest)


@pytest.fixture
def damaged(deployment: Deployment) -> str:
    """Put something else in the place of the register, and return what is said about it."""
    deployment.bucket.blob("erasures/transactions/requests.json").upload_from_string("{}")
    return "is not a register of erasure requests"


def test_damaged_register(
    deployment: Deployment, damaged: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody else changed the register, nothing is loaded or requested until it is restored."""
    give(monkeypatch, PERSON.encode())
    code, text = txn(capsys, "erase --field transaction_id")
    assert (code, damaged in text) == (1, True)
    land(deployment, NAMES[1])

    (why,) = find_failures(deployment.materialize(NAMES[1], raise_on_error=False))
    assert damaged in why


@pytest.mark.usefixtures("deployment")
def test_terminal(damaged: str) -> None:
    """On a terminal the value is asked for and not shown, and the process has it in no argument."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "txn_assets.cli", "erase", "--field", "transaction_id"]
        os.execv(command[0], command)  # noqa: S606 - no shell, so that the terminal is its own
    try:
        shown = b""
        while b"not shown" not in shown:
            shown += os.read(terminal, 1024)
        os.write(terminal, f"{PERSON}\n".encode())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        # The terminal is gone with the process.
        with contextlib.suppress(OSError):
            while more := os.read(terminal, 1024):
                shown += more
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)

    assert (os.waitstatus_to_exitcode(status), damaged.encode() in shown) == (1, True)
    assert (PERSON.encode() in shown, PERSON.encode() in arguments) == (False, False)


def test_request_that_no_key_can_find(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the key of a request, nothing is loaded, until the request is withdrawn."""
    use_key(deployment, monkeypatch, "k1")
    give(monkeypatch, PERSON.encode())
    assert txn(capsys, "erase --field transaction_id")[0] == 0
    use_key(deployment, monkeypatch, "k2")
    land(deployment, NAMES[1])

    result = deployment.materialize(NAMES[1], raise_on_error=False)
    (why,) = find_failures(result)
    assert "transactions-1 knows the hash of a transaction_id under the key k1" in why

    code, text = txn(capsys, "erase withdraw transactions-1")
    assert (code, "is withdrawn" in text) == (0, True)
    deployment.materialize(NAMES[1])
    assert len(deployment.rows_everywhere(NAMES[1])) == 5
    assert txn(capsys, "erase verify")[0] == 0
    assert "withdrawn" in txn(capsys, "erase list")[1]
    assert txn(capsys, "erase finish transactions-1")[0] == 1


REFUSED = [
    ("--field product", PERSON, "product is not a PII field of the feed transactions"),
    ("--field transaction_id", " \n", "The value of transaction_id is empty."),
    ("--field transaction_id", f"{PERSON}\n{PERSON}2\n", "The value of transaction_id has several lines."),
    ("--field transaction_id", f"{PERSON}\udcff", "is not UTF-8 text."),
    ("--field transaction_id --feed sales", PERSON, "There is no feed 'sales'"),
    ("", PERSON, "Name the PII field that identifies the person with --field"),
    ("verify transactions-7", "", "There is no erasure request 'transactions-7'."),
]


def test_refusals(deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be erased is refused in a sentence, which never has the value, and no request is written."""
    for command, value, message in REFUSED:
        give(monkeypatch, value.encode("utf-8", "surrogateescape"))
        code, text = txn(capsys, f"erase {command}")
        assert (code, message in text, PERSON in text) == (1, True, False)
    assert [name for name in deployment.objects() if name.startswith("erasures/")] == []
