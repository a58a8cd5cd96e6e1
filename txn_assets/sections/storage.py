"""The lake and the warehouse: the bucket with its prefixes, and the tables."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from txn_assets.feeds.section import DATES, PREFIXES, Identifier, Prefix, Section


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

    gcs_bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")]
    path: Prefix
    landing: Prefix = "landing/transactions"
    landing_dates: Annotated[str, StringConstraints(pattern=DATES)] | None = None
    landing_late_days: Annotated[int, Field(ge=1, le=366)] = 3
    quarantine: Prefix = "quarantine/transactions"
    staging: Prefix = "staging/transactions"
    marts: Prefix = "marts"
    format: Literal["csv", "parquet"] = "csv"

    @model_validator(mode="after")
    def _prefixes_are_separate(self) -> Self:
        refuse_nested({f"data_lake.{name}": getattr(self, name) for name in (*PREFIXES, "marts")})
        return self


class Postgres(Section):
    """How to reach PostgreSQL. The local target uses host, port, user and password of its embedded server instead.

    `secretName` named the Kubernetes secret with the password in the files of older releases. It is accepted and not
    read: the password is in TXN_PG_PASSWORD, see docs/deploy.md.
    """

    secret_name: Annotated[str | None, Field(alias="secretName")] = None

    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    dbname: str = "transactions"
    user: str = "transactions"
    schema_: Annotated[Identifier, Field(alias="schema")] = "public"
    # PostgreSQL allows 63 characters, and the name of the ledger, <table>_loads, is six longer.
    table: Annotated[Identifier, StringConstraints(max_length=57)] = "transactions"
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = None


class DataWarehouse(Section):
    """The BigQuery table and the PostgreSQL table."""

    project_id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
    dataset: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1024}$")]
    table: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1000}$")]
    location: str = "US"
    partition_by: Literal["month", "day"] = "month"
    maximum_bytes_billed: Annotated[int, Field(ge=1)] | None = None
    postgres: Postgres = Postgres()
