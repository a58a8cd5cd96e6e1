"""A feed as the platform uses it: the row contract of its files, where they land and where they go."""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Literal

from txn_assets.environment import txn_target
from txn_assets.feeds.run_size import RunSize, size_tags
from txn_assets.files.arrival import run_tags
from txn_assets.files.expected import Expected
from txn_assets.files.ledger import FileVersion
from txn_assets.rows.contract import RowContract
from txn_assets.rows.reader.file_format import DEFAULT_FORMAT, FileFormat
from txn_assets.rows.reader.limits import DEFAULT_LIMITS, FileLimits
from txn_assets.rows.reading import Reading

FIRST_FEED = "transactions"
"""Name of the feed that the sections `data_lake`, `data_warehouse`, `ingestion` and `security` configure."""

CONTRACT_VERSION = 2
"""Version of the data contract. Increase it if the same input gives different rows, so that stores reload files."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A feed. All prefixes are in the platform's bucket.

    Attributes:
        contract: the columns and what a valid row is, under the configured rules.
        landing: where files land.
        landing_dates: strftime format that names begin with; '' for any name.
        landing_late_days: maximum number of days between the date in a name and the day the object lands.
        path, quarantine, staging: where the data lake, the rejected rows and the staged values are.
        lake_format: `csv` or `parquet`.
        bigquery_table, postgres_table: the tables, in the platform's dataset and schema.
        batch_size: number of rows passed to Pydantic at once.
        max_invalid_ratio: maximum share of rejected rows.
        max_change_ratio: maximum share of rows that a new version of a file may change; None for any.
        max_shared_ids: maximum share of row ids that files under other names may already have.
        unknown_columns: what to do with columns that are not in the contract.
        file_format: the form of the files.
        limits: how large a file and its parts may be.
        amount: the columns whose product is the amount of a row, for charts; () if it has none.
        expected: when files must land; None if that is not known.
        owners: who owns the assets: addresses, and names of teams after `team:`.
        run_sizes: how large the pods of runs may be.
    """

    name: str
    contract: RowContract
    landing: str
    landing_dates: str = ""
    landing_late_days: int = 3
    path: str
    quarantine: str
    staging: str
    lake_format: Literal["csv", "parquet"] = "csv"
    bigquery_table: str
    postgres_table: str
    batch_size: int = 10_000
    max_invalid_ratio: Decimal = Decimal("0.5")
    max_change_ratio: Decimal | None = None
    max_shared_ids: Decimal = Decimal("0.5")
    unknown_columns: Literal["ignore", "refuse"] = "ignore"
    file_format: FileFormat = DEFAULT_FORMAT
    limits: FileLimits = DEFAULT_LIMITS
    amount: tuple[str, ...] = ()
    expected: Expected | None = None
    owners: tuple[str, ...] = ()
    run_sizes: tuple[RunSize, ...] = ()

    def __hash__(self) -> int:
        return hash(self.name)

    def run_tags(self, batch: Sequence[FileVersion]) -> dict[str, str]:
        """Return the tags of the run that loads `batch`, whose partition keys are adjacent, without its run key.

        On gcp they set the size class of the run pod; the local target has no pods.
        """
        return run_tags(batch) | (size_tags(batch, self.run_sizes) if txn_target() == "gcp" else {})

    @property
    def is_first(self) -> bool:
        """Whether this is the platform's first feed, whose assets have no prefix."""
        return self.name == FIRST_FEED

    @property
    def prefix(self) -> str:
        """The prefix of the feed's assets; '' for the first feed."""
        return "" if self.is_first else self.name

    def prefixed(self, name: str) -> str:
        """Return the name of a definition of the feed, such as its job or its partitions."""
        return f"{self.prefix}_{name}" if self.prefix else name

    @property
    def file(self) -> str:
        """What a file is called in a message."""
        return "a transaction file" if self.is_first else f"a file of the feed {self.name}"

    @property
    def ids_check(self) -> str:
        """Name of the check that no row id repeats. The first feed's had its name before there were other feeds."""
        return "transaction_ids_unique" if self.is_first else "ids_unique"

    @property
    def pii_fields(self) -> tuple[str, ...]:
        """The columns that are hashed."""
        return self.contract.pii_fields

    def reading(self, today: dt.date) -> Reading:
        """Return how a run on `today` reads the files of the feed."""
        return Reading(
            contract=self.contract.on(today),
            file_format=self.file_format,
            limits=self.limits,
            batch_size=self.batch_size,
            unknown_columns_key=self.key("unknown_columns") if self.unknown_columns == "refuse" else "",
        )

    @cached_property
    def rules_id(self) -> str:
        """The id of the columns, the rules, the hashed columns, the format and row limits. The ledgers record it.

        Stores reload a file that was loaded under another id.
        """
        parts = [CONTRACT_VERSION, *self.contract.identity(), self.file_format.model_dump_json(exclude_defaults=True)]
        # Lower limits reject other rows. The default is left out, so that ids from before there were limits hold.
        if row_limits := self.limits.model_dump(include={"line_bytes", "field_bytes"}, exclude_defaults=True):
            parts.append(json.dumps(row_limits))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def key(self, name: str) -> str:
        """Return the configuration key of the setting `name`, for messages."""
        return f"ingestion.{name}" if self.is_first else f"feeds.{self.name}.{name}"

    def rule_key(self, column: str, rule: str) -> str:
        """Return the configuration key of a rule of `column`, for messages."""
        return f"ingestion.validation.{rule}" if self.is_first else f"feeds.{self.name}.rules.{column}.{rule}"

    @property
    def bigquery_table_key(self) -> str:
        """The configuration key of the BigQuery table, for messages."""
        return "data_warehouse.table" if self.is_first else f"feeds.{self.name}.table"

    @property
    def postgres_table_key(self) -> str:
        """The configuration key of the PostgreSQL table, for messages."""
        return "data_warehouse.postgres.table" if self.is_first else f"feeds.{self.name}.postgres_table"

    @property
    def required_key(self) -> str:
        """The configuration key of the required columns, for messages."""
        return "ingestion.validation.required_fields" if self.is_first else f"feeds.{self.name}.required_fields"
