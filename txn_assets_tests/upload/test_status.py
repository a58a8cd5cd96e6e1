"""What became of an uploaded file, over HTTP, while no Dagster answers: the ledgers and the quarantine are enough."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.upload.server import Service

GOOD = make_file(make_row(), make_row(transaction_id="T002"))
MIXED = make_file(make_row(), make_row(transaction_id="T002", product=""))
BAD = make_file(make_row(transaction_id="T00SECRET", product=""))
CUT_OFF = GOOD + b'T003,"Mouse'


def upload(service: Service, content: bytes, name: str) -> str:
    """Upload a file and return where its status is."""
    response = service.upload(content, name)
    assert response.status_code == 202, response.text
    return str(response.headers["Location"])


def status(service: Service, location: str) -> dict[str, Any]:
    """Return the status at `location`."""
    response = service.get(location)
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()
    return content


def load(service: Service, name: str) -> None:
    """Load the uploaded file `name` in this process, as a run would."""
    service.deployment.materialize(f"anonymous/{name}", raise_on_error=False)


def test_file_before_and_after_its_load(service: Service) -> None:
    """A file is landed, then partly loaded: the answer has its rows, the rejected ones by reason, and each store's."""
    location = upload(service, MIXED, "mixed.csv")
    before = service.get(location)
    assert before.headers["Cache-Control"] == "no-store"
    assert (before.json()["state"], before.json()["rows"]) == ("landed", None)

    load(service, "mixed.csv")

    found = status(service, location)
    assert (found["state"], found["rows"], found["valid"]) == ("partly", 2, 1)
    assert found["rejected"] == {"product: missing": 1}
    assert found["quarantine"].endswith("/quarantine/transactions/anonymous/mixed.csv/rejected.csv")
    assert {label: store["rows"] for label, store in found["stores"].items()} == {
        "GCS": 1, "BigQuery": 1, "PostgreSQL": 1,
    }  # fmt: skip
    assert all(store["loaded_at"] for store in found["stores"].values())


def test_unchanged_answer(service: Service) -> None:
    """The answer about a loaded file has an ETag, and is not sent again while it is the same."""
    location = upload(service, GOOD, "good.csv")
    load(service, "good.csv")
    first = service.get(location)
    assert (first.json()["state"], first.json()["rows"], first.json()["rejected"]) == ("loaded", 2, {})

    again = service.get(location, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_rejected_files(service: Service) -> None:
    """A file without a valid row, and one that is cut off, are rejected with the platform's sentence, and no value."""
    bad, cut_off = upload(service, BAD, "bad.csv"), upload(service, CUT_OFF, "cut.csv")
    load(service, "bad.csv")
    load(service, "cut.csv")

    found = status(service, bad)
    assert (found["state"], found["rows"], found["valid"]) == ("rejected", 1, 0)
    assert found["message"].startswith("No valid transactions in anonymous/bad.csv.")
    assert "T00SECRET" not in str(found)
    assert found["rejected"] == {"product: missing": 1}
    found = status(service, cut_off)
    assert found["state"] in ("rejected", "partly")


def test_refused_version_of_a_loaded_file(service: Service) -> None:
    """The refusal of a file's new version keeps the rejected rows of the version that the stores still have."""
    upload(service, MIXED, "again.csv")
    load(service, "again.csv")
    location = upload(service, make_file(), "again.csv")

    load(service, "again.csv")

    found = status(service, location)
    assert found["state"] == "rejected"
    assert "has a header and no rows, but an earlier version had rows" in found["message"]
    assert len(service.deployment.rows_everywhere("anonymous/again.csv")) == 1


def test_superseded_version(service: Service) -> None:
    """A version is superseded as soon as another one lands under its name; the newer one is named."""
    first = upload(service, GOOD, "twice.csv")
    load(service, "twice.csv")
    second = upload(service, MIXED, "twice.csv")

    found = status(service, first)

    assert found["state"] == "superseded"
    assert found["message"] == f"{second.removeprefix('/uploads/')} replaced it."


def test_unknown_versions(service: Service) -> None:
    """A file that does not exist and a name that no file can have are not found. See test_access.py for subjects."""
    for name in ("anonymous/nothing.csv@17", "anonymous/a%00b.csv@17", f"anonymous/{'a' * 1000}.csv@17"):
        response = service.get(f"/uploads/{name}")
        assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json"), name


def test_waiting_without_dagster(service: Service) -> None:
    """A client that waits gets the old answer once the ledgers have the file, even if no Dagster answers."""
    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(service.upload, content, name, headers={"Prefer": "wait=50"})
            for name, content in (("w1.csv", MIXED), ("w2.csv", BAD))
        ]
        for name in ("w1.csv", "w2.csv"):
            _wait_until_landed(service, name)
            load(service, name)
        answers = [one.result() for one in waiting]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json() for answer in answers] == [
        {"status": "success", "processed": 1},
        {"status": "error", "message": "No valid transactions"},
    ]
    assert answers[0].headers["Preference-Applied"] == "wait=50"


def _wait_until_landed(service: Service, name: str) -> None:
    deadline = time.monotonic() + 30
    while service.landed(f"anonymous/{name}") is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_short_wait(service: Service) -> None:
    """After the wait that the client asked for, the answer is 202 with the address of the status."""
    response: requests.Response = service.upload(GOOD, "short.csv", headers={"Prefer": "respond-async, wait=1"})
    assert (response.status_code, response.headers["Preference-Applied"]) == (202, "wait=1")
    assert response.json() == {"status": "accepted", "upload": response.headers["Location"]}
    assert service.upload(GOOD, "none.csv", headers={"Prefer": "respond-async"}).elapsed.total_seconds() < 10


def test_reading_creates_nothing(service: Service, module_deployment: Deployment) -> None:
    """Asking about a file before its feed's first load creates no table: the service may only read."""
    dataset = module_deployment.config.data_warehouse.dataset
    tables = {table.table_id for table in module_deployment.bq.list_tables(dataset)}
    status(service, upload(service, GOOD, "quiet.csv"))
    assert {table.table_id for table in module_deployment.bq.list_tables(dataset)} == tables
