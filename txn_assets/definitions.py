"""The Dagster code location: loads the configuration and assembles what the other modules define; nothing else."""

import gc
import sys

import dagster as dg

from txn_assets import json_lines
from txn_assets.assets import ASSETS, LANDING_ZONE
from txn_assets.checks import checks
from txn_assets.config import PipelineConfig, load_config
from txn_assets.executor import in_threads
from txn_assets.io_managers.bigquery import BigQueryIOManager
from txn_assets.io_managers.gcs import GcsIOManager
from txn_assets.io_managers.postgres import PostgresIOManager
from txn_assets.io_managers.staging import StagingIOManager
from txn_assets.jobs import load_landed_files, make_remove_old, watch_landing_zone
from txn_assets.resources import Quarantine, Stores, make_landing_zone, make_stores, make_workspace
from txn_assets.sensors import make_daily_sweep, new_landed_files, upkeep_schedules

json_lines.install()

# What is imported stays for as long as the process. Frozen, it is not looked through for garbage each time, nor
# at the end, for which small files would wait. Not with DuckDB, which complains at exit of what was not collected.
if "duckdb" not in sys.modules:
    gc.freeze()


@dg.definitions
def defs() -> dg.Definitions:
    """Everything, for the configuration and the target in force."""
    return build(load_config())


def build(config: PipelineConfig) -> dg.Definitions:
    """Everything, for `config`.

    Raises:
        ConfigError: TXN_TARGET names no target.
    """
    remove_old = make_remove_old(config.retention)
    return dg.Definitions(
        assets=[LANDING_ZONE, *ASSETS],
        asset_checks=list(checks(config.orchestration)),
        jobs=[load_landed_files, watch_landing_zone, remove_old],
        sensors=[new_landed_files],
        schedules=[make_daily_sweep(config.orchestration.schedule), *upkeep_schedules(remove_old)],
        resources=make_resources(config),
        # One process a run: the steps of five rows would otherwise pay for six interpreters.
        executor=in_threads,
    )


def make_resources(config: PipelineConfig, stores: Stores | None = None) -> dict[str, object]:
    """Return the resources and I/O managers that `config` asks for, with `stores` if they are open already."""
    lake, warehouse = config.data_lake, config.data_warehouse
    stores = stores or make_stores(config)
    landing = make_landing_zone(config, stores)
    workspace = make_workspace(config, stores, landing)
    pii_fields = list(config.security.pii_fields)
    return {
        "landing": landing,
        "workspace": workspace,
        "quarantine": Quarantine(stores=stores, bucket=lake.gcs_bucket, prefix=lake.quarantine),
        "staging": StagingIOManager(stores=stores, workspace=workspace, bucket=lake.gcs_bucket, prefix=lake.staging),
        "gcs": GcsIOManager(
            stores=stores,
            workspace=workspace,
            pii_fields=pii_fields,
            store="GCS",
            bucket=lake.gcs_bucket,
            path=lake.path,
            file_format=lake.format,
        ),
        "bigquery": BigQueryIOManager(
            stores=stores,
            workspace=workspace,
            pii_fields=pii_fields,
            store="BigQuery",
            project_id=warehouse.project_id,
            dataset=warehouse.dataset,
            table=warehouse.table,
            partition_by=warehouse.partition_by,
            maximum_bytes_billed=warehouse.maximum_bytes_billed,
        ),
        "postgres": PostgresIOManager(
            stores=stores,
            workspace=workspace,
            pii_fields=pii_fields,
            store="PostgreSQL",
            schema_name=warehouse.postgres.schema_,
            table=warehouse.postgres.table,
            max_decimals=config.ingestion.validation.max_decimals,
        ),
    }
