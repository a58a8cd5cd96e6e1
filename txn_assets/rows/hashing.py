"""Hash PII with SHA-256, plain or keyed.

This module hashes one value in Python and whole columns with a DuckDB expression, and checks the key. The
configuration says which columns to hash. Nothing downstream of `hashed_transactions` hashes again. See
docs/data-contract.md, 'Hashing'.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from txn_assets.environment import HASH_KEY, HASH_KEY_PREVIOUS, ConfigError

MIN_KEY_BYTES = 32
"""Minimum length of the key: that of the digest, because a shorter key is easier to guess (RFC 2104, section 3)."""

PLAIN = "sha256"
"""Name of the plain hash in the ledgers, where a keyed one has the id of its key."""

_BLOCK_BYTES = 64  # the block of SHA-256; RFC 2104 pads the key to this length


@dataclass(frozen=True, slots=True)
class Hasher:
    """Hashes the PII columns of a feed.

    Attributes:
        pii_fields: the columns to hash.
        key: None for plain SHA-256, otherwise the key of HMAC-SHA-256; never shown.
        key_id: the name of the key in the ledger.
    """

    pii_fields: Sequence[str]
    key: bytes | None = field(repr=False)
    key_id: str

    def hexdigest(self, text: str) -> str:
        """Return the hash of the UTF-8 bytes of `text` as 64 hex digits."""
        data = text.encode()
        if self.key is None:
            return hashlib.sha256(data).hexdigest()
        return hmac.new(self.key, data, hashlib.sha256).hexdigest()

    def select_list(self, names: Sequence[str]) -> str:
        """Return the columns `names` as the select list of a DuckDB query, with PII hashed; null stays null.

        For a keyed hash, the query has to bind `parameters()`.
        """
        return ", ".join(
            f'{self._digest_sql(name)} AS "{name}"' if name in self.pii_fields else f'"{name}"' for name in names
        )

    def _digest_sql(self, column: str) -> str:
        if self.key is None:
            return f'sha256("{column}")'
        return f'sha256($outer || unhex(sha256($inner || encode("{column}"))))'

    def parameters(self) -> Mapping[str, bytes]:
        """Return the values for the query of `select_list()` to bind: the two padded keys of RFC 2104, or nothing."""
        if self.key is None or not self.pii_fields:
            return {}
        key = hashlib.sha256(self.key).digest() if len(self.key) > _BLOCK_BYTES else self.key
        block = key.ljust(_BLOCK_BYTES, b"\0")
        return {"inner": bytes(byte ^ 0x36 for byte in block), "outer": bytes(byte ^ 0x5C for byte in block)}


@dataclass(frozen=True, slots=True)
class HashKeys:
    """The secret keys, None if their variables are not set: TXN_HASH_KEY and TXN_HASH_KEY_PREVIOUS.

    `required` says that a plain hash needs the permission of the configuration, as on the gcp target.
    """

    current: str | None = field(default=None, repr=False)
    previous: str | None = field(default=None, repr=False)
    required: bool = False


VARIABLES = {"security.hash": HASH_KEY, "security.hash.previous": HASH_KEY_PREVIOUS}
"""The environment variable with the key of each section."""


def make_hasher(
    pii_fields: Sequence[str],
    *,
    algorithm: str,
    key_id: str,
    key: str | None,
    section: str = "security.hash",
) -> Hasher:
    """Return the hasher of `pii_fields`, for the algorithm and key id in `section`; `key` is the value of its variable.

    Raises:
        ConfigError: the keyed algorithm is configured, but the key is missing, too short or has no name of its own.
    """
    if algorithm == "sha256":
        return Hasher(pii_fields, None, PLAIN)
    # Non-UTF-8 bytes in the variable arrive as surrogate escapes; turn them back into bytes.
    data = (key or "").encode("utf-8", "surrogateescape")
    if len(data) < MIN_KEY_BYTES:
        message = (
            f"{section}.algorithm is hmac-sha256, but {VARIABLES[section]} has {len(data)} bytes: "
            f"set it to a secret of at least {MIN_KEY_BYTES} bytes, for example from `openssl rand -hex 32`."
        )
        raise ConfigError(message)
    if key_id == "none":
        message = f"{section}.key_id is missing: give the key a name, so that the ledger can tell keys apart."
        raise ConfigError(message)
    if key_id == PLAIN:
        message = f"{section}.key_id is {PLAIN!r}, the name of the plain hash in the ledgers: choose another name."
        raise ConfigError(message)
    return Hasher(pii_fields, data, key_id)
