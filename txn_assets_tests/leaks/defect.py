"""A row model with a defect, whose loads fail with an error that nobody foresaw."""

from typing import Annotated

from pydantic import ValidationInfo, field_validator

from txn_assets.rows.contract import Day, Identifier, PartitionKey, Pii, Row, RowId, Whole


class Swapped(Row):
    """A row model with a defect: it puts the id where a number belongs, and Arrow quotes it in its error."""

    order_id: Annotated[Identifier, Pii, RowId]
    pieces: Whole
    placed: Annotated[Day, PartitionKey]

    @field_validator("pieces", mode="after")
    @classmethod
    def _mixed_up(cls, _: int, info: ValidationInfo) -> str:
        return str(info.data["order_id"])
