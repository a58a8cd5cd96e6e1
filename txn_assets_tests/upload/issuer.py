"""An issuer of tokens that tests control: its keys, and whether and how fast it answers."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "txn-assets"
WRITE = "transactions:write"

type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def make_key(algorithm: str, *, bits: int = 2048) -> PrivateKey:
    """Return a new private key for an algorithm."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        return ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[algorithm])
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def published(kid: str, algorithm: str, key: PrivateKey) -> dict[str, Any]:
    """Return the public part of a key as a JWK."""
    # The name of this class is `RSAAlgorithm`, `RSAPSSAlgorithm`, `ECAlgorithm` or `OKPAlgorithm`.
    to_jwk = jwt.get_algorithm_by_name(algorithm).to_jwk
    jwk: dict[str, Any] = json.loads(to_jwk(key.public_key()))
    return jwk | {"kid": kid, "alg": algorithm, "use": "sig"}


@dataclass
class Issuer:
    """The issuer as it is now.

    Attributes:
        keys: the private keys by their ids, with their algorithms.
        entries: what the key set has besides.
        delay: seconds before each answer.
        is_broken: whether each answer is an error.
        key_requests: how often the key set was asked for.
    """

    url: str = ""
    keys: dict[str, tuple[str, PrivateKey]] = field(default_factory=dict)
    entries: list[object] = field(default_factory=list)
    delay: float = 0.0
    is_broken: bool = False
    key_requests: int = 0

    def add(self, kid: str, algorithm: str = "ES256", **options: int) -> None:
        self.keys[kid] = algorithm, make_key(algorithm, **options)

    def token(self, kid: str, *, header: dict[str, Any] | None = None, **claims: object) -> str:
        """Return a valid token, with a test's own claims; None removes a claim."""
        algorithm, key = self.keys[kid]
        return jwt.encode(self.claims(**claims), key, algorithm, headers={"kid": kid} | (header or {}))

    def claims(self, **claims: object) -> dict[str, Any]:
        now = int(time.time())
        valid = {"iss": self.url, "aud": AUDIENCE, "sub": "shop", "scope": WRITE, "iat": now, "exp": now + 60}
        return {name: value for name, value in (valid | claims).items() if value is not None}

    def document(self, path: str) -> object:
        if path == "/keys":
            self.key_requests += 1
            return {"keys": [*(published(kid, *key) for kid, key in self.keys.items()), *self.entries]}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Yield an issuer that answers on loopback."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(issuer.delay)
            content = json.dumps(issuer.document(self.path)).encode()
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", f"{issuer.url}/keys")
            else:
                self.send_response(500 if issuer.is_broken else 200)
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield issuer
        server.shutdown()
