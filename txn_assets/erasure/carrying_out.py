"""Carry out erasure requests in every place that has rows, and look whether the person is gone.

Each place removes rows in its own way (`stores/erasure_places.py`). A request stays open until every place was found
without the person, so whoever comes after a crash does it again.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from txn_assets.errors import UserError
from txn_assets.feeds.feed import FIRST_FEED
from txn_assets.files.erasures import ErasureRequest, ErasureRequests
from txn_assets.marts.engines import open_marts
from txn_assets.marts.mart import marts_of
from txn_assets.stores.erasure_places import places
from txn_assets.stores.services import Services


@dataclass(frozen=True)
class Erased:
    """What became of a request.

    Attributes:
        removed: how many rows this call removed, by place.
        left: how many rows each place still has.
    """

    request: ErasureRequest
    removed: Mapping[str, int]
    left: Mapping[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether no place has rows of the person."""
        return not any(self.left.values())


def carry_out(services: Services, request: ErasureRequest, *, say: Callable[[str], None]) -> Erased:
    """Remove the rows of the person from every place, bring the marts up to date, and finish the request.

    `say` gets a line for each place. Call it again after a failure: what is removed already is not removed twice.

    Raises:
        StoreError: a place cannot be read or written.
        UserError: the request was withdrawn.
    """
    if request.is_withdrawn:
        message = f"The erasure request {request} was withdrawn. Make a new one with `txn erase --field FIELD`."
        raise UserError(message)
    removed = {}
    for place in places(services):
        count = removed[place.label] = place.erase(request)
        say(f"  {place.label:<14}{count:>8,} row{'' if count == 1 else 's'} removed")
    _refresh_marts(services)
    left = count_left(services, request)
    if not any(left.values()):
        request = _finish(services, request, removed)
    return Erased(request, removed, left)


def count_left(services: Services, request: ErasureRequest) -> dict[str, int]:
    """Return how many rows of the person each place has.

    Raises:
        StoreError: a place cannot be read.
    """
    return {place.label: place.count(request) for place in places(services)}


def due(services: Services) -> list[ErasureRequest]:
    """Return the requests with work to do: the open ones, and those that a database no longer knows.

    A database that was restored from before a request has its rows again.

    Raises:
        StoreError: a database cannot be read.
    """
    requests = services.erasures.read()
    if not requests.in_force:
        return []
    noted = [store.retry_transient(store.finished_erasures) for store in services.stores.values()]
    return [
        request
        for request in requests.in_force
        if request.is_open or any(request.number not in numbers for numbers in noted if numbers is not None)
    ]


def withdraw(services: Services, request: ErasureRequest) -> ErasureRequest:
    """Take back `request`: files that are loaded from now on may have the person's rows.

    Raises:
        UserError: it was withdrawn before.
    """
    if request.is_withdrawn:
        message = f"The erasure request {request} was withdrawn before."
        raise UserError(message)
    now = dt.datetime.now(dt.UTC)
    return _change(services, request, lambda one: replace(one, withdrawn_at=now))


def _finish(services: Services, request: ErasureRequest, removed: Mapping[str, int]) -> ErasureRequest:
    now = dt.datetime.now(dt.UTC)
    before = request.removed
    total = {label: before.get(label, 0) + removed.get(label, 0) for label in {**before, **removed}}
    return _change(services, request, lambda one: replace(one, finished_at=one.finished_at or now, removed=total))


def _change(
    services: Services, request: ErasureRequest, change: Callable[[ErasureRequest], ErasureRequest]
) -> ErasureRequest:
    def changed(requests: ErasureRequests) -> ErasureRequests:
        return requests.changing(request.number, change)

    return services.erasures.update(changed).find(request.id)


def _refresh_marts(services: Services) -> None:
    # Marts are computed from the tables of the first feed. They say themselves whether the tables have changed.
    if services.feed.name != FIRST_FEED:
        return
    opened = open_marts(services, services.config)
    for mart in marts_of(services.config):
        opened.export(mart, opened.refresh(mart))
