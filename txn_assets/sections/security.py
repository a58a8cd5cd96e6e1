"""Which fields are hashed and how, how connections are secured, and who may upload."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from txn_assets.feeds.section import Section
from txn_assets.feeds.transaction import CONTRACT


class Hash(Section):
    """How PII is hashed. `key_id` names the key in the ledger, so that a rotation is visible. The key is secret."""

    algorithm: Literal["sha256", "hmac-sha256"] = "sha256"
    key_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "none"


Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s?#]+[^\s?#]*$")]


class OAuth2(Section):
    """Whose bearer tokens the upload service accepts.

    The local target has its own issuer, so both addresses can stay empty there.

    Attributes:
        issuer: the value of `iss`; the keys are looked up at `<issuer>/.well-known/openid-configuration`.
        jwks_url: where the issuer publishes its keys, if it has no such configuration.
        audience: a value that `aud` must contain.
        leeway_seconds: how far the clocks may differ.
    """

    issuer: Url | None = None
    jwks_url: Url | None = None
    audience: Annotated[str, StringConstraints(min_length=1)] = "txn-assets"
    leeway_seconds: Annotated[int, Field(ge=0, le=300)] = 30

    @model_validator(mode="after")
    def _keys_have_an_issuer(self) -> Self:
        if self.jwks_url and not self.issuer:
            message = "security.oauth2.jwks_url needs security.oauth2.issuer: the value of `iss` in the issuer's tokens"
            raise ValueError(message)
        return self


class Security(Section):
    """Which fields are hashed, and how connections are secured."""

    pii_fields: tuple[str, ...] = ("transaction_id",)
    encryption: Literal["tls", "none"] = "tls"
    authentication: Literal["oauth2", "none"] = "oauth2"
    oauth2: OAuth2 = OAuth2()
    hash: Hash = Hash()

    @model_validator(mode="after")
    def _pii_fields_are_text(self) -> Self:
        try:
            CONTRACT.with_pii(self.pii_fields)
        except TypeError as error:
            message = f"security.pii_fields: {error}"
            raise ValueError(message) from error
        return self
