"""Landed objects that every store has loaded leave the landing zone: archived or deleted, and nothing else."""

import argparse
import datetime as dt
import io
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace

import dagster as dg
import pytest
from google.cloud import storage

from txn_assets.cli import main
from txn_assets.commands.asking import asking
from txn_assets.commands.replay import _find_named
from txn_assets.definitions import build
from txn_assets.defs.services import open_services
from txn_assets.environment import txn_home
from txn_assets.errors import UserError
from txn_assets.files.arrival import KEY_TAG
from txn_assets.files.ledger import FileVersion
from txn_assets.stores.errors import StoreError
from txn_assets.stores.landing.archive import LandingArchive
from txn_assets.stores.landing.retention import remove_landed
from txn_assets_tests.deployment import SINKS, Deployment, failure, make_file, make_row

NOW = dt.datetime.now(dt.UTC)
LANDING = "landing/transactions"


@pytest.fixture(autouse=True)
def _no_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TXN_DAGSTER_URL", "http://127.0.0.1:9")


@pytest.fixture
def archive(deployment: Deployment) -> storage.Bucket:
    """Configure an archive, and return its bucket."""
    name = f"{deployment.config.data_lake.gcs_bucket}-archive"
    deployment.configure({"retention": {"landing_days": 30, "archive_bucket": name}})
    return deployment.gcs.create_bucket(name)


def _remove_old(deployment: Deployment) -> dg.ExecuteInProcessResult:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    job = build(deployment.config).resolve_job_def("remove_old")
    return job.execute_in_process(instance=deployment.instance, run_config=quiet, raise_on_error=False)


def _age(deployment: Deployment, *names: str) -> None:
    """Make the storage say that objects in the landing zone were created 40 days ago."""
    for name in names:
        path = txn_home() / "stack" / "gcs" / deployment.config.data_lake.gcs_bucket / LANDING / name
        (attribute,) = os.listxattr(path)
        created = (NOW - dt.timedelta(days=40)).isoformat()
        attributes = json.loads(os.getxattr(path, attribute)) | {"Created": created}
        os.setxattr(path, attribute, json.dumps(attributes).encode())


def _landed(deployment: Deployment) -> set[str]:
    names = {blob.name.removeprefix(f"{LANDING}/") for blob in deployment.bucket.list_blobs(prefix=f"{LANDING}/")}
    return names - {"transactions.csv"}


def _txn(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(shlex.split(command))
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_archive(deployment: Deployment, archive: storage.Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """Old objects that every store has move to the archive, and everybody knows how to get them back."""
    content = make_file(make_row())
    source = deployment.bucket.blob(f"{LANDING}/old.csv")
    source.metadata = {"sender": "us"}
    source.upload_from_string(content, content_type="text/csv")
    old = int(source.generation)
    interrupted = deployment.land("interrupted.csv", content)
    others = ("young.csv", "overwritten.csv", "lost.csv", "loading.csv")
    for name in others:
        deployment.land(name, content)
    assert deployment.materialize_batch("old.csv", "interrupted.csv", *others).success
    deployment.land("overwritten.csv", make_file(make_row(product="new")))
    deployment.land("waiting.csv", content)
    deployment.pg.execute(f"DELETE FROM {deployment.pg_table}_loads WHERE source_file = 'lost.csv'")
    _age(deployment, "old.csv", "interrupted.csv", "overwritten.csv", "lost.csv", "waiting.csv", "loading.csv")
    load = build(deployment.config).resolve_job_def("load_landed_files")
    tags = {KEY_TAG: "loading.csv"}
    deployment.instance.create_run_for_job(load, status=dg.DagsterRunStatus.STARTED, tags=tags)
    # What a process leaves that was killed between the copy and the deletion.
    archive.blob(f"{LANDING}/interrupted.csv@{interrupted}").upload_from_string(content, content_type="text/csv")

    result = _remove_old(deployment)

    assert result.success
    assert _landed(deployment) == {"young.csv", "overwritten.csv", "lost.csv", "waiting.csv", "loading.csv"}
    archived = {blob.name: blob.download_as_bytes() for blob in archive.list_blobs()}
    assert archived == {f"{LANDING}/old.csv@{old}": content, f"{LANDING}/interrupted.csv@{interrupted}": content}
    blob = archive.get_blob(f"{LANDING}/old.csv@{old}")
    assert blob is not None
    assert (blob.content_type, blob.metadata) == ("text/csv", {"sender": "us"})
    place = f"gs://{archive.name}/{LANDING}/old.csv@{old}"
    observed = {
        event.partition: event.asset_observation_data.asset_observation.metadata["archived_to"].value
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION
    }
    assert (set(observed), observed["old.csv"]) == ({"old.csv", "interrupted.csv"}, place)
    assert [len(deployment.rows(store, "old.csv")) for store in SINKS] == [1, 1, 1]

    code, text = _txn(capsys, "status old.csv")
    assert (code, text.partition("\n")[0]) == (0, "LOADED  old.csv")
    assert f"archived as {place}" in text
    what_to_do = "To load it again, bring it back with `txn restore old.csv`; it lands as a new version."
    assert what_to_do in failure(deployment.materialize("old.csv", raise_on_error=False))
    with asking(argparse.Namespace(feed=None)) as asked, pytest.raises(UserError, match="bring it back with"):
        _find_named(asked, ["old.csv"])

    code, text = _txn(capsys, "restore old.csv")
    assert (code, text.endswith(f"has landed from {place}\n")) == (0, True)
    assert _txn(capsys, "restore old.csv")[1] == (
        f"'old.csv' is in gs://{deployment.bucket.name}/{LANDING}/ already: `txn replay` loads it again.\n"
    )
    assert deployment.materialize("old.csv").success
    assert len(deployment.rows_everywhere("old.csv")) == 1


def test_delete(deployment: Deployment, archive: storage.Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """With `delete`, the object is gone, what replaced it stays, and a replay says that it must land again.

    A version that a store holds under other rules, or that was refused under them, is still needed.
    """
    deployment.configure({"retention": {"landing": "delete"}})
    content = make_file(make_row(), make_row(price="2.00"))
    for name in ("gone.csv", "refused.csv"):
        deployment.land(name, content)
    assert deployment.materialize_batch("gone.csv", "refused.csv").success
    _age(deployment, "gone.csv", "refused.csv")
    rules = {"ingestion": {"validation": {"min_price": 5000}}}
    deployment.configure(rules)
    assert _remove_old(deployment).success
    assert _landed(deployment) == {"gone.csv", "refused.csv"}

    assert not deployment.materialize("refused.csv", raise_on_error=False).success
    deployment.configure({"ingestion": {"validation": {"min_price": 0}}})
    assert _remove_old(deployment).success
    assert _landed(deployment) == {"refused.csv"}
    assert list(archive.list_blobs()) == []

    code, text = _txn(capsys, "status gone.csv")
    assert (code, text.partition("\n")[0]) == (0, "LOADED  gone.csv")
    assert "no longer in the landing zone" in text
    with asking(argparse.Namespace(feed=None)) as asked, pytest.raises(UserError, match="its landed object is gone"):
        _find_named(asked, ["gone.csv"])


def test_copy_that_differs(deployment: Deployment, archive: storage.Bucket) -> None:
    """Without an exact copy in the archive nothing is deleted, and the sentence names what is in the way."""
    generation = deployment.land("a.csv", make_file(make_row()))
    archived = archive.blob(f"{LANDING}/a.csv@{generation}")
    archived.upload_from_string(b"something else")
    with open_services(deployment.config) as services:
        own = services.of(deployment.feed())
        version = own.landing.latest("a.csv")
        assert version
        with pytest.raises(StoreError, match=r"a.csv@\d+ is not a copy of a.csv@\d+: its checksum differs"):
            remove_landed(own, version, archives=True, now=NOW)
        archived.delete()
        archive.delete()
        with pytest.raises(StoreError, match=f"Archive bucket {archive.name} cannot be used"):
            remove_landed(own, version, archives=True, now=NOW)
    assert _landed(deployment) == {"a.csv"}


class Overtaken(LandingArchive):
    """An archive during whose copies somebody lands the file again."""

    def keep(self, source: storage.Blob, version: FileVersion) -> bool:
        is_new = super().keep(source, version)
        source.bucket.blob(source.name).upload_from_string(b"newer")
        return is_new


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_overwritten_object_stays(deployment: Deployment, archive: storage.Bucket, is_overtaken: bool) -> None:
    """An object that is overwritten after it was chosen, or while it is copied, stays, and so does no copy of it."""
    chosen = deployment.land("a.csv", make_file(make_row()))
    if not is_overtaken:
        deployment.land("a.csv", b"newer")
    with open_services(deployment.config) as services:
        own = services.of(deployment.feed())
        assert own.archive
        if is_overtaken:
            own = replace(own, archive=Overtaken(own.clients, own.archive.bucket, own.archive.prefix))
        version = own.landing.latest("a.csv")
        assert version
        removal = remove_landed(own, replace(version, generation=chosen), archives=True, now=NOW)
    assert (removal.is_removed, removal.stays) == (False, "")
    assert deployment.bucket.blob(f"{LANDING}/a.csv").download_as_bytes() == b"newer"
    assert list(archive.list_blobs()) == []


def test_erasure_reaches_the_archive(
    deployment: Deployment,
    archive: storage.Bucket,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An erased person is in no archived object, whose other rows stay."""
    name = f"{LANDING}/a.csv@1700000000000000"
    content = make_file(make_row(transaction_id="PERSON-4711"), make_row(transaction_id="T002"))
    archive.blob(name).upload_from_string(content, content_type="text/csv")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"PERSON-4711\n")))

    code, text = _txn(capsys, "erase --field transaction_id --by us")

    assert (code, text.splitlines()[-1]) == (0, "ERASED  transactions-1: no place has rows of the person.")
    assert archive.blob(name).download_as_bytes() == make_file(make_row(transaction_id="T002"))


KILLED = """
import datetime as dt
from txn_assets.config import load_config
from txn_assets.defs.services import open_services
from txn_assets.feeds.configured import feeds_of
from txn_assets.stores.errors import StoreError
from txn_assets.stores.landing.archive import LandingArchive
from txn_assets.stores.landing.retention import remove_landed

with open_services(load_config()) as services:
    own = services.of(feeds_of(services.config)[0])
    for version in list(own.landing.versions()):
        remove_landed(own, version, archives=True, now=dt.datetime.now(dt.UTC))
"""


def test_killed_process(deployment: Deployment, archive: storage.Bucket) -> None:
    """A process that is killed while it archives loses no object, and the next one finishes."""
    contents = {f"{n:02}.csv": f"{n}\n".encode() * 20_000 for n in range(30)}
    for name, content in contents.items():
        deployment.land(name, content)
    process = subprocess.Popen([sys.executable, "-c", KILLED])
    while process.poll() is None and not list(archive.list_blobs(max_results=1)):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert _landed(deployment)

    subprocess.run([sys.executable, "-c", KILLED], check=True)

    archived = [(blob.name, blob.download_as_bytes()) for blob in archive.list_blobs()]
    pairs = [(name.removeprefix(f"{LANDING}/").partition("@")[0], content) for name, content in archived]
    # The local stack lands the sample.
    assert sorted(pair for pair in pairs if pair[0] != "transactions.csv") == sorted(contents.items())
    assert _landed(deployment) == set()
