"""Build the resources and I/O managers for a configuration.

The classes are in `resources.py` and `io_managers/`.
"""

from txn_assets.config import PipelineConfig
from txn_assets.defs.io_managers.bigquery import BigQueryIOManager
from txn_assets.defs.io_managers.gcs import GcsIOManager
from txn_assets.defs.io_managers.postgres import PostgresIOManager
from txn_assets.defs.io_managers.values import ValuesIOManager
from txn_assets.defs.resources import Clients, Quarantine, make_clients, make_landing_zone, make_run_files


def make_resources(config: PipelineConfig, clients: Clients | None = None) -> dict[str, object]:
    """Return the resources and I/O managers for `config`; use `clients` if they are already open."""
    lake, warehouse = config.data_lake, config.data_warehouse
    clients = clients or make_clients(config)
    landing = make_landing_zone(config, clients)
    run_files = make_run_files(config, clients, landing)
    pii_fields = list(config.security.pii_fields)
    return {
        "landing": landing,
        "run_files": run_files,
        "quarantine": Quarantine(clients=clients, bucket=lake.gcs_bucket, prefix=lake.quarantine),
        "staging": ValuesIOManager(clients=clients, run_files=run_files, bucket=lake.gcs_bucket, prefix=lake.staging),
        "gcs": GcsIOManager(
            clients=clients,
            run_files=run_files,
            pii_fields=pii_fields,
            store="GCS",
            bucket=lake.gcs_bucket,
            path=lake.path,
            file_format=lake.format,
        ),
        "bigquery": BigQueryIOManager(
            clients=clients,
            run_files=run_files,
            pii_fields=pii_fields,
            store="BigQuery",
            project_id=warehouse.project_id,
            dataset=warehouse.dataset,
            table=warehouse.table,
            partition_by=warehouse.partition_by,
            maximum_bytes_billed=warehouse.maximum_bytes_billed,
        ),
        "postgres": PostgresIOManager(
            clients=clients,
            run_files=run_files,
            pii_fields=pii_fields,
            store="PostgreSQL",
            schema_name=warehouse.postgres.schema_,
            table=warehouse.postgres.table,
            max_decimals=config.ingestion.validation.max_decimals,
        ),
    }
