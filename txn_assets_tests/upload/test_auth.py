"""Which bearer tokens are accepted, against an issuer that answers over HTTP."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from txn_assets.config import load_config
from txn_assets.environment import ConfigError, project_root
from txn_assets.sections.security import OAuth2
from txn_assets.upload import issuer_keys
from txn_assets.upload.auth import Subject, TokenVerifier, make_verifier
from txn_assets.upload.issuer_keys import (
    COOLDOWN_SECONDS,
    REFRESH_SECONDS,
    IssuerKeys,
    IssuerUnavailableError,
    fetch_keys,
)
from txn_assets.upload.problems import Problem
from txn_assets_tests.upload.issuer import WRITE, Issuer, published, running_issuer

SECRET = b"0123456789abcdef0123456789abcdef"


class Clock:
    """Time that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared() -> Iterator[Issuer]:
    """Yield an issuer with a key of each kind. Tests do not change it."""
    with running_issuer() as issuer:
        for algorithm in ("RS256", "PS256", "ES256", "ES384", "EdDSA"):
            issuer.add(algorithm, algorithm)
        yield issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Yield an issuer of the test's own, with one key."""
    with running_issuer() as issuer:
        issuer.add("first")
        yield issuer


def make(issuer: Issuer, *, secret: bytes | None = None, clock: Clock | None = None) -> TokenVerifier:
    return TokenVerifier(
        keys=IssuerKeys(partial(fetch_keys, issuer.url, None), clock=clock or Clock()),
        issuer=issuer.url,
        secret=secret,
        settings=OAuth2(),
    )


def refusal(verifier: TokenVerifier, token: str) -> Problem:
    """Return the problem that a token causes."""
    with pytest.raises(Problem) as caught:
        asyncio.run(verifier.subject_of(token))
    return caught.value


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384", "EdDSA"])
def test_token_of_the_issuer(shared: Issuer, algorithm: str) -> None:
    """A token that a key of the issuer signed is accepted, whatever the kind of the key."""
    subject = asyncio.run(make(shared).subject_of(shared.token(algorithm)))

    assert subject == Subject("shop", frozenset({WRITE}))


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": f"{WRITE}  sales:read"}, {WRITE, "sales:read"}),
        ({"scope": None, "scp": [WRITE, 7]}, {WRITE}),
        ({"scope": None, "scp": "a b"}, {"a", "b"}),
        ({"scope": None}, set()),
        ({"aud": ["another", "txn-assets"]}, {WRITE}),
    ],
)
def test_scopes(shared: Issuer, claims: dict[str, Any], scopes: set[str]) -> None:
    """Scopes are text in `scope` or a list in `scp`; the audience may be one of several."""
    assert asyncio.run(make(shared).subject_of(shared.token("ES256", **claims))).scopes == scopes


def public_pem(issuer: Issuer) -> bytes:
    return issuer.keys["RS256"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def with_hmac(issuer: Issuer, key: bytes, kid: str = "RS256") -> str:
    """Return a token signed by HMAC with any key, which PyJWT refuses to do with a public one."""
    signed = f"{encode({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{encode(issuer.claims())}"
    signature = hmac.digest(key, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token("ES256").split(".")
    return f"{head}.{encode(issuer.claims(sub='another'))}.{signature}"


REFUSED: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "expired": (lambda issuer: issuer.token("ES256", exp=1), "has expired"),
    "not yet valid": (lambda issuer: issuer.token("ES256", nbf=1 << 40), "not valid yet"),
    "another audience": (lambda issuer: issuer.token("ES256", aud="another"), "another audience"),
    "another issuer": (lambda issuer: issuer.token("ES256", iss="http://another"), "another issuer"),
    "never expires": (lambda issuer: issuer.token("ES256", exp=None), "no 'exp'"),
    "no audience": (lambda issuer: issuer.token("ES256", aud=None), "no 'aud'"),
    "no issuer": (lambda issuer: issuer.token("ES256", iss=None), "no 'iss'"),
    "no subject": (lambda issuer: issuer.token("ES256", sub=None), "no 'sub'"),
    "empty subject": (lambda issuer: issuer.token("ES256", sub=""), "1 to 255 characters"),
    "long subject": (lambda issuer: issuer.token("ES256", sub="x" * 256), "1 to 255 characters"),
    "subject is a number": (lambda issuer: issuer.token("ES256", sub=7), "not a JWT"),
    "unknown key": (lambda issuer: issuer.token("ES256", header={"kid": "unknown"}), "not among those"),
    "no key named": (lambda issuer: jwt.encode(issuer.claims(), issuer.keys["ES256"][1], "ES256"), "names no key"),
    "unsigned": (lambda issuer: f"{encode({'alg': 'none', 'kid': 'ES256'})}.{encode(issuer.claims())}.", "not a JWT"),
    "other key": (lambda issuer: issuer.token("ES256", header={"kid": "EdDSA"}), "not a JWT"),
    "other algorithm of the key": (
        lambda issuer: jwt.encode(issuer.claims(), issuer.keys["RS256"][1], "RS512", headers={"kid": "RS256"}),
        "not a JWT",
    ),
    "public key as a secret": (lambda issuer: with_hmac(issuer, public_pem(issuer)), "not a JWT"),
    "tampered": (tampered, "not a JWT"),
    "critical extension": (lambda issuer: issuer.token("ES256", header={"crit": ["x"], "x": 1}), "not a JWT"),
    "deep header": (lambda _: f"{base64.urlsafe_b64encode(b'[' * 30_000).decode()}.e30.e30", "not a JWT"),
    "no token": (lambda _: "token", "not a JWT"),
    "not ASCII": (lambda _: "ä.ö.ü", "not a JWT"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("secret", [None, SECRET], ids=["keys", "keys and secret"])
def test_refused_token(shared: Issuer, case: str, secret: bytes | None) -> None:
    """A token that is wrong in one point is refused with the reason, also where a secret signs tokens too."""
    make_token, reason = REFUSED[case]

    problem = refusal(make(shared, secret=secret), make_token(shared))

    assert problem.status == 401
    assert reason in problem.detail
    assert problem.headers is not None
    assert problem.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token", error_description="')


def test_leeway(shared: Issuer) -> None:
    """A token that expired a moment ago is accepted, because clocks differ."""
    token = shared.token("ES256", exp=shared.claims()["iat"] - 10)

    assert asyncio.run(make(shared).subject_of(token)).name == "shop"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    token=st.one_of(
        st.text(),
        st.builds(
            lambda *parts: ".".join(encode(part) for part in parts),
            st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64"]), st.none() | st.text() | st.integers()),
            st.dictionaries(st.sampled_from(["exp", "sub", "aud"]), st.floats() | st.text() | st.booleans()),
            st.text(),
        ),
    )
)
def test_nonsense(shared: Issuer, token: str) -> None:
    """Whatever is sent as a token gets a 401."""
    assert refusal(make(shared, secret=SECRET), token).status == 401


def test_secret(shared: Issuer) -> None:
    """With a secret, HS256 tokens are accepted if the secret signed them."""
    verifier = TokenVerifier(keys=None, issuer=None, secret=SECRET, settings=OAuth2())

    assert asyncio.run(verifier.subject_of(with_hmac(shared, SECRET))).name == "shop"
    assert refusal(verifier, with_hmac(shared, SECRET[::-1])).status == 401
    assert refusal(verifier, shared.token("ES256")).status == 401
    # Without a secret, not even a token that an empty one signed.
    assert refusal(make(shared), with_hmac(shared, b"")).status == 401


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "kid": "odd", "k": base64.urlsafe_b64encode(SECRET).decode(), "alg": "HS256"},
        {"kty": "RSA", "kid": "odd", "n": "AQAB", "e": "AQAB", "alg": "HS256"},
        {"kty": "RSA", "kid": "odd", "alg": ["RS256"]},
        {"kty": "unknown", "kid": "odd"},
        {"kid": "odd"},
        "odd",
        None,
    ],
)
def test_published_keys_that_sign_nothing(issuer: Issuer, entry: object) -> None:
    """Entries of the key set that are no public keys are skipped, and the others work."""
    issuer.entries = [entry]
    verifier = make(issuer)

    assert refusal(verifier, with_hmac(issuer, SECRET, kid="odd")).status == 401
    assert asyncio.run(verifier.subject_of(issuer.token("first"))).name == "shop"


def test_weak_and_encryption_keys(issuer: Issuer) -> None:
    """A key for encryption verifies nothing, and neither does an RSA key of 1024 bits."""
    issuer.add("weak", "RS256", bits=1024)
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weak = issuer.token("weak")
    assert refusal(make(issuer), weak).status == 401

    algorithm, key = issuer.keys.pop("first")
    issuer.entries = [published("first", algorithm, key) | {"use": "enc"}]
    token = jwt.encode(issuer.claims(), key, algorithm, headers={"kid": "first"})
    assert refusal(make(issuer), token).status == 401


def test_rotation(issuer: Issuer) -> None:
    """A new key is accepted at once, and a withdrawn one until the keys are fetched again."""
    clock = Clock()
    verifier = make(issuer, clock=clock)
    old = issuer.token("first")

    async def scenario() -> None:
        await verifier.subject_of(old)
        del issuer.keys["first"]
        issuer.add("second", "RS256")
        clock.now += COOLDOWN_SECONDS
        await verifier.subject_of(issuer.token("second"))
        with pytest.raises(Problem, match="not among those"):
            await verifier.subject_of(old)

    asyncio.run(scenario())
    assert issuer.key_requests == 2


def test_withdrawn_key(issuer: Issuer) -> None:
    """A withdrawn key stops working without a new key, when the known keys are old."""
    clock = Clock()
    verifier = make(issuer, clock=clock)
    token = issuer.token("first")

    async def scenario() -> None:
        await verifier.subject_of(token)
        del issuer.keys["first"]
        clock.now += REFRESH_SECONDS + 1
        # This request does not wait for the fetch that it begins.
        await verifier.subject_of(token)
        await asyncio.sleep(0.3)
        with pytest.raises(Problem, match="not among those"):
            await verifier.subject_of(token)

    asyncio.run(scenario())


def test_unknown_keys_do_not_flood_the_issuer(issuer: Issuer) -> None:
    """Many tokens with unknown keys cause one fetch per ten seconds, and many at once wait for the same one."""
    clock = Clock()
    verifier = make(issuer, clock=clock)
    token = issuer.token("first")

    async def scenario() -> None:
        await asyncio.gather(*(verifier.subject_of(token) for _ in range(50)))
        assert issuer.key_requests == 1
        for attempt in range(50):
            with pytest.raises(Problem, match="not among those"):
                await verifier.subject_of(issuer.token("first", header={"kid": f"unknown {attempt}"}))
        assert issuer.key_requests == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("outage", ["error", "slow"])
def test_issuer_does_not_answer(monkeypatch: pytest.MonkeyPatch, issuer: Issuer, outage: str) -> None:
    """Known keys go on working; a token with another key is told when to come back, soon, and later accepted."""
    monkeypatch.setattr(issuer_keys, "FETCH_SECONDS", 0.2)
    clock = Clock()
    verifier = make(issuer, clock=clock)
    known = issuer.token("first")

    async def scenario() -> None:
        await verifier.subject_of(known)
        issuer.add("second")
        unknown = issuer.token("second")
        issuer.is_broken, issuer.delay = outage == "error", 0.5 * (outage == "slow")
        clock.now += REFRESH_SECONDS + 1
        await verifier.subject_of(known)
        begin = asyncio.get_running_loop().time()
        for _ in range(2):
            with pytest.raises(Problem) as caught:
                await verifier.subject_of(unknown)
            assert caught.value.status == 503
            assert caught.value.headers is not None
            assert 1 <= int(caught.value.headers["Retry-After"]) <= COOLDOWN_SECONDS
        assert asyncio.get_running_loop().time() - begin < 1
        await verifier.subject_of(known)

        issuer.is_broken, issuer.delay = False, 0.0
        clock.now += COOLDOWN_SECONDS + 1
        assert (await verifier.subject_of(unknown)).name == "shop"

    asyncio.run(scenario())


def test_fetch_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request does not wait longer than it should for a fetch that nothing can stop, such as a look-up of a name."""
    monkeypatch.setattr(issuer_keys, "FETCH_SECONDS", 0.1)
    hanging = threading.Event()

    def hang() -> dict[str, jwt.PyJWK]:
        assert hanging.wait(10)
        return {}

    async def scenario() -> None:
        keys = IssuerKeys(hang)
        begin = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(keys.find("any") for _ in range(5)), return_exceptions=True)
        waited = asyncio.get_running_loop().time() - begin
        hanging.set()
        assert {type(answer) for answer in answers} == {IssuerUnavailableError}
        assert waited < 5

    asyncio.run(scenario())


def test_issuer_sends_a_redirect_or_another_issuer(issuer: Issuer) -> None:
    """Keys come from the configured issuer only: its configuration must name it, and nothing is followed elsewhere."""
    with pytest.raises(issuer_keys.FetchError, match="names another issuer"):
        fetch_keys(f"{issuer.url}/realm", None)
    with pytest.raises(issuer_keys.FetchError, match="HTTP Error 302"):
        fetch_keys(issuer.url, f"{issuer.url}/moved")
    assert list(fetch_keys("another name", f"{issuer.url}/keys")) == ["first"]


def refused_start(monkeypatch: pytest.MonkeyPatch, security: dict[str, Any], **environment: str) -> str:
    """Return what a service with this configuration says instead of starting."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = load_config(project_root() / "data" / "pipeline_config.yaml")
    changed = config.security.model_validate(config.security.model_dump() | security)
    with pytest.raises(ConfigError) as caught:
        make_verifier(config.model_copy(update={"security": changed}))
    return str(caught.value)


@pytest.mark.parametrize(
    ("security", "environment", "words"),
    [
        ({}, {}, ["security.oauth2.issuer", "security.oauth2.jwks_url", "TXN_JWT_SECRET"]),
        ({"authentication": "none"}, {}, ["security.authentication", "security.oauth2.issuer"]),
        ({"oauth2": {"issuer": "http://issuer"}}, {}, ["https:"]),
        ({"oauth2": {"issuer": "https://issuer", "jwks_url": "http://issuer"}}, {}, ["https:"]),
        ({}, {"TXN_JWT_SECRET": "short"}, ["TXN_JWT_SECRET has 5 bytes", "32"]),
    ],
)
def test_service_that_cannot_know_its_users(
    monkeypatch: pytest.MonkeyPatch, security: dict[str, Any], environment: dict[str, str], words: list[str]
) -> None:
    """On the gcp target, a service without an issuer, or open to everyone, does not start and says what to set."""
    monkeypatch.delenv("TXN_JWT_SECRET", raising=False)

    message = refused_start(monkeypatch, security, TXN_TARGET="gcp", **environment)

    assert [word for word in words if word not in message] == []
    assert "short" not in message
