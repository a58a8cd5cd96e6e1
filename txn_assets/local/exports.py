"""Environment variables that point psql, gcloud, bq, gsutil, a notebook or any Google client at the local stack.

This module returns the variables and writes the throwaway credential files that they name. `cli.py` prints the
variables.
"""

from collections.abc import Mapping
from pathlib import Path

from txn_assets.local.endpoints import Endpoints
from txn_assets.local.home import Home, read_json, write_json, write_private


def variables(endpoints: Endpoints, *, project_id: str, home: Path) -> Mapping[str, str]:
    """Return the variables to export, and write the files that they name."""
    place = Home(home)
    return {
        "STORAGE_EMULATOR_HOST": endpoints.gcs_url,
        "BIGQUERY_EMULATOR_HOST": endpoints.bigquery_url,
        "GOOGLE_CLOUD_PROJECT": project_id,
        "GOOGLE_APPLICATION_CREDENTIALS": str(_credentials(place, endpoints, project_id)),
        # Otherwise, gcsfs asks Google's control plane for the bucket type and times out after a minute.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        # Otherwise google-auth looks for the metadata server of a virtual machine.
        "NO_GCE_CHECK": "true",
        "TXN_PG_DSN": endpoints.postgres_dsn,
        "PGHOST": endpoints.postgres_host,
        "PGPORT": str(endpoints.postgres_port),
        "PGUSER": endpoints.postgres_user,
        "PGPASSWORD": endpoints.postgres_password,
        "PGDATABASE": endpoints.postgres_dbname,
        **_command_line_tools(place, endpoints, project_id),
    }


def _command_line_tools(home: Home, endpoints: Endpoints, project_id: str) -> Mapping[str, str]:
    """Write the files that `gcloud storage`, `bq` and `gsutil` read, and return their settings.

    The tools get a separate configuration folder and token. The user's own login is not sent to the stack, and the
    user's configuration does not change.
    """
    folder = home.stack / "cloudsdk"
    folder.mkdir(mode=0o700, exist_ok=True)
    files = {
        "token": "local\n",
        "bigqueryrc": f"api = {endpoints.bigquery_url}\nproject_id = {project_id}\n",
        # On its own, gsutil speaks only TLS. Have it delegate to `gcloud storage`, which honors the variables below.
        "boto": f"[GSUtil]\nuse_gcloud_storage = True\ndefault_project_id = {project_id}\n",
    }
    for name, content in files.items():
        write_private(folder / name, content)
    return {
        "CLOUDSDK_CONFIG": str(folder / "config"),
        "CLOUDSDK_CORE_PROJECT": project_id,
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(folder / "token"),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{endpoints.gcs_url}/storage/v1/",
        "BIGQUERYRC": str(folder / "bigqueryrc"),
        "BOTO_CONFIG": str(folder / "boto"),
    }


def _credentials(home: Home, endpoints: Endpoints, project_id: str) -> Path:
    """Write a service account that exists only here, and return its file.

    The BigQuery client insists on credentials even with BIGQUERY_EMULATOR_HOST. These credentials get their token from
    the shim: a service account is the only kind of credentials whose file may name its token endpoint.
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
