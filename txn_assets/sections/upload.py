"""The upload service: limits of one upload, and of one subject."""

from typing import Annotated

from pydantic import Field

from txn_assets.feeds.section import Section


class Upload(Section):
    """Limits of the upload service.

    Attributes:
        max_bytes: maximum size of a file.
        idle_seconds: how long a client may send nothing.
        wait_seconds: how long an answer waits for the load, if the client does not say (`Prefer: wait=N`).
        max_uploads: maximum number of uploads at once, per process.
        max_uploads_per_subject: maximum number of uploads at once of one subject, per process.
        bytes_per_minute: maximum number of bytes per minute of one subject, per process; None for any number.
    """

    max_bytes: Annotated[int, Field(ge=1)] = 5 << 30
    idle_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    wait_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    max_uploads: Annotated[int, Field(ge=1)] = 64
    max_uploads_per_subject: Annotated[int, Field(ge=1)] = 16
    bytes_per_minute: Annotated[int, Field(ge=1)] | None = None
