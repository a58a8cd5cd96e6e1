"""Who sends a request: the subject of its bearer token."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends


@dataclass(frozen=True)
class Subject:
    """Who sends a request.

    Attributes:
        name: names the folder of its files.
        scopes: what it may do.
    """

    name: str
    scopes: frozenset[str]


def _anonymous() -> Subject:
    return Subject("anonymous", frozenset({"transactions:write", "sales:read"}))


Uploader = Annotated[Subject, Depends(_anonymous)]
Reader = Annotated[Subject, Depends(_anonymous)]
