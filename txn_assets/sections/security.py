"""Which fields are hashed and how, how connections are secured, and who may upload."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from txn_assets.feeds.section import Section
from txn_assets.feeds.transaction import CONTRACT


class Hash(Section):
    """How PII is hashed. The key itself is a secret, in the environment variable TXN_HASH_KEY."""

    algorithm: Literal["sha256", "hmac-sha256"] = Field(
        default="sha256", description="`hmac-sha256` is keyed with TXN_HASH_KEY: use it in production."
    )
    key_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        default="none", description="Name of the key. The ledgers have it, so that a rotation is visible."
    )


Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s?#]+[^\s?#]*$")]


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
