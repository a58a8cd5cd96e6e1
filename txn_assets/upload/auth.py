"""Who may use the upload service: bearer tokens (RFC 6750) as JWTs of one issuer.

`Uploader` and `Reader` are the parameters of routes that need a token with a scope. Messages never quote a token.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import jwt
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from txn_assets.config import PipelineConfig
from txn_assets.environment import JWT_SECRET, ConfigError, jwt_secret, txn_home, txn_target
from txn_assets.local.endpoints import seed_from
from txn_assets.local.stack import find_endpoints
from txn_assets.sections.security import OAuth2
from txn_assets.upload.issuer_keys import IssuerKeys, IssuerUnavailableError, fetch_keys
from txn_assets.upload.problems import Problem

WRITE = "transactions:write"
"""Scope to upload files, and to ask what became of one's own."""
READ_ALL = "transactions:read-all"
"""Scope to ask what became of anyone's files."""
READ_SALES = "sales:read"
"""Scope to read the marts."""

_MIN_SECRET_BYTES = 32
_MAX_SUBJECT_CHARACTERS = 255


@dataclass(frozen=True)
class Subject:
    """Who sends a request, and what they may do."""

    name: str
    scopes: frozenset[str]


_ANYONE = Subject("anonymous", frozenset({WRITE, READ_ALL, READ_SALES}))
"""The subject of every request with `security.authentication: none`."""


@dataclass(frozen=True, kw_only=True)
class TokenVerifier:
    """Finds out whose a token is.

    Attributes:
        keys: the keys of `issuer`; None if only `secret` signs tokens.
        issuer: what `iss` must be in a token that one of `keys` signed.
        secret: the key of HS256; None if no token is signed with it.
    """

    keys: IssuerKeys | None
    issuer: str | None
    secret: bytes | None = field(repr=False)
    settings: OAuth2

    async def subject_of(self, token: str) -> Subject:
        """Return the subject of a token.

        Raises:
            Problem: the token is not valid (401), or cannot be verified now (503).
        """
        try:
            header = jwt.get_unverified_header(token)
            # The key decides on the algorithm. HS256 goes with the secret, which is never a public key.
            if self.secret and header.get("alg") == "HS256":
                claims = self._claims(token, self.secret, "HS256", self.settings.issuer)
            else:
                key = await self._find_key(header.get("kid"))
                claims = self._claims(token, key, key.algorithm_name, self.issuer)
        except jwt.PyJWTError as error:
            raise _invalid_token(_reason(error)) from error
        name = claims["sub"]
        if not 0 < len(name) <= _MAX_SUBJECT_CHARACTERS:
            reason = f"Its subject must have 1 to {_MAX_SUBJECT_CHARACTERS} characters."
            raise _invalid_token(reason)
        return Subject(name, _scopes_of(claims))

    async def _find_key(self, kid: str | None) -> jwt.PyJWK:
        if self.keys is None or kid is None:
            raise _invalid_token("It names no key that the service knows.")
        try:
            key = await self.keys.find(kid)
        except IssuerUnavailableError as error:
            detail = "The issuer of the token does not answer, so the token cannot be verified. Try again later."
            raise Problem(503, detail, headers={"Retry-After": str(error.retry_after)}) from error
        if key is None:
            raise _invalid_token("Its key is not among those that its issuer publishes.")
        return key

    def _claims(self, token: str, key: jwt.PyJWK | bytes, algorithm: str, issuer: str | None) -> Mapping[str, Any]:
        required = ["exp", "aud", "sub", *(["iss"] if issuer else [])]
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self.settings.audience,
            issuer=issuer,
            leeway=self.settings.leeway_seconds,
            options={"require": required, "enforce_minimum_key_length": True},
        )


def make_verifier(config: PipelineConfig) -> TokenVerifier | None:
    """Return the verifier of tokens for `config` and the environment; None if everyone may do everything.

    On the local target the issuer is a server of the local stack, unless the configuration names another one.

    Raises:
        ConfigError: nobody could get a token, or everyone could do without.
    """
    is_local = txn_target() == "local"
    if config.security.authentication == "none":
        if not is_local:
            message = (
                "security.authentication is 'none', which lets everyone upload and is for the local target only. Set "
                "it to 'oauth2', and name the issuer of tokens with security.oauth2.issuer."
            )
            raise ConfigError(message)
        return None
    settings = config.security.oauth2
    secret = os.fsencode(jwt_secret() or "")
    if 0 < len(secret) < _MIN_SECRET_BYTES:
        message = (
            f"{JWT_SECRET} has {len(secret)} bytes and must have at least {_MIN_SECRET_BYTES}. Use a random value."
        )
        raise ConfigError(message)
    issuer = settings.issuer
    if issuer is None and is_local:
        issuer = find_endpoints(txn_home(), seed_from(config)).issuer_url or None
    if issuer is None and not secret:
        message = (
            "The upload service does not know whose tokens to accept. Set security.oauth2.issuer (and "
            "security.oauth2.jwks_url if the issuer has no openid-configuration), or set the environment variable "
            f"{JWT_SECRET} if your tokens are signed with HS256."
        )
        raise ConfigError(message)
    if not is_local and any(url and not url.startswith("https:") for url in (issuer, settings.jwks_url)):
        message = "security.oauth2: issuer and jwks_url must begin with https: on the gcp target."
        raise ConfigError(message)
    keys = IssuerKeys(partial(fetch_keys, issuer, settings.jwks_url)) if issuer else None
    return TokenVerifier(keys=keys, issuer=issuer, secret=secret or None, settings=settings)


def _scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of a token: text with blanks between them (RFC 8693), or a list as some issuers send it."""
    scopes: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            scopes.update(value.split())
        elif isinstance(value, list):
            scopes.update(entry for entry in value if isinstance(entry, str))
    return frozenset(scopes)


def _reason(error: Exception) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "It has expired: get a new one."
        case jwt.ImmatureSignatureError():
            return "It is not valid yet."
        case jwt.InvalidAudienceError():
            return "It is for another audience."
        case jwt.InvalidIssuerError():
            return "It is from another issuer."
        case jwt.MissingRequiredClaimError():
            return f"It has no '{error.claim}'."
        case _:
            return "It is not a JWT that one of its issuer's keys signed."


def _invalid_token(reason: str) -> Problem:
    challenge = f'Bearer error="invalid_token", error_description="{reason}"'
    return Problem(401, f"The token is not accepted. {reason}", headers={"WWW-Authenticate": challenge})


_BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", description="A token of the issuer; `txn token` prints one.")


def require(scope: str) -> Callable[..., Awaitable[Subject]]:
    """Return a dependency: the subject of a request, whose token must have `scope`."""

    async def find_subject(
        request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> Subject:
        verifier: TokenVerifier | None = request.app.state.verifier
        if verifier is None:
            return _ANYONE
        if bearer is None:
            detail = "Send a token of the issuer in the header Authorization, as `Bearer` and the token."
            raise Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
        subject = await verifier.subject_of(bearer.credentials)
        if scope not in subject.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise Problem(403, f"The token lacks the scope {scope}.", headers={"WWW-Authenticate": challenge})
        return subject

    return find_subject


Uploader = Annotated[Subject, Depends(require(WRITE))]
"""A parameter of a route that receives files, or says what became of them."""
Reader = Annotated[Subject, Depends(require(READ_SALES))]
"""A parameter of a route that reads the marts."""
