"""What a fresh local stack is given: the bucket, the dataset, the database, and the files of `data/` as landed.

In a real project the deployment guide's commands make the first three, and upstream systems land files.
"""

import base64
import contextlib
import datetime as dt
import json
import os
from pathlib import Path

import google_crc32c
import psycopg
from google.api_core.exceptions import Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from psycopg import sql

from txn_assets.local.stack import Endpoints, Seed

CREDENTIALS = "credentials.json"


def plant(endpoints: Endpoints, seed: Seed, home: Path) -> None:
    """Makes whatever `seed` names and is not there yet."""
    _make_database(endpoints)
    _make_dataset(endpoints, seed)
    bucket = _make_bucket(endpoints, seed)
    for path in sorted([*seed.data.glob("*.csv"), *seed.data.glob("*.csv.gz")]):
        land(bucket, f"{seed.landing}/{path.name}", path)
    _make_credentials(endpoints, home / CREDENTIALS)


def land(bucket: storage.Bucket, name: str, path: Path) -> bool:
    """Uploads `path` as the object `name` unless that holds the same bytes; whether it was uploaded."""
    blob = bucket.get_blob(name)
    if blob is not None and blob.crc32c == _crc32c(path):
        return False
    bucket.blob(name).upload_from_filename(str(path), content_type="text/csv", checksum="crc32c")
    return True


def _make_bucket(endpoints: Endpoints, seed: Seed) -> storage.Bucket:
    client = storage.Client(
        project=seed.project_id,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google-auth is untyped here
        client_options={"api_endpoint": endpoints.gcs_url},
    )
    with contextlib.suppress(Conflict):
        client.create_bucket(seed.bucket)
    return client.bucket(seed.bucket)


def _make_dataset(endpoints: Endpoints, seed: Seed) -> None:
    client = bigquery.Client(
        project=seed.project_id,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # google-auth is untyped here
        client_options={"api_endpoint": endpoints.bigquery_url},
    )
    dataset = bigquery.Dataset(f"{seed.project_id}.{seed.dataset}")
    dataset.location = seed.location
    client.create_dataset(dataset, exists_ok=True)


def _make_database(endpoints: Endpoints) -> None:
    with psycopg.connect(
        host=endpoints.postgres_host,
        port=endpoints.postgres_port,
        user=endpoints.postgres_user,
        password=endpoints.postgres_password,
        dbname="postgres",
        autocommit=True,
    ) as connection:
        name = endpoints.postgres_dbname
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _make_credentials(endpoints: Endpoints, path: Path) -> None:
    """A service account that exists nowhere but here.

    `bigquery.Client()` wants credentials even for BIGQUERY_EMULATOR_HOST; these get their token from the GCS shim.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - only here

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    content = {
        "type": "service_account",
        "project_id": "local",
        "private_key_id": dt.datetime.now(dt.UTC).isoformat(),
        "private_key": key.decode(),
        "client_email": "local@local.invalid",
        "token_uri": f"{endpoints.gcs_url}/token",
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)


def _crc32c(path: Path) -> str:
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            checksum.update(data)
    return base64.b64encode(checksum.digest()).decode()
