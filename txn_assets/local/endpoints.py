"""What a client of the local stack needs to know, and what a new stack is filled with.

Plain values, shared by `stack.py`, which starts the servers, and `provision.py`, which fills them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from txn_assets.config import PipelineConfig, project_root
from txn_assets.files.arrival import SUFFIXES

DAGSTER = "dagster"
"""The role and the database of Dagster's own storage."""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """What a client needs to know."""

    gcs_url: str
    bigquery_url: str
    postgres_host: str
    postgres_port: int
    postgres_user: str
    postgres_password: str
    postgres_dbname: str

    @property
    def postgres_dsn(self) -> str:
        """The database as a URI, which psql, psycopg and SQLAlchemy take."""
        return self._dsn(self.postgres_user, self.postgres_dbname)

    @property
    def dagster_dsn(self) -> str:
        """The database of Dagster's own storage, likewise."""
        return self._dsn(DAGSTER, DAGSTER)

    def _dsn(self, user: str, dbname: str) -> str:
        user, password, dbname = (quote(part, safe="") for part in (user, self.postgres_password, dbname))
        return f"postgresql://{user}:{password}@{self.postgres_host}:{self.postgres_port}/{dbname}"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """What a stack holds before anybody used it. `data` is the folder whose CSV files are landed."""

    bucket: str
    landing: str
    project_id: str
    dataset: str
    location: str
    postgres_user: str
    postgres_dbname: str
    data: Path

    def files(self) -> Sequence[Path]:
        """Return the files to land."""
        return sorted(path for path in self.data.glob("*") if path.name.lower().endswith(SUFFIXES) and path.is_file())

    def fingerprint(self) -> str:
        """Return what changes when there is something to provide again: another name, or another file in `data`."""
        files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files()]
        return hashlib.sha256(repr((asdict(self), DAGSTER, files)).encode()).hexdigest()


def seed_from(config: PipelineConfig) -> Seed:
    """Read from the configuration what a stack has to hold."""
    warehouse = config.data_warehouse
    return Seed(
        bucket=config.data_lake.gcs_bucket,
        landing=config.data_lake.landing,
        project_id=warehouse.project_id,
        dataset=warehouse.dataset,
        location=warehouse.location,
        postgres_user=warehouse.postgres.user,
        postgres_dbname=warehouse.postgres.dbname,
        data=project_root() / "data",
    )
