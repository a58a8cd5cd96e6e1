"""How large a pod the run of some files needs: size classes, and the tags that give a run what its class has.

The sensor and everyone else who requests a run tag it. A run without the tags, such as one started with Dagster's
Materialize button, has what the run launcher's values say. See docs/deploy.md, 'Sizes of run pods'.
"""

import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from txn_assets.environment import SCRATCH_LIMIT
from txn_assets.files.ledger import FileVersion
from txn_assets.files.scratch_space import SCRATCH_FACTOR, parse_size

COMPRESSED_SUFFIXES = (".gz", ".zip", ".zst")

EXPANSION = 10
"""Assumed bytes in a compressed file per byte of the object. A run measures it before the first row, and refuses a file
that does not fit."""

OTHER_DISK = 2 << 30
"""Bytes of ephemeral storage that a pod has besides its scratch space: for /tmp, Dagster's home and the log."""

K8S_TAG, RUNTIME_TAG, SIZE_TAG = "dagster-k8s/config", "dagster/max_runtime", "txn_assets/size"

_QUANTITY = r"^[1-9][0-9]*(\.[0-9]+)?(m|[KMGT]i)?$"


class RunSize(BaseModel):
    """A size class of run pods."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] = Field(description="Name of the class.")
    scratch: str = Field(
        description="Scratch space. A run gets the smallest class whose scratch space holds 2.5 times the bytes of "
        "its files; a compressed file counts ten times."
    )
    cpu: Annotated[str, StringConstraints(pattern=_QUANTITY)] = Field(default="1", description="CPU of a run.")
    memory: Annotated[str, StringConstraints(pattern=_QUANTITY)] = Field(default="2Gi", description="Memory of a run.")
    hours: Annotated[int, Field(ge=1, le=168)] = Field(
        default=6, description="A run that takes longer is terminated by Dagster's run monitoring."
    )

    @field_validator("scratch")
    @classmethod
    def _is_a_size(cls, text: str) -> str:
        if parse_size(text) is None:
            message = f"{text!r} is not a size; write 8Gi or 500Mi"
            raise ValueError(message)
        return text

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch space."""
        return parse_size(self.scratch) or 0

    def tags(self) -> dict[str, str]:
        """Return the tags that give a run the resources of this class."""
        resources = {
            "cpu": self.cpu,
            "memory": self.memory,
            "ephemeral-storage": str(self.scratch_bytes + OTHER_DISK),
        }
        container = {
            "resources": {"requests": resources, "limits": resources},
            "env": [{"name": SCRATCH_LIMIT, "value": self.scratch}],
        }
        return {
            SIZE_TAG: self.name,
            K8S_TAG: json.dumps({"container_config": container}),
            RUNTIME_TAG: str(self.hours * 3600),
        }


DEFAULT_SIZES = (
    RunSize(name="small", scratch="1Gi", hours=2),
    RunSize(name="medium", scratch="8Gi", hours=6),
    RunSize(name="large", scratch="32Gi", hours=24),
)
"""Memory and CPU are the same: a run's memory does not grow with its file, and one core is what it uses."""


def size_tags(batch: Sequence[FileVersion], sizes: Sequence[RunSize]) -> dict[str, str]:
    """Return the tags of the run that loads `batch`: those of the smallest of `sizes` that has room, or the largest.

    Without `sizes` there are none.
    """
    if not sizes:
        return {}
    needed = SCRATCH_FACTOR * sum(map(_expanded, batch))
    in_order = sorted(sizes, key=lambda size: size.scratch_bytes)
    return next((size for size in in_order if size.scratch_bytes >= needed), in_order[-1]).tags()


def _expanded(version: FileVersion) -> int:
    return version.size * (EXPANSION if version.name.lower().endswith(COMPRESSED_SUFFIXES) else 1)
