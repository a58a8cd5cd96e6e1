"""How large a file and its parts may be: the section `limits` of the configuration.

The reader enforces them while a file streams, so that a hostile file ends early. Keep Arrow out of this module, because
the configuration imports it. See docs/security.md, 'Hostile files'.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

HEADER_BYTES = 1 << 20
"""Maximum size of a header. It is no setting, because no header comes near it."""

FREE_BYTES = 16 << 20
"""A file may always expand to this many bytes, because so few do no harm."""

_UNITS = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}


class FileLimits(BaseModel):
    """How large a file and its parts may be.

    A file over one of the first three, or with too many columns, is refused with a sentence that names the key. A row
    over one of the others is rejected.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file_bytes: Annotated[int, Field(ge=1)] = Field(
        default=5 << 40, description="Maximum size of a landed file. By default what GCS holds in one object."
    )
    expanded_bytes: Annotated[int, Field(ge=1)] = Field(
        default=5 << 40,
        description="Maximum size of a file once it is unpacked. The scratch space may allow less (`TXN_SCRATCH_LIMIT`)"
        ".",
    )
    expansion_ratio: Annotated[int, Field(ge=1)] = Field(
        default=200,
        description="A compressed file that unpacks to more than 16 MiB and to more than this many times its size is "
        "refused as a bomb. Rows with ids of their own compress to a tenth.",
    )
    line_bytes: Annotated[int, Field(ge=1, le=32 << 20)] = Field(
        default=32 << 20, description="Maximum size of a row. A longer one is rejected."
    )
    field_bytes: Annotated[int, Field(ge=1, le=1 << 20)] = Field(
        default=1 << 20, description="Maximum size of a field. A row with a longer one is rejected."
    )
    columns: Annotated[int, Field(ge=1, le=1 << 14)] = Field(
        default=1 << 14, description="Maximum number of columns in a header. By default as many as a worksheet has."
    )

    def within(self, room: int) -> Self:
        """Return these limits for a file that may have at most `room` bytes once it is unpacked."""
        return self.model_copy(update={"expanded_bytes": min(self.expanded_bytes, room)})


DEFAULT_LIMITS = FileLimits()
"""What is read if nothing is configured."""


def shown_bytes(size: int) -> str:
    """Return `size` in the largest unit that it has at least one of."""
    name, unit = next((one for one in _UNITS.items() if size >= one[1]), ("bytes", 1))
    return f"{size // unit:,} {name}" if size % unit == 0 else f"{size / unit:,.1f} {name}"
