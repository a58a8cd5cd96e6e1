"""Entry point of the Dagster code location: load the configuration and assemble the definitions.

Define assets, checks, jobs, sensors and resources in `defs/`; this module only puts them together, and adds those in
`own_defs/`.
"""

import warnings
from functools import lru_cache
from pathlib import Path

import dagster as dg

from txn_assets import own_defs
from txn_assets.config import PipelineConfig, load_config
from txn_assets.defs import json_lines
from txn_assets.defs.alerts import define_alerts
from txn_assets.defs.executor import freeze_imports, make_executor
from txn_assets.defs.feeds import define_feed
from txn_assets.defs.marts import define_marts
from txn_assets.defs.services import make_services
from txn_assets.environment import project_root, txn_executor, txn_target
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.own_defs import read_sections

json_lines.install()
freeze_imports()


@dg.definitions
def defs() -> dg.Definitions:
    """Return all definitions for the current configuration and target.

    Dagster asks for them seven times in one `dagster asset materialize`, so they are kept while nothing changes.
    """
    return _build_once(repr((load_config(), txn_target(), txn_executor())))


@lru_cache(maxsize=1)
def _build_once(_: str) -> dg.Definitions:
    return build(load_config())


def build(config: PipelineConfig) -> dg.Definitions:
    """Return all definitions for `config`.

    Raises:
        ConfigError: TXN_TARGET or TXN_EXECUTOR has an unknown value.
    """
    # One process per run. A process per step would start six interpreters for a file of five rows.
    shared = dg.Definitions(resources={"services": make_services(config)}, executor=make_executor())
    # The component in `own_defs/` defines the feeds that are described there.
    own_feeds = read_sections()
    feeds = [define_feed(feed, config) for feed in feeds_of(config) if feed.name not in own_feeds]
    return dg.Definitions.merge(shared, *feeds, define_marts(config), define_alerts(config), _load_own_defs())


def _load_own_defs() -> dg.Definitions:
    folder = Path(own_defs.__file__).parent
    tree = dg.ComponentTree.from_module(own_defs, project_root())
    with warnings.catch_warnings():
        # Dagster loads the modules of the folder with a function that it calls a preview.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        # It links each definition of a `defs.yaml` to its line, which it calls beta, with a warning for each.
        warnings.filterwarnings("ignore", category=dg.BetaWarning, module=r"dagster\.")
        # Only the folder, because the whole tree describes every component of every installed package as well.
        return tree.build_defs(folder)
