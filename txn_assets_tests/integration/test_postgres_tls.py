"""TLS to PostgreSQL with `verify-full`: what is accepted, and one sentence for each thing that is not."""

import datetime as dt
import ipaddress
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from txn_assets.config import load_config
from txn_assets.feeds.configured import feeds_of
from txn_assets.local.endpoints import Endpoints, seed_from
from txn_assets.local.home import Home
from txn_assets.local.stack import ensure_up
from txn_assets.stores.errors import StoreError
from txn_assets.stores.store import Store
from txn_assets.target import open_services
from txn_assets_tests.deployment import make_config

NOW = dt.datetime.now(dt.UTC)
LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
type Serve = Callable[[str, str], None]

SETTINGS = ("ssl", "ssl_cert_file", "ssl_key_file")


@dataclass(frozen=True)
class Signed:
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def write(self, folder: Path, name: str) -> None:
        """Write the certificate and its key, readable only by their owner."""
        (folder / f"{name}.crt").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        pem, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"{name}.key").write_bytes(self.key.private_bytes(serialization.Encoding.PEM, pem, plain))
        (folder / f"{name}.key").chmod(0o600)


def sign(
    name: str, *, issuer: Signed | None = None, host: x509.GeneralName = LOOPBACK, days: tuple[int, int] = (-1, 1)
) -> Signed:
    """Return a certificate of `issuer`, or of a new CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + dt.timedelta(days=days[0]))
        .not_valid_after(NOW + dt.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Signed(key, certificate)


@pytest.fixture(scope="module")
def endpoints(stack_home: Path) -> Endpoints:
    """Return the endpoints of the stack."""
    return ensure_up(stack_home, seed_from(load_config()))


@pytest.fixture(scope="module")
def certificates(stack_home: Path, endpoints: Endpoints) -> Iterator[Path]:
    """Yield a folder with a CA, a certificate for each case, and another CA; turn TLS off again at the end."""
    server = Home(stack_home).postgres
    folder = server / "test-certificates"
    folder.mkdir(exist_ok=True)
    ca = sign("our CA")
    ca.write(folder, "ca")
    sign("another CA").write(folder, "other")
    sign("db", issuer=ca).write(folder, "good")
    sign("db", issuer=ca, days=(-3, -1)).write(folder, "expired")
    sign("db", issuer=ca, days=(1, 3)).write(folder, "early")
    sign("db", issuer=ca, host=x509.DNSName("db.example.com")).write(folder, "misnamed")
    for path in (folder, *folder.iterdir()):
        # The server may run as another user; see `local/postgres.py`.
        os.chown(path, (server / "data").stat().st_uid, -1)
    yield folder
    with psycopg.connect(replace(endpoints, postgres_user="postgres").postgres_dsn, autocommit=True) as superuser:
        for setting in SETTINGS:
            superuser.execute(f"ALTER SYSTEM RESET {setting}")
        superuser.execute("SELECT pg_reload_conf()")


@pytest.fixture
def serve(endpoints: Endpoints, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return a function that has the server use a certificate, or none for '', and clients trust a CA."""

    def use(name: str, ca: str) -> None:
        monkeypatch.setenv("PGSSLROOTCERT", str(certificates / f"{ca}.crt"))
        values = ("on" if name else "off", certificates / f"{name}.crt", certificates / f"{name}.key")
        with psycopg.connect(replace(endpoints, postgres_user="postgres").postgres_dsn, autocommit=True) as superuser:
            (before,) = superuser.execute("SELECT pg_conf_load_time()").fetchone() or ()
            for setting, value in zip(SETTINGS, values, strict=True):
                superuser.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
            superuser.execute("SELECT pg_reload_conf()")
            while superuser.execute("SELECT pg_conf_load_time()").fetchone() == (before,):
                time.sleep(0.01)

    return use


@pytest.fixture
def store(endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Yield the store of the gcp target, whose PostgreSQL is the embedded one."""
    config = tmp_path / "config.yaml"
    here = {"host": "127.0.0.1", "port": endpoints.postgres_port}
    make_config(
        config,
        {
            "data_warehouse": {
                "postgres": {**here, "dbname": endpoints.postgres_dbname, "user": endpoints.postgres_user}
            }
        },
    )
    monkeypatch.setenv("TXN_TARGET", "gcp")
    monkeypatch.setenv("TXN_PG_PASSWORD", endpoints.postgres_password)
    loaded = load_config(config)
    with open_services(loaded) as services:
        yield services.of(feeds_of(loaded)[0]).stores["postgres"]


def test_verified_connection(store: Store, serve: Serve) -> None:
    """With the right CA and name the connection is encrypted, and the ledger can be read."""
    serve("good", "ca")

    assert store.retry_transient(store.held_versions) == {}
    with store.clients.postgres() as connection:
        used = connection.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert used == (True, "TLSv1.3")


@pytest.mark.parametrize(
    ("certificate", "ca", "parts"),
    [
        ("", "ca", ["server does not support SSL, but SSL was required", "Turn on TLS at the server"]),
        ("good", "other", ["certificate verify failed", "Set PGSSLROOTCERT to the file with the CA of the server's"]),
        ("good", "none", ["root certificate file", "does not exist", "Set PGSSLROOTCERT to the file with the CA"]),
        ("expired", "ca", ["certificate verify failed", "Renew the certificate of the server: it has expired."]),
        ("early", "ca", ["certificate verify failed", "is not valid yet: correct the clock"]),
        ("misnamed", "ca", ["does not match host name", "Set data_warehouse.postgres.host to a name in the"]),
    ],
)
def test_refused_connection(store: Store, serve: Serve, certificate: str, ca: str, parts: list[str]) -> None:
    """A server that cannot be verified is refused at once, in one line that says why and what to do."""
    serve(certificate, ca)

    with pytest.raises(StoreError) as caught:
        store.retry_transient(store.held_versions)

    sentence = str(caught.value)
    assert [part for part in parts if part not in sentence] == []
    assert "Retrying" not in sentence
    assert len(sentence.splitlines()) == 1
