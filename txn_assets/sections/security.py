"""Which fields are hashed and how, how connections are secured, and who may upload."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from txn_assets.environment import HASH_KEY, HASH_KEY_PREVIOUS, ConfigError
from txn_assets.feeds.section import Section
from txn_assets.feeds.transaction import CONTRACT
from txn_assets.rows.hashing import Hasher, HashKeys, make_hasher

KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class PreviousHash(Section):
    """The key that a rotation replaces, a secret in the environment variable TXN_HASH_KEY_PREVIOUS."""

    algorithm: Literal["sha256", "hmac-sha256"] = Field(
        default="hmac-sha256", description="How PII was hashed before. `sha256` has no key."
    )
    key_id: KeyId = Field(default="none", description="Name of the key in the ledgers.")


class Hash(Section):
    """How PII is hashed. The key itself is a secret, in the environment variable TXN_HASH_KEY."""

    algorithm: Literal["sha256", "hmac-sha256"] = Field(
        default="sha256", description="`hmac-sha256` is keyed with TXN_HASH_KEY: use it in production."
    )
    key_id: KeyId = Field(
        default="none", description="Name of the key. The ledgers have it, so that a rotation is visible."
    )
    allow_unkeyed: bool = Field(
        default=False,
        description="Whether the gcp target may hash with plain `sha256`, which whoever has the hashes can reverse by "
        "trying all ids.",
    )
    previous: PreviousHash | None = Field(
        default=None,
        description="How PII was hashed before, until no file and no erasure request needs it: `txn rotate status`.",
    )

    def hashers(self, pii_fields: Sequence[str], keys: HashKeys) -> tuple[Hasher, ...]:
        """Return the hashers of `pii_fields` with the current key and, during a rotation, with the previous one.

        Raises:
            ConfigError: a key is missing, too short or has no name, or both are the same or have the same name.
        """
        if self.algorithm == "sha256" and keys.required and not self.allow_unkeyed:
            message = (
                "security.hash.algorithm is sha256, which anybody reverses by trying all ids: set it to hmac-sha256, "
                f"with security.hash.key_id and {HASH_KEY}, or set security.hash.allow_unkeyed to true."
            )
            raise ConfigError(message)
        current = make_hasher(pii_fields, algorithm=self.algorithm, key_id=self.key_id, key=keys.current)
        if self.previous is None:
            return (current,)
        before = make_hasher(
            pii_fields,
            algorithm=self.previous.algorithm,
            key_id=self.previous.key_id,
            key=keys.previous,
            section="security.hash.previous",
        )
        if before.key_id == current.key_id:
            message = (
                f"security.hash and security.hash.previous are both named {current.key_id!r}: give each key a name of "
                "its own, so that the ledger can tell them apart."
            )
            raise ConfigError(message)
        if before.key is not None and before.key == current.key:
            message = (
                f"{HASH_KEY_PREVIOUS} is the same key as {HASH_KEY}: set it to the key that was used before, or remove "
                "security.hash.previous."
            )
            raise ConfigError(message)
        return current, before


# Without `user:password@`.
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s?#@]+(/[^\s?#]*)?$")]


class OAuth2(Section):
    """Whose bearer tokens the upload service accepts.

    The local target has its own issuer, so both addresses can stay empty there.
    """

    issuer: Url | None = Field(
        default=None,
        description="Value of `iss` in a token. The keys are looked up at `<issuer>/.well-known/openid-configuration`. "
        "The local stack has an issuer of its own.",
    )
    jwks_url: Url | None = Field(
        default=None, description="Address of the issuer's keys, if it publishes no such configuration."
    )
    audience: Annotated[str, StringConstraints(min_length=1)] = Field(
        default="txn-assets", description="Value that `aud` in a token must contain."
    )
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = Field(
        default=30, description="How far the clocks of the issuer and the service may differ."
    )

    @model_validator(mode="after")
    def _keys_have_an_issuer(self) -> Self:
        if self.jwks_url and not self.issuer:
            message = "security.oauth2.jwks_url needs security.oauth2.issuer: the value of `iss` in the issuer's tokens"
            raise ValueError(message)
        return self


class Security(Section):
    """Which fields are hashed, and how connections are secured."""

    pii_fields: tuple[str, ...] = Field(
        default=("transaction_id",), description="Text columns that are hashed: `transaction_id`, `product`."
    )
    encryption: Literal["tls", "none"] = Field(
        default="tls", description="`tls`: PostgreSQL is reached with `sslmode=verify-full` on the gcp target."
    )
    authentication: Literal["oauth2", "none"] = Field(
        default="oauth2",
        description="`oauth2`: the upload service takes bearer tokens. `none`: everyone may upload, on the local "
        "target only.",
    )
    oauth2: OAuth2 = Field(default=OAuth2(), description="Whose bearer tokens the upload service accepts.")
    hash: Hash = Field(default=Hash(), description="How PII is hashed.")

    @model_validator(mode="after")
    def _pii_fields_are_text(self) -> Self:
        try:
            CONTRACT.with_pii(self.pii_fields)
        except TypeError as error:
            message = f"security.pii_fields: {error}"
            raise ValueError(message) from error
        return self
