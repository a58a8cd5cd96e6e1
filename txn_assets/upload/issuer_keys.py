"""The public keys of the issuer of bearer tokens: fetched when a token needs them, kept, fetched again as they rotate.

`auth.py` verifies tokens with them. PyJWT's own client is not used, because it forgets its keys while the issuer does
not answer and does not limit how long a request waits.
"""

import asyncio
import http.client
import json
import logging
import math
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import jwt

REFRESH_SECONDS = 600.0
"""Age at which keys are fetched again, so that a key that was withdrawn stops working."""
COOLDOWN_SECONDS = 10.0
"""Minimum time between two fetches, because anyone can send tokens that name unknown keys."""
FETCH_SECONDS = 5.0
"""How long a fetch may take, and how long a request waits for one."""
_MAX_BYTES = 1 << 20
_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
"""Algorithms with a public key. Each key has one: its `alg`, or the usual one of its type."""

_log = logging.getLogger(__name__)

type Keys = Mapping[str, jwt.PyJWK]


class IssuerUnavailableError(Exception):
    """The issuer does not answer, and the key is not among those that it published before."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the issuer does not answer")
        self.retry_after = max(1, math.ceil(retry_after))


class FetchError(Exception):
    """The keys cannot be fetched. The message says why, without credentials."""


class IssuerKeys:
    """The keys of one issuer by their ids. Use it in one event loop.

    Attributes:
        fetch: return the keys that the issuer publishes now; it may block.
    """

    def __init__(self, fetch: Callable[[], Keys], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at = -math.inf
        self._next_fetch = -math.inf
        self._fetching: asyncio.Task[None] | None = None
        self._give_up_at = 0.0
        self._failed = False

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """Return the key `kid`, or None if the issuer does not publish it.

        Only a key that is not known waits for the issuer.

        Raises:
            IssuerUnavailableError: the key is not known, and the issuer does not answer.
        """
        now = self._clock()
        is_stale = kid not in self._keys or now - self._fetched_at > REFRESH_SECONDS
        if is_stale and self._fetching is None and now >= self._next_fetch:
            self._give_up_at = now + FETCH_SECONDS
            self._fetching = asyncio.create_task(self._refresh())
        if kid not in self._keys and self._fetching:
            await asyncio.wait({self._fetching}, timeout=max(0.0, self._give_up_at - now))
        if kid not in self._keys and self._fetching:
            raise IssuerUnavailableError(COOLDOWN_SECONDS)
        if kid not in self._keys and self._failed:
            raise IssuerUnavailableError(self._next_fetch - self._clock())
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        try:
            # Not in the pool of the routes, which may be busy: a token must not wait for other requests.
            self._keys = await asyncio.to_thread(self._fetch)
        except FetchError as error:
            _log.warning("The keys of the issuer of tokens cannot be fetched: %s", error)
            self._failed = True
        else:
            self._fetched_at = self._clock()
            self._failed = False
        finally:
            self._next_fetch = self._clock() + COOLDOWN_SECONDS
            self._fetching = None


def fetch_keys(issuer: str, jwks_url: str | None) -> Keys:
    """Fetch the keys that sign tokens, from `jwks_url` or from where the issuer's configuration says.

    Raises:
        FetchError: the issuer does not answer, or not as it should.
    """
    if jwks_url is None:
        configuration = _fetch_json(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if configuration.get("issuer") != issuer:
            message = f"the configuration of {issuer} names another issuer: set security.oauth2.issuer to that one"
            raise FetchError(message)
        jwks_url = str(configuration.get("jwks_uri"))
        if urlsplit(jwks_url).scheme != urlsplit(issuer).scheme:
            message = f"the configuration of {issuer} names keys at {jwks_url}, which is not {urlsplit(issuer).scheme}"
            raise FetchError(message)
    published = _fetch_json(jwks_url).get("keys")
    if not isinstance(published, list):
        message = f"{jwks_url} has no list of keys"
        raise FetchError(message)
    keys = (_read_key(entry) for entry in published)
    return {str(key.key_id): key for key in keys if key}


def _read_key(entry: object) -> jwt.PyJWK | None:
    """Return a published key, or None if it is not one that signs tokens, such as a key for encryption."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK.from_dict(entry)
    except (jwt.PyJWTError, TypeError, ValueError):
        return None
    return key if key.algorithm_name in _ALGORITHMS else None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuse redirects, so that nobody but the configured server names the keys."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _fetch_json(url: str) -> dict[str, Any]:
    deadline = time.monotonic() + FETCH_SECONDS
    content = b""
    try:
        with _OPENER.open(url, timeout=FETCH_SECONDS) as response:
            # Read piece by piece, because the timeout is that of one piece.
            while piece := response.read1(1 << 16):
                content += piece
                if len(content) > _MAX_BYTES or time.monotonic() > deadline:
                    message = f"{url} answers with more than {_MAX_BYTES} bytes, or too slowly"
                    raise FetchError(message)
        found = json.loads(content)
    except (URLError, OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        message = f"{url} does not answer as it should: {error}"
        raise FetchError(message) from error
    if not isinstance(found, dict):
        message = f"{url} does not answer with a JSON object"
        raise FetchError(message)
    return found
