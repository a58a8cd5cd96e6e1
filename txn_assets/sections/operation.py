"""How the platform is operated: its name, schedules, retention, and where it is deployed."""

from typing import Annotated

from pydantic import Field, StringConstraints

from txn_assets.feeds.section import Section


class Pipeline(Section):
    """Name and version of the deployment, for readers of the file. The platform does not use them."""

    name: str
    version: str


class Orchestration(Section):
    """When the daily sweep runs, how many files it loads again, how often marts follow, and when a file is stuck.

    `airflow_dag` is accepted but not used, because Dagster replaces it.
    """

    airflow_dag: str | None = None
    schedule: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")] = "0 0 * * *"
    reload_limit: Annotated[int, Field(ge=0)] = 100
    mart_minutes: Annotated[int, Field(ge=1, le=1440)] = 15
    stuck_after_minutes: Annotated[int, Field(ge=1)] = 60


class Retention(Section):
    """How many days to keep finished work. The ledgers are kept forever."""

    staging_days: Annotated[int, Field(ge=1)] = 7
    partition_days: Annotated[int, Field(ge=1)] = 400


class Resources(Section):
    """Checked against helm-values/ by `make deploy-check`; the chart sets them."""

    cpu: str = "1"
    memory: str = "2Gi"


class Kubernetes(Section):
    """Checked against helm-values/ by `make deploy-check`; the chart sets them."""

    namespace: str = "data-pipeline"
    helm_chart: str = "transaction-pipeline"
    resources: Resources = Resources()
