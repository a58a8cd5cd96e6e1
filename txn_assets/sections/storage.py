"""The lake and the warehouse: the bucket with its prefixes, and the tables."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from txn_assets.feeds.section import (
    DATES,
    LAKE_FORMAT,
    LANDING_DATES,
    LANDING_LATE_DAYS,
    PREFIXES,
    BucketName,
    Identifier,
    Prefix,
    Section,
)


def refuse_nested(prefixes: Mapping[str, str]) -> None:
    """Raise a ValueError if one of `prefixes`, by configuration key, is inside another."""
    # A prefix inside the landing zone would feed the platform its own output.
    for key, prefix in prefixes.items():
        for other, other_prefix in prefixes.items():
            if key != other and f"{other_prefix}/".startswith(f"{prefix}/"):
                message = f"{other} is inside {key}: give each its own prefix"
                raise ValueError(message)


class DataLake(Section):
    """The bucket and its prefixes. Objects land below `landing`; the platform writes everything else."""

    gcs_bucket: BucketName = Field(description="The bucket. The environment variable BUCKET_NAME overrides it.")
    path: Prefix = Field(description="Prefix of the objects of `gcs_raw`.")
    landing: Prefix = Field(default="landing/transactions", description="Prefix where files land.")
    landing_dates: Annotated[str, StringConstraints(pattern=DATES)] | None = Field(
        default=None, description=LANDING_DATES
    )
    landing_late_days: Annotated[int, Field(ge=1, le=366)] = Field(default=3, description=LANDING_LATE_DAYS)
    quarantine: Prefix = Field(default="quarantine/transactions", description="Prefix of the rejected rows.")
    staging: Prefix = Field(
        default="staging/transactions", description="Prefix of the values between assets, including hashed rows."
    )
    marts: Prefix = Field(default="marts", description="Prefix of the exported marts, CSV and JSON.")
    format: Literal["csv", "parquet"] = Field(default="csv", description=LAKE_FORMAT)

    @model_validator(mode="after")
    def _prefixes_are_separate(self) -> Self:
        refuse_nested({f"data_lake.{name}": getattr(self, name) for name in (*PREFIXES, "marts")})
        return self


class Postgres(Section):
    """How to reach PostgreSQL. The local target uses host, port, user and password of its embedded server instead."""

    secret_name: str | None = Field(
        default=None,
        alias="secretName",
        description="Accepted from the files of older releases, and not read: the password is in TXN_PG_PASSWORD.",
    )
    host: str = Field(default="localhost", description="Host, on the gcp target.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=5432, description="Port, on the gcp target.")
    dbname: str = Field(default="transactions", description="Database, on the gcp target.")
    user: str = Field(
        default="transactions", description="Role, on the gcp target. Its password is in TXN_PG_PASSWORD."
    )
    schema_: Identifier = Field(default="public", alias="schema", description="Schema of the tables.")
    # PostgreSQL allows 63 characters, and the longest name made of it, <table>_erasures, is nine longer.
    table: Annotated[Identifier, StringConstraints(max_length=54)] = Field(
        default="transactions",
        description="The PostgreSQL table. Beside it are `<table>_loads`, `<table>_rejects` and `<table>_erasures`: at "
        "most 54 characters.",
    )
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None, description="libpq's `sslmode` on the gcp target. `security.encryption` decides if it is not set."
    )


class DataWarehouse(Section):
    """The BigQuery table and the PostgreSQL table."""

    project_id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")] = Field(
        description="Google Cloud project of the dataset."
    )
    dataset: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1024}$")] = Field(
        description="BigQuery dataset."
    )
    table: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1000}$")] = Field(
        description="BigQuery table. Its ledger is `<table>_loads`."
    )
    location: str = Field(default="US", description="Where BigQuery runs.")
    partition_by: Literal["month", "day"] = Field(
        default="month",
        description="How a new BigQuery table is partitioned by `date`. An existing table keeps its partitioning.",
    )
    maximum_bytes_billed: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="A BigQuery query that would bill more bytes fails."
    )
    postgres: Postgres = Field(default=Postgres(), description="How to reach PostgreSQL, and its table.")
