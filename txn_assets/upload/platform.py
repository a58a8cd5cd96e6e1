"""What the routes work with: the configuration, the feeds and their services. One object for each application."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from txn_assets.config import PipelineConfig
from txn_assets.stores.services import AllServices
from txn_assets.upload.waiting import Waiting


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The platform as the routes see it."""

    config: PipelineConfig
    services: AllServices

    @cached_property
    def waiting(self) -> Waiting:
        """The clients that wait for a load."""
        return Waiting(self.services)


def _platform_of(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


ThePlatform = Annotated[Platform, Depends(_platform_of)]
"""A parameter of a route that needs the platform."""
