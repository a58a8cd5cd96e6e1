"""The marts: which models can be built from the current transactions, and what their columns mean.

This module has names, types and values, and no SQL: each engine writes its own in `postgres_sql.py` and
`bigquery_sql.py`. See docs/marts.md.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Literal, Self

from txn_assets.config import PipelineConfig
from txn_assets.feeds.transaction import ValidationRules

type Engine = Literal["postgres", "bigquery"]

CURRENT = "transactions_current"
"""The view with one row per transaction, which all marts are built from."""

VERSIONS = "mart_versions"
"""The table that says what each mart was computed from."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a column in both engines.

    Attributes:
        is_text: whether a value may be text that somebody sent.
    """

    postgres: str
    bigquery: str
    is_text: bool = False


TEXT = ColumnType('text COLLATE "C"', "STRING", is_text=True)
"""Both engines sort by bytes, so that their rows come in one order."""
DAY = ColumnType("date", "DATE")
COUNT = ColumnType("bigint", "INT64")
QUANTITY = ColumnType("bigint", "INT64")
TOTAL_QUANTITY = ColumnType("numeric(29,0)", "NUMERIC")
"""INT64 overflows at the second of the largest quantities; NUMERIC has 29 digits before the point."""
PRICE = ColumnType("numeric(18,4)", "NUMERIC")
AMOUNT = ColumnType("numeric(42,4)", "BIGNUMERIC")
"""A price of 14 digits times a quantity of 19 has up to 33 digits before the point: too many for NUMERIC with its 29,
while BIGNUMERIC has 38 and holds the sum of half a million of the largest amounts
(https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types)."""

COLUMN_TYPES = {
    "transaction_id": TEXT,
    "product": TEXT,
    "price": PRICE,
    "quantity": QUANTITY,
    "amount": AMOUNT,
    "sale_date": DAY,
    "sale_month": DAY,
    "transaction_count": COUNT,
    "total_quantity": TOTAL_QUANTITY,
    "total_amount": AMOUNT,
    "avg_price": PRICE,
    "first_sale": DAY,
    "last_sale": DAY,
}
"""The columns of all marts. A name means the same in each mart."""


COLUMN_SOURCES = {
    "transaction_id": ("transaction_id",),
    "product": ("product",),
    "price": ("price",),
    "quantity": ("quantity",),
    "amount": ("price", "quantity"),
    "sale_date": ("date",),
    "sale_month": ("date",),
    "transaction_count": ("transaction_id",),
    "total_quantity": ("quantity",),
    "total_amount": ("price", "quantity"),
    "avg_price": ("price",),
    "first_sale": ("date",),
    "last_sale": ("date",),
}
"""The columns of the transactions that each column is computed from."""


@dataclass(frozen=True, slots=True)
class Mart:
    """A model built from the current transactions.

    Attributes:
        engines: where it is built.
        key: the columns that its rows are sorted by, and grouped by.
        is_grouped: whether a row is a group of transactions with one `key`, and not a single transaction.
        partition_key: the column that BigQuery partitions it by, and that PostgreSQL has an index on.
        description: one sentence for the catalog.
    """

    name: str
    engines: tuple[Engine, ...]
    columns: tuple[str, ...]
    key: tuple[str, ...]
    description: str
    is_grouped: bool = True
    partition_key: str | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """The columns of `transactions_current` that it is computed from."""
        values = ("product", "price", "quantity", "date")
        return values if self.is_grouped else ("transaction_id", *values)

    @property
    def measure(self) -> str:
        """The column of the amounts."""
        return "total_amount" if self.is_grouped else "amount"

    def types(self, engine: Engine) -> dict[str, str]:
        """Return the columns with their types in `engine`."""
        return {name: getattr(COLUMN_TYPES[name], engine) for name in self.columns}


BOTH: tuple[Engine, ...] = ("postgres", "bigquery")
_SALE = ("transaction_id", "product", "price", "quantity", "amount", "sale_date")

MARTS = {
    mart.name: mart
    for mart in (
        Mart(
            name="sales_by_product",
            engines=BOTH,
            columns=(
                "product",
                "transaction_count",
                "total_quantity",
                "total_amount",
                "avg_price",
                "first_sale",
                "last_sale",
            ),
            key=("product",),
            description="One row for each product: how often and how much of it was sold, and for how much.",
        ),
        Mart(
            name="sales_by_date",
            engines=BOTH,
            columns=("sale_date", "transaction_count", "total_quantity", "total_amount"),
            key=("sale_date",),
            description="One row for each day: how much was sold, and for how much.",
        ),
        Mart(
            name="fact_sales",
            engines=("bigquery",),
            columns=_SALE,
            key=("sale_date", "transaction_id"),
            is_grouped=False,
            partition_key="sale_date",
            description="One row for each transaction, with its amount.",
        ),
        Mart(
            name="pg_sales",
            engines=("postgres",),
            columns=_SALE,
            key=("sale_date", "transaction_id"),
            is_grouped=False,
            partition_key="sale_date",
            description="One row for each transaction, with its amount.",
        ),
        Mart(
            name="summary_sales",
            engines=BOTH,
            columns=("product", "sale_month", "total_amount", "avg_price", "transaction_count"),
            key=("sale_month", "product"),
            description="One row for each product and month: how often it was sold, and for how much.",
        ),
    )
}
"""The models that `transformation.models` may list, by name."""


def marts_of(config: PipelineConfig) -> tuple[Mart, ...]:
    """Return the marts that `config` asks for, in its order."""
    return tuple(MARTS[name] for name in dict.fromkeys(config.transformation.models))


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which current transactions count: the rules in `ingestion.validation` that the configuration sets.

    They repeat what a load has checked, for files that were loaded under other rules or with `trust_input`. None is no
    rule. An empty value breaks none of them.
    """

    min_price: Decimal | None = None
    max_decimals: int | None = None
    max_quantity: int | None = None
    product_prefix: str | None = None
    min_date: dt.date | None = None
    max_date: dt.date | None = None

    @classmethod
    def of(cls, config: PipelineConfig) -> Self:
        """Return the rules of `config` that differ from the defaults, which every loaded row meets."""
        rules, default = config.ingestion.validation, ValidationRules()
        own = {name: getattr(rules, name) for name in cls.__dataclass_fields__}
        own = {name: value for name, value in own.items() if value != getattr(default, name)}
        if "product" in config.security.pii_fields:
            own.pop("product_prefix", None)
        if "min_price" in own:
            # A price has four decimals, so this bound allows the same prices, and fits into its type.
            own["min_price"] = own["min_price"].quantize(Decimal("0.0001"), ROUND_CEILING)
        return cls(**own)


@dataclass(frozen=True, slots=True)
class MartVersion:
    """A row of `mart_versions`: what a mart was computed from, all in one snapshot of the engine.

    Attributes:
        mart: the name of the mart.
        version: changes with the versions of the files and their number of rows, the definition of the mart and the
            rules.
        files: a number that is equal in both engines if their ledgers have the same versions of the same files.
        rows: number of rows of the mart.
        ledger_rows, ledger_quantity: what the ledger says was loaded.
        unrecorded, unrecorded_quantity: rows that are in no ledger: those of the original pipeline.
        superseded, superseded_quantity: rows with an id that a newer row has.
        excluded, excluded_quantity: current transactions that `Rules` leaves out.
    """

    mart: str
    version: str
    computed_at: dt.datetime
    files: int
    rows: int
    ledger_rows: int
    ledger_quantity: int
    unrecorded: int
    unrecorded_quantity: int
    superseded: int
    superseded_quantity: int
    excluded: int
    excluded_quantity: int

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """Return the version in a row of `mart_versions`, with its columns in the order of the attributes."""
        mart, version, computed_at, *numbers = row
        return cls(mart, version, computed_at, *map(int, numbers))

    @property
    def transactions(self) -> int:
        """How many transactions the mart must count."""
        return self.ledger_rows + self.unrecorded - self.superseded - self.excluded

    @property
    def quantity(self) -> int:
        """The sum of their quantities."""
        return self.ledger_quantity + self.unrecorded_quantity - self.superseded_quantity - self.excluded_quantity


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a refresh of a mart did.

    Attributes:
        version: the version that the mart has now.
        is_unchanged: whether the mart was up to date, so that nothing was computed.
    """

    mart: Mart
    version: MartVersion
    seconds: float
    is_unchanged: bool

    @property
    def rows(self) -> int:
        """Number of rows of the mart."""
        return self.version.rows

    @property
    def superseded(self) -> int:
        """Number of rows with an id that a newer row has."""
        return self.version.superseded


@dataclass(frozen=True, slots=True)
class MartTotals:
    """Totals over the rows of a mart, computed by its engine.

    Attributes:
        rows: number of rows.
        transactions: number of transactions that they count.
        quantity: sum of the quantities; None if the mart has no such column.
        amount: sum of the amounts.
    """

    rows: int
    transactions: int
    quantity: int | None
    amount: Decimal

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """Return the totals in a row with the attributes in order, whose sums are decimals."""
        rows, transactions, quantity, amount = row
        return cls(rows, int(transactions), None if quantity is None else int(quantity), Decimal(amount))


@dataclass(frozen=True, slots=True)
class Between:
    """A filter for the rows of a mart: `column` is at least `first` and at most `last`; None is no bound."""

    column: str
    first: Any = None
    last: Any = None


type MartRow = tuple[Any, ...]
"""The values of a row, in the order of the columns of its mart."""


def plain(value: Decimal) -> str:
    """Return an exact number for people: without an exponent, and with two decimals or as many as it needs."""
    text = f"{value:f}"
    whole, point, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}" if point else whole


def refuse_unknown(mart: Mart, engine: Engine, filters: Sequence[Between] = ()) -> None:
    """Refuse a mart that `engine` does not build, and filters on columns that it does not have.

    Raises:
        ValueError: see above.
    """
    if engine not in mart.engines:
        message = f"The mart {mart.name} is not built in {engine}, only in {', '.join(mart.engines)}."
        raise ValueError(message)
    if unknown := [one.column for one in filters if one.column not in mart.columns]:
        message = f"The mart {mart.name} has no column {unknown[0]}: filter by one of {', '.join(mart.columns)}."
        raise ValueError(message)
