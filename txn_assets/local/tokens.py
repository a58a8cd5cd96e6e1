"""Sign bearer tokens for the upload service of the local target, with a key of the stack that `issuer.py` publishes."""

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from txn_assets.local.home import Home, locked, read_json, write_json


def make_token(home: Path, claims: Mapping[str, str], *, minutes: int) -> str:
    """Return a signed token with `claims`, valid for some minutes."""
    now = int(time.time())
    key = _key_of(Home(home))
    valid = {**claims, "iat": now, "exp": now + 60 * minutes}
    return jwt.encode(valid, jwt.PyJWK.from_dict(key), key["alg"], headers={"kid": key["kid"]})


def _key_of(home: Home) -> dict[str, Any]:
    """Return the private key of the stack as a JWK, and create it on first use."""
    with locked(home.token_key.with_suffix(".lock")):
        key = read_json(home.token_key)
        if key is None:
            private = ec.generate_private_key(ec.SECP256R1())
            key = jwt.algorithms.ECAlgorithm.to_jwk(private, as_dict=True)
            key |= {"kid": secrets.token_hex(8), "alg": "ES256", "use": "sig"}
            write_json(home.token_key, key)
        return key
