"""Every environment variable that the platform reads: TXN_*, and BUCKET_NAME for a bucket per deployment.

These are functions, so that a variable is read when it is needed. docs/reference/environment.md lists the variables for
users.
"""

import os
import sys
from pathlib import Path
from typing import Literal

from txn_assets.errors import UserError
from txn_assets.files.scratch_space import parse_size

HASH_KEY = "TXN_HASH_KEY"
SCRATCH_LIMIT = "TXN_SCRATCH_LIMIT"
HASH_KEY_PREVIOUS = "TXN_HASH_KEY_PREVIOUS"
LOCAL_ENDPOINTS = "TXN_LOCAL_ENDPOINTS"
PG_PASSWORD = "TXN_PG_PASSWORD"  # noqa: S105 - the name of a variable
JWT_SECRET = "TXN_JWT_SECRET"  # noqa: S105 - the name of a variable
SMTP_PASSWORD = "TXN_SMTP_PASSWORD"  # noqa: S105 - the name of a variable
ALERT_WEBHOOK = "TXN_ALERT_WEBHOOK"
SECRETS = (HASH_KEY, HASH_KEY_PREVIOUS, PG_PASSWORD, JWT_SECRET, SMTP_PASSWORD, ALERT_WEBHOOK)
"""Variables whose values must appear nowhere else."""

_MIN_SECRET = 16
"""Length of a secret that is no word by chance."""

_PACKAGED = Path(__file__).resolve().parent / "project"
"""Copies of the project's files in an installed wheel; pyproject.toml lists them. A checkout has no such folder."""


class ConfigError(UserError):
    """Raised when the configuration is unusable; the message lists every fault with its remedy."""


def is_installed() -> bool:
    """Return whether the package was installed from a wheel, rather than used from a checkout or the image."""
    return _PACKAGED.is_dir()


def project_root() -> Path:
    """Return the folder that has `data/` and `workspace.yaml`: the checkout, or the copies that a wheel installs."""
    return _PACKAGED if is_installed() else _PACKAGED.parents[1]


def txn_home() -> Path:
    """Return TXN_HOME, the folder for the local stack, scratch files and Dagster's local storage.

    The default is `.local` in the checkout or, if the package was installed from a wheel, in the working folder.
    """
    default = Path.cwd() if is_installed() else project_root()
    return Path(os.environ.get("TXN_HOME") or default / ".local").absolute()


def servers_environment() -> Path:
    """Return TXN_SERVERS_VENV, the virtual environment of the embedded servers.

    The default is `.venv-servers` in the checkout or, if the package was installed from a wheel, next to the virtual
    environment that it was installed into.
    """
    default = Path(sys.prefix).parent if is_installed() else project_root()
    return Path(os.environ.get("TXN_SERVERS_VENV") or default / ".venv-servers").absolute()


def txn_target() -> Literal["local", "gcp"]:
    """Return the target that TXN_TARGET names, or `local` if it is not set.

    Raises:
        ConfigError: the variable is neither `local` nor `gcp`.
    """
    target = os.environ.get("TXN_TARGET") or "local"
    if target == "local":
        return "local"
    if target == "gcp":
        return "gcp"
    message = f"TXN_TARGET is {target!r}: set it to 'local' (embedded servers) or 'gcp'."
    raise ConfigError(message)


def txn_executor() -> Literal["threads", "in_process"]:
    """Return the executor that TXN_EXECUTOR names, or `threads` if it is not set.

    Raises:
        ConfigError: the variable is neither `threads` nor `in_process`.
    """
    name = os.environ.get("TXN_EXECUTOR") or "threads"
    if name == "threads":
        return "threads"
    if name == "in_process":
        return "in_process"
    message = (
        f"TXN_EXECUTOR is {name!r}: set it to 'threads' (load the three stores in parallel) or 'in_process' "
        "(one after the other)."
    )
    raise ConfigError(message)


def scratch_limit() -> int | None:
    """Return how many bytes a run may write below TXN_HOME, from TXN_SCRATCH_LIMIT; None if only the disk limits it.

    Raises:
        ConfigError: the variable is not a size.
    """
    text = os.environ.get(SCRATCH_LIMIT)
    if not text:
        return None
    size = parse_size(text)
    if size is None:
        message = f"{SCRATCH_LIMIT} is {text!r}: set it to the size of the scratch volume, such as 8Gi."
        raise ConfigError(message)
    return size


def local_runs() -> int:
    """Return how many runs of the local instance are in progress at once, from TXN_LOCAL_RUNS; 2 if it is not set.

    Raises:
        ConfigError: the variable is not a number of runs.
    """
    text = os.environ.get("TXN_LOCAL_RUNS") or "2"
    if not text.isdecimal() or not int(text):
        message = f"TXN_LOCAL_RUNS is {text!r}: set it to how many runs may be in progress at once, such as 4."
        raise ConfigError(message)
    return int(text)


def config_path() -> Path:
    """Return the file that TXN_CONFIG names, or the project's own configuration."""
    return Path(os.environ.get("TXN_CONFIG") or project_root() / "data" / "pipeline_config.yaml")


def bucket_name() -> str | None:
    """Return BUCKET_NAME, which overrides `data_lake.gcs_bucket`; None if it is not set."""
    return os.environ.get("BUCKET_NAME") or None


def hash_key() -> str | None:
    """Return TXN_HASH_KEY, the secret key of hmac-sha256; None if it is not set."""
    return os.environ.get(HASH_KEY)


def hash_key_previous() -> str | None:
    """Return TXN_HASH_KEY_PREVIOUS, the key that a rotation replaces; None if it is not set."""
    return os.environ.get(HASH_KEY_PREVIOUS)


def jwt_secret() -> str | None:
    """Return TXN_JWT_SECRET, the secret that signs HS256 tokens for the upload service; None if it is not set."""
    return os.environ.get(JWT_SECRET) or None


def alert_webhook() -> str | None:
    """Return TXN_ALERT_WEBHOOK, the address that alerts are posted to, which is a secret; None if it is not set."""
    return os.environ.get(ALERT_WEBHOOK) or None


def smtp_password() -> str | None:
    """Return TXN_SMTP_PASSWORD, the password of `alerts.smtp.user`; None if it is not set."""
    return os.environ.get(SMTP_PASSWORD) or None


def find_secret(text: str) -> str | None:
    """Return the variable whose value is in `text`, if it is a secret and long enough to be one."""
    values = {name: os.environ.get(name, "") for name in SECRETS}
    return next((name for name, value in values.items() if len(value) >= _MIN_SECRET and value in text), None)


def dagster_url() -> str | None:
    """Return TXN_DAGSTER_URL, the address of Dagster's web server; None if it is not set."""
    return os.environ.get("TXN_DAGSTER_URL") or None


def local_endpoints() -> str | None:
    """Return TXN_LOCAL_ENDPOINTS, the JSON of local servers that run elsewhere; None if it is not set."""
    return os.environ.get(LOCAL_ENDPOINTS) or None


def postgres_password() -> str:
    """Return TXN_PG_PASSWORD, the password of PostgreSQL on the gcp target and of given local servers.

    Raises:
        ConfigError: the variable is not set.
    """
    password = os.environ.get(PG_PASSWORD)
    if password is None:
        message = f"{PG_PASSWORD} is not set. Set it to the PostgreSQL password."
        raise ConfigError(message)
    return password


def writes_json() -> bool:
    """Return whether TXN_LOG_FORMAT asks for one JSON object per line on standard output."""
    return os.environ.get("TXN_LOG_FORMAT") == "json"
