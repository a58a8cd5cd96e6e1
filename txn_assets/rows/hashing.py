"""How PII is hashed: SHA-256, plain or keyed.

Here belong the hash of one value, the same hash as a DuckDB expression for whole columns, and the check of the key.
Which columns are hashed is configuration; nothing downstream of `hashed_transactions` hashes again.
Documented in docs/data-contract.md.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from txn_assets.config import ConfigError, Security
from txn_assets.rows.transaction import FIELDS

KEY_VARIABLE = "TXN_HASH_KEY"
MIN_KEY_BYTES = 32
"""As long as the digest: a shorter key is easier to guess than the hash (RFC 2104, section 3)."""

_BLOCK_BYTES = 64  # of SHA-256; RFC 2104 pads the key to it


@dataclass(frozen=True, slots=True)
class Hasher:
    """Hashes the PII columns of a deployment.

    Attributes:
        pii_fields: the columns that are hashed.
        key: None for plain SHA-256, else the key of HMAC-SHA-256; never shown.
        key_id: the name of the key in the ledger.
    """

    pii_fields: Sequence[str]
    key: bytes | None = field(repr=False)
    key_id: str

    def hexdigest(self, text: str) -> str:
        """64 hex digits for the UTF-8 bytes of `text`."""
        data = text.encode()
        if self.key is None:
            return hashlib.sha256(data).hexdigest()
        return hmac.new(self.key, data, hashlib.sha256).hexdigest()

    def select_list(self) -> str:
        """`FIELDS` as the select list of a DuckDB query, PII hashed; null stays null.

        For a keyed hash the query has to bind `parameters()`.
        """
        return ", ".join(f"{self._digest_sql(name)} AS {name}" if name in self.pii_fields else name for name in FIELDS)

    def _digest_sql(self, column: str) -> str:
        if self.key is None:
            return f"sha256({column})"
        return f"sha256($outer || unhex(sha256($inner || encode({column}))))"

    def parameters(self) -> Mapping[str, bytes]:
        """What `select_list()` binds: the two padded keys of RFC 2104, or nothing."""
        if self.key is None or not self.pii_fields:
            return {}
        key = hashlib.sha256(self.key).digest() if len(self.key) > _BLOCK_BYTES else self.key
        block = key.ljust(_BLOCK_BYTES, b"\0")
        return {"inner": bytes(byte ^ 0x36 for byte in block), "outer": bytes(byte ^ 0x5C for byte in block)}


def make_hasher(security: Security, key: str | None) -> Hasher:
    """The hasher that `security` asks for, with `key` from the environment.

    Raises:
        ConfigError: the keyed algorithm is configured and the key is missing or short, or has no name.
    """
    if security.hash.algorithm == "sha256":
        return Hasher(security.pii_fields, None, "sha256")
    # Bytes of the environment that are no UTF-8 come as surrogates, and count as the bytes that they are.
    data = (key or "").encode("utf-8", "surrogateescape")
    if len(data) < MIN_KEY_BYTES:
        message = (
            f"security.hash.algorithm is hmac-sha256, and {KEY_VARIABLE} has {len(data)} bytes: "
            f"set it to a secret of at least {MIN_KEY_BYTES} bytes, for example from `openssl rand -hex 32`."
        )
        raise ConfigError(message)
    if security.hash.key_id == "none":
        message = "security.hash.key_id is missing: give the key a name, so that the ledger tells keys apart."
        raise ConfigError(message)
    return Hasher(security.pii_fields, data, security.hash.key_id)
