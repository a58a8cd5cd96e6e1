"""Objects with a person where the local storage cannot show it: old versions, and objects that others write."""

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from google.api_core.exceptions import PreconditionFailed

from txn_assets.files.erasures import ErasureRequest
from txn_assets.stores.clients import Clients
from txn_assets.stores.errors import StoreUnavailableError
from txn_assets.stores.gcs.erasure import ATTEMPTS, Objects

PERSON, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"person", b"other"))
WITH, WITHOUT = f"id\n{PERSON}\n{OTHER}\n", f"id\n{OTHER}\n"


@dataclass
class FakeBlob:
    """A version of an object in a versioned bucket, with the methods of `storage.Blob`."""

    storage: "FakeStorage"
    name: str
    generation: int
    text: str
    time_deleted: str | None = None
    content_type: str = "text/csv"
    metadata: dict[str, str] | None = None

    @property
    def size(self) -> int:
        return len(self.text)

    def download_to_filename(self, path: str, **_: object) -> None:
        Path(path).write_text(self.text)

    def delete(self, **_: object) -> None:
        self.storage.versions.remove(self)

    def upload_from_filename(self, path: str, *, if_generation_match: int, **_: object) -> None:
        (live,) = (blob for blob in self.storage.versions if blob.name == self.name and not blob.time_deleted)
        if self.storage.writers:
            self.storage.writers -= 1
            live.time_deleted = "now"
            self.storage.add(self.name, WITH)
        elif live.generation == if_generation_match:
            live.time_deleted = "now"
            self.storage.add(self.name, Path(path).read_text())
            return
        raise PreconditionFailed("somebody has written it")  # type: ignore[no-untyped-call]  # untyped


@dataclass
class FakeStorage:
    """A client and a bucket with object versioning. Others are faster in the next `writers` writes."""

    versions: list[FakeBlob] = field(default_factory=list)
    writers: int = 0

    def add(self, name: str, text: str, *, deleted: str | None = None) -> None:
        self.versions.append(FakeBlob(self, name, len(self.versions) + 1, text, deleted))

    def bucket(self, _: str) -> "FakeStorage":
        return self

    def list_blobs(self, _: str, *, versions: bool, **__: object) -> Iterator[FakeBlob]:
        return iter([blob for blob in self.versions if versions or not blob.time_deleted])

    def get_blob(self, name: str, **_: object) -> FakeBlob | None:
        return next((blob for blob in self.versions if blob.name == name and not blob.time_deleted), None)

    def blob(self, name: str) -> FakeBlob:
        return FakeBlob(self, name, 0, "")

    @property
    def texts(self) -> list[str]:
        return [blob.text for blob in self.versions]


def make_request() -> ErasureRequest:
    """Return a request for the person."""
    now = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
    return ErasureRequest(
        feed="transactions", number=1, field="id", digests={"sha256": PERSON}, requested_at=now, requested_by="test"
    )


def objects_of(storage: FakeStorage, folder: Path) -> Objects:
    """Return the objects of a fake bucket."""
    clients = SimpleNamespace(storage=storage, no_retry={})
    (folder / "work").mkdir()
    return Objects(
        clients=cast("Clients", clients),
        bucket="bucket",
        prefix="raw",
        format_of=lambda _: "csv",
        correct=lambda *_: {},
        folder=folder / "work",
    )


def test_old_versions_are_deleted(tmp_path: Path) -> None:
    """In a versioned bucket, what was replaced before is deleted if it has the person; other versions stay."""
    storage = FakeStorage()
    storage.add("raw/a", WITH, deleted="before")
    storage.add("raw/a", "id\n", deleted="before")
    storage.add("raw/a", WITH)
    objects = objects_of(storage, tmp_path)
    request = make_request()

    assert objects.count(request) == 2
    assert objects.erase(request) == 2
    assert objects.count(request) == 0
    assert storage.texts == ["id\n", WITHOUT]


def test_object_that_another_run_writes(tmp_path: Path) -> None:
    """If somebody writes the object after it was read, its new version is written again instead."""
    storage = FakeStorage(writers=2)
    storage.add("raw/a", WITH)

    assert objects_of(storage, tmp_path).erase(make_request()) == 1

    assert [blob.text for blob in storage.versions if not blob.time_deleted] == [WITHOUT]


def test_object_that_never_rests(tmp_path: Path) -> None:
    """If others never stop writing the object, somebody has to run the command again."""
    storage = FakeStorage(writers=ATTEMPTS)
    storage.add("raw/a", WITH)

    with pytest.raises(StoreUnavailableError, match="gs://bucket/raw/a is written by others all the time"):
        objects_of(storage, tmp_path).erase(make_request())
