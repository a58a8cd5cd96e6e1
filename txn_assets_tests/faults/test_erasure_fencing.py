"""A load that hashed a person before the request brings nobody back, whenever it goes on."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest

from txn_assets.files.erasures import ErasureRequest
from txn_assets.files.values import HashedFile
from txn_assets.stores.errors import StoreError
from txn_assets.stores.store import Store
from txn_assets_tests.deployment import SINKS, Deployment
from txn_assets_tests.faults.bench import Content, difference, digest, make_load, turn_into

PERSON = digest("T7")
REFUSED = "was hashed before an erasure request, and has rows of that person"


def request_erasure(store: Store) -> ErasureRequest:
    """Write a request for the person with the id T7."""
    now = dt.datetime.now(dt.UTC)
    register = store.run_files.erasures
    requests = register.update(lambda one: one.adding("transaction_id", {"sha256": PERSON}, by="test", at=now))
    return requests.requests[-1]


def without_person(content: Content) -> Content:
    """Return `content` without the rows of the person."""
    return replace(content, rows=Counter({row: n for row, n in content.rows.items() if row[0] != PERSON}))


@pytest.mark.parametrize("store", SINKS)
def test_load_of_staged_rows(
    deployment: Deployment, stores: dict[str, Store], old: Content, new: Content, store: str
) -> None:
    """Rows that were staged before the request are refused, and the store keeps what it had, without the person."""
    make_load(stores[store], old)
    request = request_erasure(stores[store])
    assert stores[store].erase(request) == 1

    with pytest.raises(StoreError, match=REFUSED):
        make_load(stores[store], new)

    assert stores[store].count_erased_rows(request) == 0
    assert difference(deployment, store, without_person(old)).size == 0


@pytest.mark.parametrize("store", SINKS)
def test_erasure_during_a_load(
    deployment: Deployment, stores: dict[str, Store], old: Content, new: Content, store: str
) -> None:
    """A load that looked at the requests before somebody erased the person notices that before its commit."""
    make_load(stores[store], old)
    kind = type(stores[store])
    erased: list[ErasureRequest] = []

    def refuse_erased(self: Store, files: Iterable[HashedFile]) -> int:
        known = kind.refuse_erased(self, files)
        if not erased:
            erased.append(request_erasure(self))
            turn_into(kind, self).erase(erased[0])
        return known

    sleeper: Store = turn_into(type("Sleeper", (kind,), {"refuse_erased": refuse_erased}), stores[store])
    with pytest.raises(StoreError, match=REFUSED):
        make_load(sleeper, new)

    assert stores[store].count_erased_rows(erased[0]) == 0
    assert difference(deployment, store, without_person(old), without_person(new)).size == 0
