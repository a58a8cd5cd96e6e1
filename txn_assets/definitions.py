"""The Dagster code location: loads the configuration and assembles what the other modules define; nothing else."""

import gc
import sys

import dagster as dg

from txn_assets.config import PipelineConfig, load_config
from txn_assets.defs import json_lines
from txn_assets.defs.assets import ASSETS, LANDING_ZONE
from txn_assets.defs.checks import checks
from txn_assets.defs.executor import threaded_executor
from txn_assets.defs.jobs import load_landed_files, make_remove_old, watch_landing_zone
from txn_assets.defs.sensors import make_daily_sweep, new_landed_files, upkeep_schedules
from txn_assets.defs.wiring import make_resources

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
        executor=threaded_executor,
    )
