"""Entry point of the Dagster code location: load the configuration and assemble the definitions.

Define assets, checks, jobs, sensors and resources in `defs/`; this module only puts them together.
"""

import dagster as dg

from txn_assets.config import PipelineConfig, load_config
from txn_assets.defs import json_lines
from txn_assets.defs.assets import ASSETS, LANDING_ZONE
from txn_assets.defs.checks import checks
from txn_assets.defs.executor import make_executor
from txn_assets.defs.io_managers.sink import make_sink_io_manager
from txn_assets.defs.io_managers.values import values_io_manager
from txn_assets.defs.jobs import load_landed_files, make_remove_old, watch_landing_zone
from txn_assets.defs.partitions import look_for_files_in
from txn_assets.defs.sensors import make_daily_sweep, new_landed_files, upkeep_schedules
from txn_assets.defs.services import make_services
from txn_assets.stores.registry import STORES

json_lines.install()


@dg.definitions
def defs() -> dg.Definitions:
    """Return all definitions for the current configuration and target."""
    return build(load_config())


def build(config: PipelineConfig) -> dg.Definitions:
    """Return all definitions for `config`.

    Raises:
        ConfigError: TXN_TARGET or TXN_EXECUTOR has an unknown value.
    """
    look_for_files_in(config)
    remove_old = make_remove_old(config.retention)
    return dg.Definitions(
        assets=[LANDING_ZONE, *ASSETS],
        asset_checks=list(checks(config.orchestration)),
        jobs=[load_landed_files, watch_landing_zone, remove_old],
        sensors=[new_landed_files],
        schedules=[make_daily_sweep(config.orchestration.schedule), *upkeep_schedules(remove_old)],
        resources={
            "services": make_services(config),
            "values": values_io_manager,
            **{entry.key: make_sink_io_manager(entry) for entry in STORES},
        },
        # One process per run. A process per step would start six interpreters for a file of five rows.
        executor=make_executor(),
    )
