"""The configuration of a feed: one section below `feeds`, and what the first feed has in common with it.

`config.py` defines the other sections, and `configured.py` makes a `Feed` of a section.
"""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from txn_assets.feeds.models import FieldSection, build_model, find_model
from txn_assets.files.expected import Expected
from txn_assets.rows.contract import RowContract
from txn_assets.rows.kinds import FieldRules
from txn_assets.rows.reader.file_format import FileFormat

BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^[^/\s][^\s]*[^/\s]$", max_length=500)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)]
FeedName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Owner = Annotated[str, StringConstraints(pattern=r"^(team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[A-Za-z]{2,})$")]
"""An address, or `team:` and a name, as Dagster's catalog takes them."""
DATES = r"^[^%]*%Y[^%]*%m[^%]*%d[^%]*$"


class Section(BaseModel):
    """A section of the configuration file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


LANDING_DATES = (
    "The strftime format that names begin with if they are dated (`%Y/%m/%d/`). A tick of the sensor then lists only "
    "what can be new."
)
LANDING_LATE_DAYS = "Days after its date that a dated file may still land. A later one waits for the daily sweep."
LAKE_FORMAT = (
    "Format of the objects in the data lake. After a change the sweep loads every file again, and the old objects stay."
)

PREFIXES = ("landing", "path", "quarantine", "staging")
"""Keys of the prefixes of a feed."""


class FileSettings(Section):
    """How the files of a feed are read, and when one counts as wrong."""

    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Number of rows that Pydantic judges at once."
    )
    max_invalid_ratio: Annotated[Decimal, Field(ge=0, le=1)] = Field(
        default=Decimal("0.5"), description="A larger share of rejected rows stops the run before the stores."
    )
    max_change_ratio: Annotated[Decimal, Field(ge=0)] | None = Field(
        default=None, description="A new version of a file that changes a larger share of its rows fails a check."
    )
    max_shared_ids: Annotated[Decimal, Field(ge=0, le=1)] = Field(
        default=Decimal("0.5"),
        description="A file gets a warning if a larger share of its ids is already loaded under other names.",
    )
    unknown_columns: Literal["ignore", "refuse"] = Field(
        default="ignore",
        description="What to do with a column that is not in the contract. Ignored ones give a warning.",
    )
    format: FileFormat = Field(default=FileFormat(), description="How the files are written.")


class FeedSection(FileSettings):
    """A feed other than the first: the fields of its rows, and where its files land and go.

    A feed has a `model` (`module:Class`), or `fields` in YAML, or a model shipped with the platform under its name.
    Prefixes and tables that are not given are named after the feed.
    """

    model: str | None = Field(
        default=None,
        description="The row model, `module:Class`. Not needed for a model that is shipped under the feed's name.",
    )
    fields: dict[str, FieldSection] | None = Field(
        default=None, description="The fields of a row without Python, instead of `model`: a map of name to settings."
    )
    rules: dict[str, FieldRules] = Field(default={}, description="Narrower rules: a map of field to rules.")
    required_fields: frozenset[str] | None = Field(
        default=None, description="Fields that must not be empty. By default those of the model."
    )
    pii_fields: tuple[str, ...] | None = Field(
        default=None, description="Text fields that are hashed. By default those of the model."
    )
    landing: Prefix | None = Field(default=None, description="Prefix where files land. By default `landing/<name>`.")
    landing_dates: Annotated[str, StringConstraints(pattern=DATES)] | None = Field(
        default=None, description=LANDING_DATES
    )
    landing_late_days: Annotated[int, Field(ge=1, le=366)] = Field(default=3, description=LANDING_LATE_DAYS)
    path: Prefix | None = Field(
        default=None, description="Prefix of the objects in the data lake. By default `raw/<name>`."
    )
    quarantine: Prefix | None = Field(
        default=None, description="Prefix of the rejected rows. By default `quarantine/<name>`."
    )
    staging: Prefix | None = Field(
        default=None, description="Prefix of the values between assets. By default `staging/<name>`."
    )
    lake_format: Literal["csv", "parquet"] = Field(default="csv", description=LAKE_FORMAT)
    table: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1000}$")] | None = Field(
        default=None, description="Table in the dataset of `data_warehouse`. By default `raw_<name>`."
    )
    postgres_table: Annotated[Identifier, StringConstraints(max_length=54)] | None = Field(
        default=None, description="Table in the schema of `data_warehouse.postgres`. By default `<name>`."
    )
    expected: Expected | None = Field(default=None, description="When files must land. Without it, any time will do.")
    owners: tuple[Owner, ...] | None = Field(
        default=None, description="Owners of the assets. By default those of `orchestration.owners`."
    )

    def named(self, name: str) -> Self:
        """Return this section with prefixes and tables after the feed `name`, where none are given."""
        places = {
            "landing": f"landing/{name}",
            "path": f"raw/{name}",
            "quarantine": f"quarantine/{name}",
            "staging": f"staging/{name}",
            "table": f"raw_{name}",
            "postgres_table": name,
        }
        return self.model_copy(update={key: value for key, value in places.items() if getattr(self, key) is None})

    def contract(self, name: str) -> RowContract:
        """Return the row contract of the feed `name`, under its rules.

        Raises:
            ValueError: the model does not exist, or a setting does not fit it.
        """
        if self.fields is not None and self.model is not None:
            message = "give `model` or `fields`, not both"
            raise ValueError(message)
        model = find_model(name, self.model) if self.fields is None else build_model(name, self.fields)
        try:
            contract = RowContract.of(model)
            if self.pii_fields is not None:
                contract = contract.with_pii(self.pii_fields)
            named = {*self.rules, *(self.required_fields or ())}
            if unknown := sorted(named - set(contract.names)):
                message = f"{unknown[0]!r} is not a field of {model.__name__}; its fields: {', '.join(contract.names)}"
                raise ValueError(message)
            if faults := self.format.faults(contract.names, optional=contract.optional):
                raise ValueError(faults[0])
            return contract.under(self.rules, self.required_fields)
        except TypeError as error:
            raise ValueError(str(error)) from error
