"""Create the contents of a new stack: the buckets, the dataset, the databases and the landed files.

Provisioning is idempotent and creates only what is missing. Keep tables out: the sinks create their own. GCS and
BigQuery are called over plain HTTP, because importing their client libraries takes three seconds, half of a cold start.
"""

import base64
import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import google_crc32c
import psycopg
from psycopg import sql

from txn_assets.local.endpoints import DAGSTER, Endpoints, Seed

_LANDED_BY = {"landed-by": "txn_assets.local"}
"""Marks an object as landed from the `data` folder. Leave alone what someone else landed under the same name."""
_SECONDS = 300.0
"""Timeout of a request."""


class Refused(Exception):  # noqa: N818 - the name says what happened
    """A server refused a request."""


def provide(seed: Seed, endpoints: Endpoints) -> None:
    """Create the parts of `seed` that the stack does not have yet."""
    _databases(seed, endpoints)
    body = {"datasetReference": {"projectId": seed.project_id, "datasetId": seed.dataset}, "location": seed.location}
    _create(endpoints.bigquery_url, f"/bigquery/v2/projects/{quote(seed.project_id, safe='')}/datasets", body)
    for bucket in seed.buckets:
        _create(endpoints.gcs_url, f"/storage/v1/b?{urlencode({'project': seed.project_id})}", {"name": bucket})
    for path, name in seed.files().items():
        _land(path, name, seed.bucket, endpoints.gcs_url)


def _databases(seed: Seed, endpoints: Endpoints) -> None:
    try:
        with psycopg.connect(endpoints.postgres_dsn, autocommit=True) as connection:
            # Use an ordinary role that owns its database, as in production, so that code that needs a superuser fails.
            _database(connection, seed.postgres_user, seed.postgres_dbname, endpoints.postgres_password)
            # Allow checkpoints, so that a benchmark can start without pending writes from earlier work.
            connection.execute(sql.SQL("GRANT pg_checkpoint TO {}").format(sql.Identifier(seed.postgres_user)))
            _database(connection, DAGSTER, DAGSTER, endpoints.postgres_password)
            # Dagster commits events one by one and would wait for the disk each time. A machine crash may lose half a
            # second of run history, but no ledger row.
            connection.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = off").format(sql.Identifier(DAGSTER)))
    except psycopg.Error as error:
        message = f"PostgreSQL cannot be set up: {error}"
        raise Refused(message) from error


def _database(connection: psycopg.Connection, user: str, dbname: str, password: str) -> None:
    """Create a role and its database if they are missing."""
    role, name = sql.Identifier(user), sql.Identifier(dbname)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [user]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [dbname]).fetchone():
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, role))


def _land(path: Path, name: str, bucket: str, url: str) -> None:
    """Upload a file to the object `name` if it is missing there or has changed since it was landed."""
    with path.open("rb") as file:
        checksum = 0
        while block := file.read(1 << 20):
            checksum = google_crc32c.extend(checksum, block)
        crc32c = base64.b64encode(checksum.to_bytes(4)).decode()
        file.seek(0)
        status, landed, _ = _call(url, "GET", f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")
        if status == http.client.OK and (landed["crc32c"] == crc32c or landed.get("metadata") != _LANDED_BY):
            return
        # Replace only the generation that we saw: if someone else lands the file meanwhile, keep theirs.
        query = {"uploadType": "resumable", "name": name, "ifGenerationMatch": landed.get("generation", "0")}
        content_type = "application/gzip" if path.suffix.lower() == ".gz" else "text/csv"
        start = f"/upload/storage/v1/b/{bucket}/o?{urlencode(query)}"
        status, answer, location = _call(
            url, "POST", start, {"metadata": _LANDED_BY, "contentType": content_type, "crc32c": crc32c}
        )
        if status == http.client.OK:
            status, answer, _ = _call(location, "PUT", location, file, size=path.stat().st_size)
    if status not in {http.client.OK, http.client.PRECONDITION_FAILED}:
        message = f"landing {path} was refused with status {status}: {answer}"
        raise Refused(message)


def _create(url: str, path: str, body: Mapping[str, Any]) -> None:
    status, answer, _ = _call(url, "POST", path, body)
    if status not in {http.client.OK, http.client.CONFLICT}:
        message = f"creating {path} was refused with status {status}: {answer}"
        raise Refused(message)


def _call(
    url: str, method: str, path: str, content: Mapping[str, Any] | BinaryIO | None = None, *, size: int | None = None
) -> tuple[int, dict[str, Any], str]:
    """Send a JSON body, or a file of a known size; return status, JSON body and the Location header."""
    headers = {"Content-Type": "application/json"} | ({} if size is None else {"Content-Length": str(size)})
    body = json.dumps(content) if content is None or isinstance(content, Mapping) else content
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_SECONDS)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        return response.status, json.loads(answer) if answer else {}, response.headers.get("Location", "")
    finally:
        connection.close()
