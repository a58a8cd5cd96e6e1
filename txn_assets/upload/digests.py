"""Compare the digests that a client announces in `Repr-Digest` and `Content-Digest` (RFC 9530) with what arrived."""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Protocol

import google_crc32c

from txn_assets.upload.problems import Problem


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


ALGORITHMS: Mapping[str, Callable[[], _Hash]] = {
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
    "crc32c": google_crc32c.Checksum,
}

_MEMBER = re.compile(r"(?P<algorithm>[a-z*][a-z0-9_.*-]*)=:(?P<digest>[A-Za-z0-9+/=]*):(?:;[^,]*)?")
_WANTED = {"Want-Repr-Digest": "sha-256=10, sha-512=5, crc32c=1"}


def parse_digests(header: str | None, name: str) -> dict[str, bytes]:
    """Return the digests in the header `name` by their algorithm, without unknown algorithms.

    Raises:
        Problem: the header is not a dictionary of byte sequences (RFC 9651), or has no digest that can be checked.
    """
    if header is None:
        return {}
    digests = {}
    for member in header.split(","):
        found = _MEMBER.fullmatch(member.strip())
        if not found:
            raise Problem(400, f"{name} cannot be read: write it as `sha-256=:<base64 of the digest>:` (RFC 9530).")
        try:
            digests[found["algorithm"]] = base64.b64decode(found["digest"], validate=True)
        except binascii.Error as error:
            raise Problem(400, f"The digest {found['algorithm']} in {name} is not base64.") from error
    known = {algorithm: digest for algorithm, digest in digests.items() if algorithm in ALGORITHMS}
    if not known:
        raise Problem(400, f"{name} has no digest that is checked: send {', '.join(ALGORITHMS)}.", headers=_WANTED)
    return known


class Digests:
    """Computes digests of data that arrives in pieces, and compares them with those in a header."""

    def __init__(self, announced: Mapping[str, bytes], header: str, *algorithms: str) -> None:
        self._announced = announced
        self._header = header
        self._hashes: dict[str, _Hash] = {name: ALGORITHMS[name]() for name in (*algorithms, *announced)}

    def update(self, data: bytes) -> None:
        """Add `data`, the next bytes."""
        for one in self._hashes.values():
            one.update(data)

    def hex(self, algorithm: str) -> str:
        """Return a digest of the data added so far."""
        return self._hashes[algorithm].digest().hex()

    def check(self) -> None:
        """Compare what arrived with what the header announces.

        Raises:
            Problem: a digest differs.
        """
        for algorithm, digest in self._announced.items():
            if self._hashes[algorithm].digest() != digest:
                raise Problem(
                    400,
                    f"What arrived does not have the {algorithm} in {self._header}: nothing has landed. Send it again.",
                )
