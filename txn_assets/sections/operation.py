"""How the platform is operated: its name, schedules, retention, and where it is deployed."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from txn_assets.feeds.run_size import DEFAULT_SIZES, RunSize
from txn_assets.feeds.section import BucketName, Owner, Section
from txn_assets.files.expected import Expected


class Pipeline(Section):
    """Name and version of the deployment, for readers of the file."""

    name: str = Field(description="Name of the deployment. Read and unused: it is for people.")
    version: str = Field(description="Version of the file. Read and unused: it is for people.")


class Orchestration(Section):
    """When the daily sweep runs, how many files it loads again, how often marts follow, and when a file is stuck."""

    airflow_dag: str | None = Field(default=None, description="Read and unused: Dagster replaces the DAG.")
    schedule: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")] = Field(
        default="0 0 * * *", description="Cron expression of the daily sweep."
    )
    sensor_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30,
        description="Minimum number of seconds between two looks at the landing zone. A look lists every object in it, "
        "or those of the last days if `landing_dates` is set.",
    )
    reload_limit: Annotated[int, Field(ge=0)] = Field(
        default=100,
        description="Maximum number of files that a sweep loads again because they were loaded under other rules or "
        "another key, oldest first.",
    )
    mart_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        default=15, description="Minimum number of minutes between two refreshes of the marts that follow loads."
    )
    stuck_after_minutes: Annotated[int, Field(ge=1)] = Field(
        default=60, description="A file that is not in every store after this many minutes is reported as stuck."
    )
    expected: Expected | None = Field(
        default=None, description="When files of the first feed must land. Without it, any time will do."
    )
    owners: tuple[Owner, ...] = Field(
        default=(), description="Owners of the assets in the catalog: addresses, and names of teams after `team:`."
    )


class Retention(Section):
    """How many days to keep finished work. The ledgers are kept forever."""

    staging_days: Annotated[int, Field(ge=1)] = Field(
        default=7, description="What a run staged is removed after this many days."
    )
    partition_days: Annotated[int, Field(ge=1)] = Field(
        default=400,
        description="The partition key of a loaded file is removed after this many days. Ledgers and rows stay.",
    )
    landing_days: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="A landed object leaves the landing zone this many days after it landed, if every store has loaded "
        "this very generation under the current rules and key. Not set: never.",
    )
    landing: Literal["archive", "delete"] = Field(
        default="archive",
        description="What becomes of such an object: it moves to `archive_bucket`, or is deleted.",
    )
    archive_bucket: BucketName | None = Field(
        default=None,
        description="Bucket of the archived objects, `<landing prefix>/<name>@<generation>`. They hold clear PII, as "
        "the landing zone does.",
    )

    @model_validator(mode="after")
    def _archive_is_named(self) -> Self:
        if self.landing_days is not None and self.landing == "archive" and self.archive_bucket is None:
            message = (
                "retention.landing_days needs retention.archive_bucket, the bucket to move landed objects to; "
                "to delete them instead, set retention.landing: delete"
            )
            raise ValueError(message)
        return self


class Resources(Section):
    """Checked against helm-values/ by `make deploy-check`; the chart sets them."""

    cpu: str = Field(default="1", description="CPU limit of a run.")
    memory: str = Field(default="2Gi", description="Memory limit of a run.")


class Kubernetes(Section):
    """Checked against helm-values/ by `make deploy-check`; the chart sets them."""

    namespace: str = Field(default="data-pipeline", description="Namespace of the deployment.")
    helm_chart: str = Field(default="transaction-pipeline", description="Name of the Helm release.")
    resources: Resources = Field(
        default=Resources(), description="Limits of a run whose files the platform does not know when it starts."
    )
    run_sizes: tuple[RunSize, ...] = Field(
        default=DEFAULT_SIZES,
        description="Size classes of run pods, on the gcp target. Without any, every run has the same resources.",
    )
