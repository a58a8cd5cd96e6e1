"""The upload service: limits of one upload, and of one subject."""

from typing import Annotated

from pydantic import Field

from txn_assets.feeds.section import Section


class Upload(Section):
    """Limits of the upload service."""

    max_bytes: Annotated[int, Field(ge=1)] = Field(default=5 << 30, description="Maximum size of an uploaded file.")
    idle_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0, description="How long a client may send nothing."
    )
    wait_seconds: Annotated[int, Field(ge=0, le=300)] = Field(
        default=30, description="How long an answer waits for the load, if the client does not say (`Prefer: wait=N`)."
    )
    max_uploads: Annotated[int, Field(ge=1)] = Field(
        default=64, description="Maximum number of uploads at once, per process. More get 429."
    )
    max_uploads_per_subject: Annotated[int, Field(ge=1)] = Field(
        default=16, description="Maximum number of uploads at once of one subject, per process. More get 429."
    )
    bytes_per_minute: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Maximum number of bytes per minute of one subject, per process."
    )
