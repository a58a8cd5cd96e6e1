"""Make a request of the value that identifies a person, which goes no further than this module.

`carrying_out.py` works from the hashes alone.
"""

import datetime as dt
from functools import partial

from txn_assets.feeds.feed import Feed
from txn_assets.files.erasures import ErasureError, ErasureRequest, ErasureRequests
from txn_assets.stores.services import Services


def request_erasure(services: Services, column: str, value: str, *, by: str) -> ErasureRequest:
    """Write a request for the person with `value` in `column`, and return it; also if there is one already.

    Raises:
        ErasureError: see `digests_of`, or the register cannot be written.
    """
    digests = digests_of(services, column, value)
    add = partial(ErasureRequests.adding, column=column, digests=digests, by=by, at=dt.datetime.now(dt.UTC))
    request = services.erasures.update(add).same_person(column, digests)
    assert request is not None, "it was added"
    return request


def digests_of(services: Services, column: str, value: str) -> dict[str, str]:
    """Return the hash of `value` in `column` under each key that is alive, by key id.

    Raises:
        ErasureError: the column is not hashed, or the value is empty or several lines; the message does not have it.
    """
    check_field(services.feed, column)
    # As the row contract does, so that the hash is that of the stores.
    value = value.strip()
    if not value:
        message = f"The value of {column} is empty. Give it on standard input."
        raise ErasureError(message)
    if len(value.splitlines()) > 1:
        message = f"The value of {column} has several lines. Give the value of one person at a time."
        raise ErasureError(message)
    return {hasher.key_id: hasher.hexdigest(value) for hasher in services.run_files.hashers}


def check_field(feed: Feed, column: str) -> None:
    """Refuse a column whose hash identifies nobody.

    Raises:
        ErasureError: the column is not a PII field of `feed`.
    """
    if column in feed.pii_fields:
        return
    known = ", ".join(feed.pii_fields) or "none"
    message = (
        f"{column} is not a PII field of the feed {feed.name}, so the stores have no hash of it to look for. "
        f"Its PII fields: {known}."
    )
    raise ErasureError(message)
