"""How the files of the first feed are read."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from txn_assets.feeds.section import FileSettings
from txn_assets.feeds.transaction import CONTRACT, ValidationRules


class Ingestion(FileSettings):
    """How files are read and which rows are valid.

    With `trust_input`, the optional rules in `validation` do not apply. Parsing, the row contract and hashing do.
    """

    fastapi_endpoint: Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9._-]+)+$")] = Field(
        default="/upload/transactions",
        description="Path of the route where the upload service receives files, beside `/ingest`.",
    )
    trust_input: bool = Field(
        default=False,
        description="Skip the optional rules in `validation` when files are loaded. Parsing, the row contract and "
        "hashing always apply, and the rules still filter the marts.",
    )
    validation: ValidationRules = Field(default=ValidationRules(), description="Rules that narrow what a valid row is.")

    @model_validator(mode="after")
    def _format_names_fields(self) -> Self:
        if faults := self.format.faults(CONTRACT.names, optional=CONTRACT.optional):
            message = f"ingestion.{faults[0]}"
            raise ValueError(message)
        return self
