"""Entry point of the Dagster code location: load the configuration and assemble the definitions.

Define assets, checks, jobs, sensors and resources in `defs/`; this module only puts them together.
"""

import dagster as dg

from txn_assets.config import PipelineConfig, load_config
from txn_assets.defs import json_lines
from txn_assets.defs.executor import make_executor
from txn_assets.defs.feeds import define_feed
from txn_assets.defs.services import make_services
from txn_assets.feeds.configured import feeds_of

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
    # One process per run. A process per step would start six interpreters for a file of five rows.
    shared = dg.Definitions(resources={"services": make_services(config)}, executor=make_executor())
    return dg.Definitions.merge(shared, *(define_feed(feed, config) for feed in feeds_of(config)))
