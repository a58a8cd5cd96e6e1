"""The form in which a feed's files come. The default is RFC 4180 in UTF-8."""

from pydantic import BaseModel, ConfigDict


class FileFormat(BaseModel):
    """The `format` settings of a feed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


DEFAULT_FORMAT = FileFormat()
