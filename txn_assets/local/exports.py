"""The environment in which psql, bq, a notebook or any Google client finds the local stack.

Here belong the variables and the throw-away credentials that go with them. Printing them is `__main__.py`'s.
Documented in txn_assets/local/README.md.
"""

from collections.abc import Mapping
from pathlib import Path

from txn_assets.local.home import Home, read_json, write_json
from txn_assets.local.stack import Endpoints


def variables(endpoints: Endpoints, *, project_id: str, home: Path) -> Mapping[str, str]:
    """Return the variables to export."""
    return {
        "STORAGE_EMULATOR_HOST": endpoints.gcs_url,
        "BIGQUERY_EMULATOR_HOST": endpoints.bigquery_url,
        "GOOGLE_CLOUD_PROJECT": project_id,
        "GOOGLE_APPLICATION_CREDENTIALS": str(_credentials(Home(home), endpoints, project_id)),
        # gcsfs would ask Google's control plane for the kind of the bucket, and wait a minute for no answer.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        # google-auth would look for the metadata server of a virtual machine.
        "NO_GCE_CHECK": "true",
        "TXN_PG_DSN": endpoints.postgres_dsn,
        "PGHOST": endpoints.postgres_host,
        "PGPORT": str(endpoints.postgres_port),
        "PGUSER": endpoints.postgres_user,
        "PGPASSWORD": endpoints.postgres_password,
        "PGDATABASE": endpoints.postgres_dbname,
    }


def _credentials(home: Home, endpoints: Endpoints, project_id: str) -> Path:
    """Write a service account that exists nowhere but here, and return its file.

    The BigQuery client insists on credentials even for BIGQUERY_EMULATOR_HOST. These fetch their token from the shim:
    of all kinds of credentials, a service account is the one whose file may name where its tokens come from.
    """
    path = home.stack / "credentials.json"
    known = read_json(path) or {}
    account = {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": "local",
        "private_key": known.get("private_key") or _new_key(),
        "client_email": f"local@{project_id}.invalid",
        "token_uri": f"{endpoints.gcs_url}/_local/token",
    }
    if account != known:
        write_json(path, account)
    return path


def _new_key() -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only for the first `env` of a home
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - only for the first `env` of a home

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()
