"""The component `txn_assets.LandedFiles`: a feed described in a `defs.yaml`, without Python."""

from pathlib import Path
from typing import Any, Self

import dagster as dg

from txn_assets.config import load_config
from txn_assets.defs.feeds import define_feed
from txn_assets.feeds.configured import feeds_of
from txn_assets.feeds.models import SHIPPED
from txn_assets.feeds.section import FeedSection

EXAMPLE = {
    "fields": {
        "order_id": {"kind": "identifier", "pii": True, "row_id": True},
        "amount": {"kind": "money", "scale": 2},
        "ordered_on": {"kind": "date", "partition_key": True},
    }
}
"""Attributes that `dg scaffold defs` writes for a feed whose row model is not shipped with the platform."""


class _Scaffolder(dg.Scaffolder):
    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        dg.scaffold_component(request, {} if request.target_path.name in SHIPPED else EXAMPLE)


@dg.scaffold_with(_Scaffolder)
class LandedFiles(dg.Component):
    """A feed: its landing zone, and the assets that load its files into the three stores.

    The attributes are those of a section of `feeds` in the configuration. The feed is named after the folder that has
    the `defs.yaml`.
    """

    def __init__(self, name: str, section: FeedSection) -> None:
        self.name = name
        self.section = section

    @classmethod
    def get_model_cls(cls) -> type[FeedSection]:
        """Return the model of the attributes."""
        return FeedSection

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:  # noqa: ANN401 - None or a FeedSection
        """Return the feed in the folder of `context`."""
        return cls(Path(context.path).name, attributes or FeedSection())

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Return the definitions of the feed."""
        # The configuration lacks the feed if the component is used outside `own_defs/`.
        config = load_config().with_feed(self.name, self.section)
        (feed,) = (feed for feed in feeds_of(config) if feed.name == self.name)
        return define_feed(feed, config)
