"""The resources and I/O managers for a configuration."""

from txn_assets.config import PipelineConfig
from txn_assets.defs.io_managers.bigquery import BigQueryIOManager
from txn_assets.defs.io_managers.gcs import GcsIOManager
from txn_assets.defs.io_managers.postgres import PostgresIOManager
from txn_assets.defs.io_managers.values import StagingIOManager
from txn_assets.defs.resources import Quarantine, Stores, make_landing_zone, make_stores, make_workspace


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
