"""An object of the lake that takes several requests: it appears with the last one, or the old one stays."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from txn_assets.files.ledger import Action
from txn_assets.stores.errors import StoreError
from txn_assets.stores.gcs import store as gcs_store
from txn_assets.stores.store import Store
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import Content, difference, leftovers, make_load, open_stores, stage

LAKE = "gcs_raw"
CHUNKS = 3
"""What the object of `large` takes."""


class Watched(requests.Session):
    """Connections to upload sessions that call `seen` before each request, or after it if `is_late`."""

    def __init__(self, seen: Callable[[int], None], *, is_late: bool = False) -> None:
        super().__init__()
        self.seen, self.is_late = seen, is_late
        self.number = 0

    def request(self, *given: Any, **options: Any) -> requests.Response:
        self.number += 1
        number = self.number
        if not self.is_late:
            self.seen(number)
        response = super().request(*given, **options)
        if self.is_late:
            self.seen(number)
        return response


@pytest.fixture
def lake(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Return the lake, which sends small chunks."""
    monkeypatch.setattr(gcs_store, "CHUNK_BYTES", 1 << 18)
    with open_stores(deployment.config, retry_seconds=5.0) as opened:
        yield opened[LAKE]


@pytest.fixture
def large(deployment: Deployment, old: Content) -> Content:
    """Return the version that replaced `old`, whose object takes several requests."""
    return stage(deployment, "a.csv", 6_500, seed=2)


def watch(lake: Store, seen: Callable[[int], None], *, is_late: bool = False) -> Watched:
    """Make `lake` call `seen` at each request to an upload session."""
    watched = Watched(seen, is_late=is_late)
    lake.clients.upload_sessions = watched
    return watched


def test_object_appears_whole(deployment: Deployment, lake: Store, old: Content, large: Content) -> None:
    """Until the last response the old object is there; whatever request or response is lost, the new one is whole."""
    make_load(lake, old)

    def seen(_: int) -> None:
        assert difference(deployment, LAKE, old).size == 0

    watched = watch(lake, seen)
    assert make_load(lake, large) is Action.LOAD
    assert watched.number == CHUNKS
    assert difference(deployment, LAKE, large).size == 0
    for is_late in (False, True):
        for lost in range(1, CHUNKS + 1):

            def lose(number: int, lost: int = lost) -> None:
                if number == lost:
                    message = "lost"
                    raise requests.ConnectionError(message)

            # Under other rules, so that the object is written again.
            content = replace(large, file=replace(large.file, rules_id=f"rules {is_late} {lost}"))
            watched = watch(lake, lose, is_late=is_late)
            assert make_load(lake, content) is Action.LOAD
            # The question how far it got, and what was lost again; a response that was lost needs no other bytes.
            assert watched.number == CHUNKS + (1 if is_late else 2)
            assert difference(deployment, LAKE, large).size == 0
            assert leftovers(deployment, LAKE, content) == []


def test_object_stays(deployment: Deployment, lake: Store, old: Content, large: Content) -> None:
    """If rows cannot be read, a chunk cannot be sent, or somebody writes the object meanwhile, the old one stays."""
    make_load(lake, old)
    hashed = lake.run_files.hashed_rows(large.file)
    data = hashed.read_bytes()
    # The footer is whole, and a page in the last row group is not.
    hashed.write_bytes(data[: len(data) // 2] + bytes(1000) + data[len(data) // 2 + 1000 :])
    with pytest.raises(StoreError, match="GCS bucket"):
        make_load(lake, large)
    assert difference(deployment, LAKE, old).size == 0
    assert leftovers(deployment, LAKE, old) == []

    hashed.write_bytes(data)

    def fail(number: int) -> None:
        if number == CHUNKS - 1:
            message = "not transient"
            raise ValueError(message)

    watch(lake, fail)
    with pytest.raises(StoreError, match="not transient"):
        make_load(lake, large)
    assert difference(deployment, LAKE, old).size == 0
    assert leftovers(deployment, LAKE, old) == []

    newer = stage(deployment, "a.csv", 20, seed=3)

    def overtake(number: int) -> None:
        if number == CHUNKS:
            with open_stores(deployment.config) as stores:
                make_load(stores[LAKE], newer, "successor")

    watch(lake, overtake)
    assert make_load(lake, large, "late") is Action.STAND_BACK
    assert difference(deployment, LAKE, newer).size == 0
    assert leftovers(deployment, LAKE, newer) == []
