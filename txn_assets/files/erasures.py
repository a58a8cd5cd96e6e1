"""Erasure requests: whose rows must be in no store. They name a person by hashes of a field, never by its value.

This module has the requests of a feed and what may be done with them. `stores/erasures.py` keeps them in the bucket.
See docs/how-to/erase-a-person.md.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from pydantic import TypeAdapter

from txn_assets.errors import UserError


class ErasureError(UserError):
    """Raised when a request cannot be made, or rows cannot be hashed because of one; never names a value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureRequest:
    """A request to erase the rows of one person.

    Attributes:
        number: its place among the requests of the feed, from 1. Rows that were hashed when fewer requests were known
            must not be loaded.
        field: the column that identifies the person.
        digests: the hash of the value under each key that was alive, by key id.
        requested_by: who asked for it, in the words of the one who did.
        finished_at: when the person was found in no store; None while there is work to do.
        withdrawn_at: when it was withdrawn, for example because the value was mistyped; it no longer has an effect.
        removed: how many rows were removed, by the place where they were.
    """

    feed: str
    number: int
    field: str
    digests: Mapping[str, str]
    requested_at: dt.datetime
    requested_by: str
    finished_at: dt.datetime | None = None
    withdrawn_at: dt.datetime | None = None
    removed: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The name of the request for people: that of the feed, and the number."""
        return f"{self.feed}-{self.number}"

    @property
    def is_withdrawn(self) -> bool:
        """Whether it no longer has an effect."""
        return self.withdrawn_at is not None

    @property
    def is_open(self) -> bool:
        """Whether there is work to do."""
        return self.finished_at is None and not self.is_withdrawn

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, kw_only=True)
class ErasureRequests:
    """All requests of a feed, in the order of their numbers."""

    feed: str
    requests: tuple[ErasureRequest, ...] = ()

    @property
    def last(self) -> int:
        """The number of the newest request, withdrawn or not; 0 if there is none."""
        return len(self.requests)

    @property
    def in_force(self) -> tuple[ErasureRequest, ...]:
        """The requests that have an effect, finished ones included."""
        return tuple(request for request in self.requests if not request.is_withdrawn)

    @property
    def open(self) -> tuple[ErasureRequest, ...]:
        """The requests with work to do."""
        return tuple(request for request in self.requests if request.is_open)

    def digests(self, key_id: str) -> dict[str, set[str]]:
        """Return the hashes under the key `key_id` of the persons to leave out, by field."""
        found: dict[str, set[str]] = {}
        for request in self.in_force:
            if key_id in request.digests:
                found.setdefault(request.field, set()).add(request.digests[key_id])
        return found

    def up_to(self, number: int) -> Self:
        """Return only the requests with a number of at most `number`."""
        return replace(self, requests=self.requests[:number])

    def without(self, key_id: str) -> "ErasureRequests":
        """Return only the requests that have an effect and no hash under the key `key_id`."""
        return replace(self, requests=tuple(one for one in self.in_force if key_id not in one.digests))

    def find(self, name: str) -> ErasureRequest:
        """Return the request with the id or the number `name`.

        Raises:
            ErasureError: there is none.
        """
        for request in self.requests:
            if name in (request.id, str(request.number)):
                return request
        message = f"There is no erasure request {name!r} of the feed {self.feed}. `txn erase list` lists them."
        raise ErasureError(message)

    def same_person(self, column: str, digests: Mapping[str, str]) -> ErasureRequest | None:
        """Return the request that has an effect and is about the person with `digests` in `column`, if there is one."""
        return next(
            (one for one in self.in_force if one.field == column and one.digests.items() & digests.items()), None
        )

    def adding(self, column: str, digests: Mapping[str, str], *, by: str, at: dt.datetime) -> Self:
        """Return these with a request for the person with `digests` in `column`.

        If there is one already, it gets the hashes that it lacks, and is open again.
        """
        if known := self.same_person(column, digests):
            return self.changing(
                known.number, lambda one: replace(one, digests={**one.digests, **digests}, finished_at=None)
            )
        request = ErasureRequest(
            feed=self.feed, number=self.last + 1, field=column, digests=digests, requested_at=at, requested_by=by
        )
        return replace(self, requests=(*self.requests, request))

    def changing(self, number: int, change: Callable[[ErasureRequest], ErasureRequest]) -> Self:
        """Return these with `change` applied to the request `number`."""
        return replace(self, requests=tuple(change(one) if one.number == number else one for one in self.requests))

    def extending(self, key_id: str, known: Mapping[str, str], *, under: str) -> Self:
        """Return these with the hashes under the key `key_id` in `known`, which has them by the hash under `under`."""

        def change(request: ErasureRequest) -> ErasureRequest:
            digest = known.get(request.digests.get(under, ""))
            if digest is None or key_id in request.digests:
                return request
            return replace(request, digests={**request.digests, key_id: digest})

        return replace(self, requests=tuple(map(change, self.requests)))

    def to_json(self) -> bytes:
        """Return these as JSON for `from_json`."""
        return _ADAPTER.dump_json(self, indent=1)


_ADAPTER = TypeAdapter(ErasureRequests)


def from_json(data: bytes) -> ErasureRequests:
    """Return the requests that `ErasureRequests.to_json` wrote.

    Raises:
        ValidationError: something else wrote it.
    """
    return _ADAPTER.validate_json(data)
