"""Connection details of the local stack, and the contents of a new one.

`stack.py`, which starts the servers, and `provision.py`, which fills them, share these values.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from txn_assets.config import PipelineConfig
from txn_assets.environment import LOCAL_ENDPOINTS, ConfigError, local_endpoints, postgres_password, project_root
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.models import SHIPPED
from txn_assets.files.arrival import SUFFIXES

DAGSTER = "dagster"
"""Role and database of Dagster's own storage."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Connection details for clients of the stack. Without an issuer of tokens, `issuer_url` is empty."""

    gcs_url: str
    bigquery_url: str
    issuer_url: str
    postgres_host: str
    postgres_port: int
    postgres_user: str
    postgres_password: str = field(repr=False)
    postgres_dbname: str

    @property
    def postgres_dsn(self) -> str:
        """The database as a URI for psql, psycopg and SQLAlchemy."""
        parts = (self.postgres_user, self.postgres_password, self.postgres_dbname)
        user, password, dbname = (quote(part, safe="") for part in parts)
        return f"postgresql://{user}:{password}@{self.postgres_host}:{self.postgres_port}/{dbname}"

    @property
    def dagster_dsn(self) -> str:
        """The database of Dagster's own storage as a URI without the password, which a `passfile` has."""
        return f"postgresql://{DAGSTER}@{self.postgres_host}:{self.postgres_port}/{DAGSTER}"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Contents of a new stack.

    Attributes:
        landing: the landing prefix of each configured feed by name, the first feed first.
        data: the folder of the CSV files to land.
    """

    bucket: str
    landing: Mapping[str, str]
    project_id: str
    dataset: str
    location: str
    postgres_user: str
    postgres_dbname: str
    data: Path
    archive_bucket: str | None = None

    @property
    def buckets(self) -> tuple[str, ...]:
        """The buckets to create; the files land in the first."""
        return (self.bucket, *([self.archive_bucket] if self.archive_bucket else []))

    def files(self) -> dict[Path, str]:
        """Return the files to land, each with its object name.

        A file named after a feed lands in that feed's zone, and any other in the first feed's. Leave out the sample of
        a feed that is not configured: it would land among the files of another feed.
        """
        first = next(iter(self.landing.values()))
        paths = sorted(path for path in self.data.glob("*") if path.name.lower().endswith(SUFFIXES) and path.is_file())
        named = {path: path.name.partition(".")[0] for path in paths}
        return {
            path: f"{self.landing.get(feed, first)}/{path.name}"
            for path, feed in named.items()
            if feed in self.landing or feed not in SHIPPED
        }

    def fingerprint(self) -> str:
        """Return a value that changes when there is something new to provision (a name, or a file in `data`)."""
        files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files()]
        return hashlib.sha256(repr((asdict(self), DAGSTER, files)).encode()).hexdigest()


def seed_from(config: PipelineConfig) -> Seed:
    """Return the contents of a new stack for `config`."""
    warehouse = config.data_warehouse
    return Seed(
        bucket=config.data_lake.gcs_bucket,
        archive_bucket=config.retention.archive_bucket,
        landing={feed.name: feed.landing for feed in feeds_of(config)},
        project_id=warehouse.project_id,
        dataset=warehouse.dataset,
        location=warehouse.location,
        postgres_user=warehouse.postgres.user,
        postgres_dbname=warehouse.postgres.dbname,
        data=project_root() / "data",
    )


_EXAMPLE = {
    "gcs_url": "http://local-servers:20001",
    "bigquery_url": "http://local-servers:20002",
    "postgres_host": "local-servers",
    "postgres_port": 5432,
}


def given_endpoints(seed: Seed) -> Endpoints | None:
    """Return the endpoints in TXN_LOCAL_ENDPOINTS, of servers that someone else starts; None if it is not set.

    They have no issuer of tokens: its address is part of every token.

    Raises:
        ConfigError: the variable is not JSON with the four addresses, or the password is not set.
    """
    text = local_endpoints()
    if text is None:
        return None
    given = _parse(text)
    if problem := _problem(given):
        message = f"{LOCAL_ENDPOINTS} {problem}. Set it to JSON such as {json.dumps(_EXAMPLE)}."
        raise ConfigError(message)
    return Endpoints(
        **given,
        issuer_url="",
        postgres_user=seed.postgres_user,
        postgres_password=postgres_password(),
        postgres_dbname=seed.postgres_dbname,
    )


def _parse(text: str) -> Any:  # noqa: ANN401 - whatever someone set
    try:
        return json.loads(text)
    except ValueError:
        return None


def _problem(given: Any) -> str | None:  # noqa: ANN401 - as above
    if not isinstance(given, dict) or given.keys() != _EXAMPLE.keys():
        return f"is not a JSON object with exactly the keys {', '.join(_EXAMPLE)}"
    for name in ("gcs_url", "bigquery_url"):
        if not re.fullmatch(r"https?://[^/]+", str(given[name])):
            return f"has {given[name]!r} as {name}, which is not like http://host:port"
    host, port = given["postgres_host"], given["postgres_port"]
    if not host or not isinstance(host, str) or not isinstance(port, int) or not 0 < port < 65536:
        return f"has {host!r} and {port!r} as postgres_host and postgres_port, which are not a name and a number"
    return None
